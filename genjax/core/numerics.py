"""Small numerical functions that several rooms share."""

import functools
from collections.abc import Sequence

import jax.numpy as jnp

from genjax.typing import Array, Float, Shaped


def expand_to(values: Shaped[Array, "*b"] | float, like: Shaped[Array, "..."]) -> Shaped[Array, "..."]:
    """`values` with singleton dimensions appended until it has as many as `like`, to broadcast over examples."""
    values = jnp.asarray(values)
    return values.reshape(values.shape + (1,) * (like.ndim - values.ndim))


def safe_log(x: Float[Array, "..."], floor: float = 1e-12) -> Float[Array, "..."]:
    """`log(max(x, floor))`; the gradient below the floor is zero, never NaN."""
    return jnp.log(jnp.maximum(x, floor))


def largest(parts: Sequence[Float[Array, "*s"]]) -> Float[Array, "*s"]:
    """The maximum of a few arrays, elementwise; its gradient goes to the first that attains it.

    `jnp.max` looks for the elements that equal the maximum when it is differentiated. XLA may compute them anew and
    round otherwise, and where none is equal the gradient is 0/0. Here comparisons choose, once.
    """
    return functools.reduce(lambda a, b: jnp.where((b > a) | jnp.isnan(b), b, a), parts)


def mean_flat(x: Float[Array, "b ..."]) -> Float[Array, " b"]:
    """Mean over all dimensions but the first: [b, ...] to [b]."""
    return jnp.mean(x.reshape(x.shape[0], -1), axis=1)


def psnr(x: Float[Array, "b ..."], y: Float[Array, "b ..."]) -> Float[Array, " b"]:
    """Peak signal-to-noise ratio of each example in dB, for values in [-1, 1]: 10 log10(2**2 / mean (x - y)**2).

    The peak is the range, 2: the number is the same as for pixels in [0, 255] with a peak of 255. Equal examples give
    100 dB, for a finite number.
    """
    return 10.0 * jnp.log10(4.0 / jnp.maximum(mean_flat(jnp.square(x - y)), 4e-10))
