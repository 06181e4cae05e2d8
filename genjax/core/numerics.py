"""Small numerical functions that several rooms share."""

import jax
import jax.numpy as jnp

from genjax.typing import Array, Float


def expand_to(values: Float[Array, "*b"] | float, like: Float[Array, "..."]) -> Float[Array, "..."]:
    """`values` with singleton dimensions appended until it has as many as `like`, to broadcast over examples."""
    values = jnp.asarray(values)
    return values.reshape(values.shape + (1,) * (like.ndim - values.ndim))


def safe_log(x: Float[Array, "..."], floor: float = 1e-12) -> Float[Array, "..."]:
    """`log(max(x, floor))`; the gradient below the floor is zero, never NaN."""
    return jnp.log(jnp.maximum(x, floor))


def standard_normal_cdf(x: Float[Array, "..."]) -> Float[Array, "..."]:
    """Cumulative distribution function of N(0, 1), exact to the dtype."""
    return jax.scipy.stats.norm.cdf(x)


def mean_flat(x: Float[Array, "b ..."]) -> Float[Array, " b"]:
    """Mean over all dimensions but the first: [b, ...] to [b]."""
    return jnp.mean(x.reshape(x.shape[0], -1), axis=1)
