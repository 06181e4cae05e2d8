"""Residual blocks and changes of resolution."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from genjax.nn.layers.blocks import Downsample, ResBlock, Upsample, downsample, upsample

X = jax.random.normal(jax.random.key(0), (2, 4, 6, 8))
EMBEDDING = jax.random.normal(jax.random.key(1), (2, 16))


def test_resampling():
    small = jnp.arange(6.0).reshape(1, 2, 3, 1)
    np.testing.assert_array_equal(upsample(small), jnp.repeat(jnp.repeat(small, 2, 1), 2, 2))
    np.testing.assert_array_equal(downsample(upsample(small)), small)
    np.testing.assert_allclose(downsample(small[:, :, :2])[0, 0, 0, 0], (0 + 1 + 3 + 4) / 4)


CHANGES = [("none", lambda x: x), ("up", upsample), ("down", downsample)]


@pytest.mark.parametrize("adaptive_norm", [True, False])
@pytest.mark.parametrize(("resample", "change"), CHANGES)
def test_starts_as_its_skip(adaptive_norm, resample, change):
    block = ResBlock(8, adaptive_norm=adaptive_norm, resample=resample, num_groups=4)
    output, _ = block.init_with_output(jax.random.key(2), X, EMBEDDING)
    np.testing.assert_array_equal(output, change(X))


def test_change_of_channels_goes_through_the_skip():
    block = ResBlock(12, num_groups=4)
    output, variables = block.init_with_output(jax.random.key(2), X, EMBEDDING)
    skip = variables["params"]["skip"]
    np.testing.assert_allclose(output, X @ skip["kernel"] + skip["bias"], atol=1e-5)


@pytest.mark.parametrize("adaptive_norm", [True, False])
def test_embedding_reaches_the_result(adaptive_norm):
    block = ResBlock(8, adaptive_norm=adaptive_norm, num_groups=4)
    params = jax.tree.map(lambda leaf: leaf + 0.1, block.init(jax.random.key(2), X, EMBEDDING))
    assert float(jnp.abs(block.apply(params, X, EMBEDDING) - block.apply(params, X, -EMBEDDING)).max()) > 1e-3


def test_strided_convolutions_differ_in_where_they_look():
    """Padded at the end, output i looks at inputs 2i..2i+2; padded on all sides, at 2i-1..2i+1."""
    impulse = jnp.zeros((1, 4, 4, 1)).at[0, 1, 1, 0].set(1.0)
    params = {"params": {"conv": {"kernel": jnp.arange(9.0).reshape(3, 3, 1, 1), "bias": jnp.zeros(1)}}}
    end = Downsample(pad_end_only=True).apply(params, impulse)[0, :, :, 0]
    both = Downsample().apply(params, impulse)[0, :, :, 0]
    np.testing.assert_array_equal(end, [[4, 0], [0, 0]])
    np.testing.assert_array_equal(both, [[8, 6], [2, 0]])


def test_upsample_doubles():
    output, _ = Upsample().init_with_output(jax.random.key(0), X)
    assert output.shape == (2, 8, 12, 8)
