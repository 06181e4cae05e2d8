"""A block of T5 is the formula of its module, written out."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.special

from genjax.nn.t5 import T5Block


def normed(x, gain):
    return x / np.sqrt((x**2).mean(-1, keepdims=True) + 1e-6) * gain


def gelu(x):
    return 0.5 * x * (1 + np.tanh(np.sqrt(2 / np.pi) * (x + 0.044715 * x**3)))


@pytest.mark.parametrize("gated", [True, False])
def test_a_block_is_the_formula(gated):
    """Scores are not divided, norms have no mean, no layer has a bias, and one of two projections opens the other."""
    draw, block = np.random.default_rng(0), T5Block(num_heads=2, head_dim=4, mlp_width=7, gated=gated)
    x, bias = draw.normal(size=(2, 5, 6)), draw.normal(size=(1, 2, 5, 5))
    mask = (np.arange(5) < np.array([[5], [3]]))[:, None, None]
    given = (jnp.asarray(x, jnp.float32), jnp.asarray(bias, jnp.float32), jnp.asarray(mask))
    shapes = jax.eval_shape(block.init, jax.random.key(0), *given)["params"]
    params = jax.tree.map(lambda leaf: draw.normal(size=leaf.shape), shapes)
    found = jax.jit(block.apply)({"params": jax.tree.map(jnp.float32, params)}, *given)

    h = normed(x, params["norm_attention"]["scale"]) @ params["qkv"]["kernel"]
    q, k, v = np.moveaxis(h.reshape(2, 5, 3, 2, 4), 2, 0)
    scores = np.where(mask, np.einsum("bqhd,bkhd->bhqk", q, k) + bias, -np.inf)
    h = np.einsum("bhqk,bkhd->bqhd", scipy.special.softmax(scores, axis=-1), v)
    x = x + h.reshape(2, 5, 8) @ params["proj_out"]["kernel"]
    h = normed(x, params["norm_mlp"]["scale"])
    hidden = h @ params["mlp_in"]["kernel"]
    hidden = gelu(h @ params["mlp_gate"]["kernel"]) * hidden if gated else np.maximum(hidden, 0)
    np.testing.assert_allclose(found, x + hidden @ params["mlp_out"]["kernel"], rtol=1e-3, atol=1e-3)
