"""The coders of VQ-VAE: shapes at every depth, parameter counts, what a pixel can reach, and refusals."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from genjax.core.tree import count_params
from genjax.nn.coders import CoderBlock, Decoder, Encoder

KEY = jax.random.key(0)


def shapes(module, *shape):
    output, params = jax.eval_shape(module.init_with_output, KEY, jnp.ones(shape))
    return output.shape, count_params(params)


@pytest.mark.parametrize("depth", [0, 1, 2, 3, 4])
def test_any_power_of_two(depth):
    size = 16 // 2**depth
    sizes = {"width": 8, "num_res_blocks": 1, "res_width": 4}
    assert shapes(Encoder(num_downs=depth, **sizes), 2, 16, 32, 3)[0] == (2, size, 2 * size, 8)
    assert shapes(Encoder(num_downs=depth, out_channels=5, **sizes), 2, 16, 32, 3)[0] == (2, size, 2 * size, 5)
    assert shapes(Decoder(7, num_ups=depth, **sizes), 2, size, 2 * size, 5)[0] == (2, 16, 32, 7)


def test_counts_of_sonnets_example():
    """Hidden 128, residual hidden 32 twice, D=64: by hand."""
    block = (9 * 128 * 32 + 32) + (32 * 128 + 128)
    encoder = (16 * 3 * 64 + 64) + (16 * 64 * 128 + 128) + (9 * 128 * 128 + 128) + 2 * block + (128 * 64 + 64)
    decoder = (9 * 64 * 128 + 128) + 2 * block + (16 * 128 * 64 + 64) + (16 * 64 * 3 + 3)
    assert shapes(Encoder(out_channels=64), 1, 32, 32, 3)[1] == encoder
    assert shapes(Decoder(3), 1, 8, 8, 64)[1] == decoder


def test_residual_block_starts_near_its_skip_and_is_linear_in_the_skip():
    x = jax.random.normal(KEY, (2, 4, 4, 6))
    params = jax.jit(CoderBlock(3).init)(KEY, x)
    silent = jax.tree.map(jnp.zeros_like, params)
    np.testing.assert_array_equal(CoderBlock(3).apply(silent, x), x)
    negative = -jnp.abs(x)
    biases = jax.tree.map(lambda leaf: leaf if leaf.ndim > 1 else jnp.zeros_like(leaf), params)
    np.testing.assert_array_equal(CoderBlock(3).apply(biases, negative), negative)  # ReLU comes first


def test_features_without_projection_are_relus():
    x = jax.random.normal(KEY, (1, 8, 8, 1))
    features, _ = jax.jit(Encoder(width=8, num_downs=1).init_with_output)(KEY, x)
    assert features.min() == 0 and features.max() > 0
    projected, _ = jax.jit(Encoder(width=8, num_downs=1, out_channels=8).init_with_output)(KEY, x)
    assert projected.min() < 0


def test_receptive_field_of_a_code():
    """One halving, a 3x3 convolution and one block: 4 + 2 * (2 + 2) = 12 pixels a side."""
    encoder = Encoder(width=8, num_downs=1, num_res_blocks=1, res_width=8, out_channels=2)
    x = jax.random.normal(KEY, (1, 32, 32, 1))
    params = jax.jit(encoder.init)(KEY, x)
    gradient = jax.jit(jax.grad(lambda x: jnp.square(encoder.apply(params, x)[0, 8, 8]).sum()))(x)[0, ..., 0]
    rows, columns = np.nonzero(gradient)
    assert rows.min() == columns.min() == 11 and rows.max() == columns.max() == 22


def test_odd_sizes_are_refused():
    with pytest.raises(ValueError, match="images of 3x3 can't be halved"):
        Encoder(width=8, num_downs=2).init(KEY, jnp.ones((1, 6, 6, 1)))


def test_bfloat16_computes_low_and_keeps_parameters():
    encoder = Encoder(width=8, num_downs=1, out_channels=4, dtype="bfloat16")
    output, params = jax.eval_shape(encoder.init_with_output, KEY, jnp.ones((1, 8, 8, 1)))
    assert output.dtype == jnp.bfloat16
    assert {leaf.dtype for leaf in jax.tree.leaves(params)} == {jnp.dtype("float32")}
