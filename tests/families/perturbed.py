"""Weights with nothing left at zero, so that every input matters; most of what `init` draws isn't compiled for them."""

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from genjax.families.base import Family
from genjax.families.interfaces import Weights

KEY = jax.random.key(0)


def weights(
    family: Family, batch: Mapping[str, Any], scale: float = 0.1, frozen: Mapping[str, Weights] = MappingProxyType({})
) -> Weights:
    """Vectors, scalars and other state as `family.init` starts them, and noise on all of them; kernels are noise alone.

    A program that draws some forty kernels takes longer to compile than most of what is tested with them.

    Args:
        family: what `registry.build` gives.
        batch: examples that show their shapes.
        scale: standard deviation of the noise.
        frozen: weights of the upstream stages, as they come back.
    """
    init, noise = jax.jit(family.init), np.random.default_rng(0)

    def small(key, batch):
        params, extra = init(key, batch)
        return jax.tree.map(lambda leaf: leaf if leaf.ndim < 2 else None, params), extra

    def fill(shape, value):
        start = 0 if value is None else np.asarray(value)
        return jnp.asarray(start + scale * noise.standard_normal(shape.shape, np.float32), shape.dtype)

    shapes, _ = jax.eval_shape(init, KEY, batch)
    vectors, extra = jax.jit(small)(KEY, batch)
    return Weights(jax.tree.map(fill, shapes, vectors), extra, dict(frozen))


def noise(
    family: Family,
    batch: Mapping[str, Any],
    scale: float = 0.5,
    frozen: Mapping[str, Weights] = MappingProxyType({}),
    seed: int = 0,
) -> Weights:
    """Parameters that are noise alone, by the seed, and state as it starts; no kernel is drawn. Other arguments as of
    `weights`.
    """
    draw, (shapes, extra) = np.random.default_rng(seed), jax.eval_shape(family.init, KEY, batch)
    params = jax.tree.map(lambda x: jnp.asarray(scale * draw.standard_normal(x.shape, np.float32), x.dtype), shapes)
    if jax.tree.leaves(extra):
        extra = jax.jit(lambda key, batch: family.init(key, batch)[1])(KEY, batch)
    return Weights(params, extra, dict(frozen))
