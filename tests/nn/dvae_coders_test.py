"""DALL-E's coders: the published numbers of parameters, shapes, and what a code sees."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from genjax.core.tree import count_params
from genjax.nn import dvae_coders
from genjax.nn.dvae_coders import DVAEDecoder, DVAEEncoder

KEY = jax.random.key(0)


def test_published_counts():
    encoder = jax.eval_shape(DVAEEncoder().init, KEY, jax.ShapeDtypeStruct((1, 32, 32, 3), jnp.float32))
    decoder = jax.eval_shape(DVAEDecoder().init, KEY, jax.ShapeDtypeStruct((1, 4, 4, 8192), jnp.float32))
    assert count_params(encoder) == 53_786_240
    assert count_params(decoder) == 43_829_766


def test_residuals_are_multiplied_by_the_inverse_square_of_the_blocks_in_the_coder(monkeypatch):
    gains, block = [], dvae_coders.DVAEBlock

    def make(features, kernels, gain, **fields):
        gains.append(gain)
        return block(features, kernels, gain, **fields)

    monkeypatch.setattr(dvae_coders, "DVAEBlock", make)
    sizes = {"width": 4, "channel_mult": (1, 2), "num_blocks": 3}
    coders = (DVAEEncoder(num_codes=5, **sizes), (1, 4, 4, 1)), (DVAEDecoder(2, 3, **sizes), (1, 2, 2, 5))
    for coder, x in coders:
        jax.eval_shape(coder.init, jax.random.key(0), jnp.zeros(x))
    assert gains == [1 / 36] * 12


def test_max_pool():
    x = jnp.arange(16.0).reshape(1, 4, 4, 1)
    np.testing.assert_array_equal(dvae_coders.max_pool(x)[0, :, :, 0], [[5, 7], [13, 15]])


@pytest.mark.parametrize("remat", [False, True])
def test_coders_undo_each_others_shapes(remat):
    fields = {"width": 8, "channel_mult": (1, 2), "num_blocks": 1, "remat": remat}
    encoder, decoder = DVAEEncoder(10, **fields), DVAEDecoder(2, 4, **fields)
    logits, _ = jax.eval_shape(encoder.init_with_output, KEY, jnp.zeros((2, 6, 8, 1)))
    assert logits.shape == (2, 3, 4, 10)
    assert jax.eval_shape(decoder.init_with_output, KEY, logits)[0].shape == (2, 6, 8, 2)


def test_half_precision_spares_the_layers_of_the_codes():
    fields = {"width": 8, "channel_mult": (1, 2), "num_blocks": 1, "dtype": "bfloat16"}
    logits, variables = jax.eval_shape(DVAEEncoder(10, **fields).init_with_output, KEY, jnp.zeros((1, 4, 4, 1)))
    assert logits.dtype == jnp.float32
    assert {leaf.dtype for leaf in jax.tree.leaves(variables)} == {jnp.dtype("float32")}
    assert jax.eval_shape(DVAEDecoder(2, 4, **fields).init_with_output, KEY, logits)[0].dtype == jnp.float32


def test_each_code_matters_near_its_place():
    # 1x1 layers next to the codes and one 3x3 block at their level: a code reaches 3 places, then pixels around.
    decoder = DVAEDecoder(1, 4, width=8, channel_mult=(1, 2), num_blocks=1)
    codes = jax.random.uniform(KEY, (1, 12, 12, 5))
    variables = jax.jit(decoder.init)(KEY, codes)

    def pixel(codes):
        return decoder.apply(variables, codes)[0, 12, 12, 0]

    seen = jnp.abs(jax.jit(jax.grad(pixel))(codes)).sum((0, 3)) > 0
    rows = jnp.flatnonzero(seen.any(1))
    # 3 pixels of the fine block are 2 codes away at most; 3 codes of the coarse block.
    assert rows.min() >= 6 - 2 - 3 and rows.max() <= 6 + 2 + 3 and seen[6, 6]
