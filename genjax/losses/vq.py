"""The terms of VQ-VAE's loss beside the reconstruction (arXiv:1711.00937, equation 3).

    codebook:   || sg(z) - z_q ||^2      moves the code vectors towards the encoder's outputs
    commitment: || z - sg(z_q) ||^2      keeps the encoder's outputs near their code vectors

Both as means over positions and channels, as in Sonnet: so the cost of commitment is the same at every size of grid.
"""

import jax
import jax.numpy as jnp

from genjax.core.numerics import mean_flat
from genjax.typing import Array, Float, PerExample


def codebook_loss(z: Float[Array, "b *s d"], z_q: Float[Array, "b *s d"]) -> PerExample:
    """Mean squared distance of the code vectors from the encoder's outputs, for the gradient of the vectors alone.

    Args:
        z: outputs of the encoder.
        z_q: the code vector of each, not yet straight through.
    """
    return mean_flat(jnp.square(jax.lax.stop_gradient(z) - z_q))


def commitment_loss(z: Float[Array, "b *s d"], z_q: Float[Array, "b *s d"]) -> PerExample:
    """The same distance, for the gradient of the encoder alone."""
    return mean_flat(jnp.square(z - jax.lax.stop_gradient(z_q)))
