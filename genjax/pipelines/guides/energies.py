"""Guides down an energy of the denoised estimate; what `image`, `style` and `features` share.

The gradient runs through the denoiser (`genjax.diffusion.guidance.energy`). Where it acts on the score, x0 moves by
sigma^2 / alpha times it, without bound where almost no signal is left; so x0 is clipped to [-1, 1] once more.
"""

from collections.abc import Callable

import jax.numpy as jnp

from genjax.diffusion import denoisers, guidance, thresholding
from genjax.families.base import Conditions
from genjax.pipelines import editing
from genjax.pipelines.guides import registry
from genjax.stages import Stage
from genjax.typing import Array, Image, PerExample, PyTree

Energy = Callable[[PyTree, Image], PerExample]
"""(arrays, images in [-1, 1]) -> energies [b]."""


def make(energy: Energy, arrays: PyTree, scale: float, stage: Stage) -> registry.Guide:
    """The guide g = -scale * d/dx_t energy(arrays, x0(x_t)).

    Args:
        energy: of images.
        arrays: its other arguments; traced, so other values don't compile anew.
        scale: of the gradient; 0 = none.
        stage: the diffusion model to guide.

    Raises:
        ValueError: if the stage is no diffusion model.
    """
    registry.check_guidable(stage)

    def guide(inputs: tuple[PyTree, Array], conditions: Conditions, mode: str) -> denoisers.Guide:
        held, strength = inputs
        pull = guidance.energy(lambda x0, x_t, level, key: energy(held, x0), strength, mode)
        if mode == "mean":
            return pull
        return lambda denoise: thresholding.static()(pull(denoise))

    return registry.Guide(guide, (arrays, jnp.float32(scale)))


def read_picture(path: str, stage: Stage) -> Image:
    """A file as a batch of one picture, as the stage's model sees pictures."""
    return jnp.asarray(editing.read_picture(path, stage))[None]
