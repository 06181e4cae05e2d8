"""Guidance by an image: samples that look like it from afar (the reference of ILVR, arXiv:2108.02938, as an energy).

    --guide=image:IMAGE:SCALE      E = 1/2 |low_pass(x0) - low_pass(image)|^2

The image is compared after averaging blocks of `FACTOR` pixels: the broad distribution of light is requested, details
are left to the model. With scale 1 / s^2 the block means are seen up to a normal error of s.
"""

from genjax.losses import perceptual
from genjax.pipelines.guides import energies, registry
from genjax.pipelines.named_files import Named
from genjax.stages import Stage
from genjax.typing import Array, Image, PerExample

FACTOR = 4


def make(path: str, scale: float, stage: Stage) -> registry.Guide:
    """The guide by an image file.

    Raises:
        ValueError: if it is no image, or `FACTOR` doesn't divide the model's size, or the stage can't be guided.
    """
    registry.expect_guidable(stage)
    target = perceptual.low_pass(energies.read_image(path, stage), FACTOR)
    return energies.make(energy, target, scale, stage)


def named(path: str, scale: float) -> Named:
    """The image's file."""
    return Named(images=(path,))


def energy(target: Array, images: Image) -> PerExample:
    """Half the squared distance of block means [b] from those of the reference."""
    return perceptual.squared_distance(perceptual.low_pass(images, FACTOR), target)
