"""Guidance by features: samples that a trained network sees as it sees an image.

    --guide=features:WORKDIR,IMAGE:SCALE      E = 1/2 |f(x0) - f(image)|^2 / d

f is any run whose interface is a `FeatureExtractor`, with d features: an autoencoder's (`configs/dae_digits.py`).
"""

from genjax import stages
from genjax.families.interfaces import Weights
from genjax.losses import perceptual
from genjax.pipelines.guides import energies, registry
from genjax.pipelines.named_files import Named
from genjax.stages import Stage
from genjax.typing import Array, Image, PerExample


def make(argument: str, scale: float, stage: Stage) -> registry.Guide:
    """The guide by the features of "WORKDIR,IMAGE".

    Raises:
        ValueError: for another form, a run without features or of other images, or a stage that can't be guided.
    """
    folder, path = _read(argument, scale)
    registry.expect_guidable(stage)
    return from_stage(stages.load(folder), energies.read_image(path, stage), scale, stage)


def named(argument: str, scale: float) -> Named:
    """The extractor's workdir and the image's file.

    Raises:
        ValueError: for another form than "WORKDIR,IMAGE".
    """
    folder, path = _read(argument, scale)
    return Named(images=(path,), runs=(folder,))


def _read(argument: str, scale: float) -> tuple[str, str]:
    folder, comma, path = argument.rpartition(",")
    if not (comma and folder and path):
        raise ValueError(f"--guide=features:{argument}:{scale:g} can't be read; write features:WORKDIR,IMAGE:SCALE")
    return folder, path


def from_stage(extractor: Stage, image: Image, scale: float, stage: Stage) -> registry.Guide:
    """The guide by a loaded network and an image [1, h, w, c]; else as `make`."""
    registry.expect_guidable(stage)
    interface = extractor.family.interface
    if interface.features is None:
        raise ValueError(
            f"--guide=features needs a run that gives features, such as that of configs/dae_digits.py, and this is one "
            f"of the family {extractor.config.family!r}"
        )
    if interface.image_shape != stage.interface.image_shape:
        raise ValueError(
            f"the features are of images of {interface.image_shape}, and the model draws {stage.interface.image_shape}"
        )

    def energy(arrays: tuple[Weights, Array], images: Image) -> PerExample:
        weights, wanted = arrays
        return perceptual.squared_distance(interface.features(weights, images), wanted) / interface.dim

    wanted = interface.features(extractor.weights, image)
    return energies.make(energy, (extractor.weights, wanted), scale, stage)
