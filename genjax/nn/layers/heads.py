"""Queries, keys and values by head, [b, s, heads, d], and their masks, as kernels of attention want them."""

import jax.numpy as jnp

from genjax.typing import Array, Bool, Float

Heads = Float[Array, "b _ heads _"]


def padded(x: Array, multiple: int) -> Array:
    """[b, s, ...] with zeros behind, up to a multiple of positions."""
    return jnp.pad(x, ((0, 0), (0, -x.shape[1] % multiple)) + ((0, 0),) * (x.ndim - 2))


def four_axes(mask: Bool[Array, "..."]) -> Bool[Array, "_ _ _ _"]:
    """A mask of up to four axes, as it is broadcast to [b, heads, q, k]."""
    return mask.reshape((1,) * (4 - mask.ndim) + mask.shape)
