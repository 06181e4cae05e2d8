"""Guidance by a text, through any run that puts images and texts into one space (an `ImageTextEncoder`: a CLIP).

    --guide=text:WORKDIR,TEXT:SCALE      g = SCALE * d/dx_t  s <z_i, z_t>

with s the scale that the run has learned, so that s <z_i, z_t> = log p(image | text) / p(image) up to a constant
where its loss is at its optimum (`genjax.losses.contrastive`): with SCALE 1 this is Bayes' rule, as of a classifier.

Of a noisy CLIP z_i is that of x_t, and it is conditioned on the time: GLIDE's guidance (arXiv:2112.10741, section
4.3). Of a CLIP of clean images z_i is that of the estimate x0, and the gradient runs through the denoiser
(`genjax.diffusion.guidance.energy`). Images of another size are resized to that of the run.

A text needs an image tower to guide an image: an encoder of texts alone, a `TextEncoder`, can condition the training
of a model but not guide one. So "any TextEncoder" is here the text tower of any `ImageTextEncoder`.
"""

import jax.numpy as jnp

from genjax import stages
from genjax.core import images as images_lib
from genjax.diffusion import denoisers, guidance
from genjax.families.interfaces import Conditions, ImageTextEncoder
from genjax.pipelines import prompts
from genjax.pipelines.guides import energies, registry
from genjax.pipelines.named_files import Named
from genjax.stages import Stage
from genjax.typing import Array, Float, Image, PerExample, PyTree


def make(argument: str, scale: float, stage: Stage) -> registry.Guide:
    """The guide by "WORKDIR,TEXT".

    Raises:
        ValueError: for another form, a run that is none of images and texts or that doesn't fit, or a stage that
            can't be guided.
    """
    folder, text = read_argument("text", argument, scale)
    registry.expect_guidable(stage)
    return from_stage(stages.load(folder), text, scale, stage, folder)


def named(argument: str, scale: float) -> Named:
    """The encoder's workdir.

    Raises:
        ValueError: for another form than "WORKDIR,TEXT".
    """
    return Named(runs=(read_argument("text", argument, scale)[0],))


def from_stage(encoder: Stage, text: str, scale: float, stage: Stage, name: str = "the encoder") -> registry.Guide:
    """The guide by a loaded run and a text; `name` is what errors call the run. Else as `make`."""
    registry.expect_guidable(stage)
    interface = check_encoder("text", encoder, stage, name)
    held = (encoder.weights, embed(encoder, text))
    if interface.schedule is None:

        def energy(arrays: PyTree, images: Image) -> PerExample:
            weights, wanted = arrays
            z_i = interface.encode_image(weights, fit(images, interface), None)
            return -interface.logit_scale(weights) * jnp.sum(z_i * wanted, axis=-1)

        return energies.make(energy, held, scale, stage)

    _check_noisy(encoder, interface, stage, name)

    def guide(inputs: tuple[PyTree, Array], conditions: Conditions, mode: str) -> denoisers.Guide:
        (weights, wanted), strength = inputs

        def log_prob(x_t, level):
            return interface.logit_scale(weights) * jnp.sum(interface.encode_image(weights, x_t, level.t) * wanted, -1)

        return energies.within_range(guidance.classifier(log_prob, strength, mode), mode)

    return registry.Guide(guide, (held, jnp.float32(scale)))


def read_argument(kind: str, argument: str, scale: float) -> tuple[str, str]:
    """(workdir, text) of "WORKDIR,TEXT"; the text may have commas.

    Raises:
        ValueError: for another form, or an empty text.
    """
    folder, _, text = argument.partition(",")
    if not text.strip():
        raise ValueError(f"--guide={kind}:{argument}:{scale:g} can't be read; write {kind}:WORKDIR,TEXT:SCALE")
    return folder, text.strip()


def check_encoder(kind: str, encoder: Stage, stage: Stage, name: str) -> ImageTextEncoder:
    """The interface of a run that puts images and texts into one space.

    Raises:
        ValueError: for a run of another kind, or of images with other channels than the stage's.
    """
    interface = encoder.family.interface
    if interface.encode_image is None:
        raise ValueError(
            f"{name} is a run of the family {encoder.config.family!r}; --guide={kind} needs the workdir of a clip, "
            "such as configs/clip_shapes.py trains"
        )
    ours = stage.interface.image_shape
    if interface.image_shape[-1] != ours[-1]:
        raise ValueError(
            f"{name} reads images of {interface.image_shape[-1]} channels, and the model draws images of {ours[-1]}"
        )
    return interface


def _check_noisy(encoder: Stage, interface: ImageTextEncoder, stage: Stage, name: str) -> None:
    if interface.image_shape != stage.interface.image_shape:
        raise ValueError(
            f"{name} reads noisy images of {interface.image_shape}, and the model draws "
            f"{stage.interface.image_shape}; noise can't be resized: train one with the model's config.data"
        )
    registry.check_noise(name, encoder, interface.schedule, stage)


def embed(encoder: Stage, text: str) -> Float[Array, "1 d"]:
    """The embedding of a text; what of it can't be kept is named."""
    tokens = jnp.asarray(prompts.tokens(encoder.tokenizer, [text]))
    return encoder.family.interface.encode_text(encoder.weights, tokens)


def fit(images: Image, interface: ImageTextEncoder) -> Float[Array, "b size_h size_w c"]:
    """Images at the size that the encoder reads."""
    size = interface.image_shape[:2]
    return images if images.shape[1:3] == size else images_lib.resize(images, size, antialias=True)
