"""Orthogonal regularisation of weight matrices, without their norms (arXiv:1809.11096, equation 3).

    R(W) = | W^T W * (1 - I) |_F^2

over matrices W [inputs, outputs]: the outputs' filters are to be orthogonal, of any length. Constraining their length
too (Brock et al., arXiv:1609.07093) was found too limiting.

Deviation: the authors' PyTorch release adds to the gradient half of that of this equation.
"""

import re

import jax
import jax.numpy as jnp

from genjax.core.tree import path_name
from genjax.typing import Array, Float, Params


def off_diagonal(weight: Float[Array, "... k"]) -> Float[Array, ""]:
    """R of one weight; all axes but the last are inputs."""
    matrix = weight.reshape(-1, weight.shape[-1])
    gram = matrix.T @ matrix
    return jnp.sum(jnp.square(gram)) - jnp.sum(jnp.square(jnp.diagonal(gram)))


def orthogonal(params: Params, excluded: str = "^$") -> Float[Array, ""]:
    """Sum of R over all weights with at least two axes.

    Args:
        params: any tree.
        excluded: weights whose path `a/b/c` this regex finds are excluded.
    """
    leaves = jax.tree_util.tree_leaves_with_path(params)
    kept = (leaf for path, leaf in leaves if leaf.ndim > 1 and not re.search(excluded, path_name(path)))
    return sum(map(off_diagonal, kept), jnp.zeros(()))
