"""Guides down an energy of the denoised estimate; what `image`, `style`, `features`, `clip` and `text` share.

The gradient runs through the denoiser (`genjax.diffusion.guidance.energy`). Where it acts on the score, x0 moves by
sigma^2 / alpha times it, without bound where almost no signal is left; so x0 is clipped to [-1, 1] once more.
"""

from collections.abc import Callable

import jax.numpy as jnp

from genjax.diffusion import denoisers, guidance, thresholding
from genjax.diffusion.schedules import NoiseLevel
from genjax.families.interfaces import Conditions
from genjax.pipelines import editing
from genjax.pipelines.guides import registry
from genjax.stages import Stage
from genjax.typing import Array, Image, Key, PerExample, PyTree

Energy = Callable[[PyTree, Image], PerExample]
"""(arrays, images in [-1, 1]) -> energies [b]."""

NoisyEnergy = Callable[[PyTree, Image, Image, NoiseLevel, Key], PerExample]
"""(arrays, x0 estimate, x_t, level, key or keys [b]) -> energies [b]."""


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
    return make_noisy(lambda arrays, x0, x_t, level, key: energy(arrays, x0), arrays, scale, stage)


def make_noisy(energy: NoisyEnergy, arrays: PyTree, scale: float, stage: Stage) -> registry.Guide:
    """As `make`, of an energy that also sees x_t, the level of noise, and a key."""
    registry.expect_guidable(stage)

    def guide(inputs: tuple[PyTree, Array], conditions: Conditions, mode: str) -> denoisers.Guide:
        held, strength = inputs
        guide = guidance.energy(lambda *given: energy(held, *given), strength, mode)
        return within_range(guide, mode)

    return registry.Guide(guide, (arrays, jnp.float32(scale)))


def within_range(guide: denoisers.Guide, mode: str) -> denoisers.Guide:
    """The guide with its x0 clipped to [-1, 1] where it acts on the score."""
    return guide if mode == "mean" else lambda denoise: thresholding.static()(guide(denoise))


def read_image(path: str, stage: Stage) -> Image:
    """A file as a batch of one image, as the stage's model sees images."""
    return jnp.asarray(editing.read_image(path, stage))[None]
