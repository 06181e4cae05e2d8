"""Codes as the condition of finer codes, and decoding of networks that have no cache."""

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from genjax.autoregressive import sample
from genjax.nn import code_networks
from genjax.nn.code_networks import CodeContext, repeat_to
from genjax.nn.pixelcnn import GatedPixelCNN
from tests.nn import code_network_cases as cases


def test_repeating_is_nearest_neighbour():
    x = jax.random.normal(jax.random.key(0), (2, 2, 3, 4))
    expected = np.stack([np.kron(x[..., c], np.ones((1, 3, 2))) for c in range(4)], axis=-1)
    np.testing.assert_array_equal(repeat_to(x, (6, 6)), expected)
    with pytest.raises(ValueError, match="grid 2x3 can't be repeated to 5x6"):
        repeat_to(x, (5, 6))


def test_every_coarser_code_reaches_its_place():
    context = CodeContext(num_codes=5, grid=(8, 8), width=6, num_blocks=1)
    coarser = (jnp.full((1, 2, 2), 1), jnp.full((1, 4, 4), 3))
    params = cases.random_params(context, (coarser,))
    apply = jax.jit(lambda coarser: context.apply({"params": params}, coarser))
    before = apply(coarser)
    for level, size in ((0, 4), (1, 2)):
        grids = list(coarser)
        grids[level] = grids[level].at[0, 1, 0].set(0)
        change = np.abs(apply(tuple(grids)) - before).max(axis=(0, 3))
        assert (change[size : 2 * size, :size] > 1e-4).all()
        # Features come by convolutions at the level's own resolution: equal within each of its places.
        np.testing.assert_allclose(change, np.kron(change[::size, ::size], np.ones((size, size))), atol=1e-6)


class Shy(nn.Module):
    """A network of codes without a cache."""

    num_codes: int
    grid: tuple[int, int]
    num_classes: int = 0

    @nn.compact
    def __call__(self, codes, label=None, context=None, train=False):
        return GatedPixelCNN(self.num_codes, self.grid, width=4, depth=2, name="inner")(codes, label, context)


def test_a_network_without_a_cache_is_decoded_by_whole_passes():
    shy, inner = Shy(6, (3, 4)), GatedPixelCNN(6, (3, 4), width=4, depth=2)
    inputs = cases.conditions(shy, 3)
    params = cases.random_params(shy, inputs)
    assert isinstance(code_networks.decoder(shy, params, 3, *inputs[1:])[0], jax.Array), "its cache is the codes"
    drawn = cases.drawn(inner, params["inner"], inputs, cached=True, count=3)
    keys = jax.random.split(jax.random.key(5), 64)[:3]

    @jax.jit
    def whole(params):
        cache, step = code_networks.decoder(shy, params, 3, *inputs[1:])
        return sample.decode(step, cache, 12, keys)

    np.testing.assert_array_equal(whole(params), drawn)
