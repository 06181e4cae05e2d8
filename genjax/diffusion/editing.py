"""Editing: denoisers that keep what is known of a picture."""

import jax.numpy as jnp

from genjax.diffusion.denoisers import Denoiser, Guide, Prediction, replace_x0
from genjax.diffusion.schedules import NoiseLevel
from genjax.typing import Array, Float, Key


def replace_known(known: Float[Array, "b ..."], mask: Float[Array, "..."]) -> Guide:
    """Overwrite x0 where it is known, at every step: inpainting as in GLIDE's release (arXiv:2112.10741).

    Apply it last: guide, threshold, then replace.

    Args:
        known: clean data, right where the mask is 1.
        mask: 1 where known, 0 where to be made; broadcasts against the data.
    """

    def guide(denoise: Denoiser) -> Denoiser:
        def replaced(x_t: Float[Array, "b ..."], level: NoiseLevel, key: Key) -> Prediction:
            prediction = denoise(x_t, level, key)
            return replace_x0(prediction, jnp.where(mask > 0.5, known, prediction.x0), x_t, level)

        return replaced

    return guide
