"""Attention: the softmax by hand, the two orders of channels, and low precision."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from genjax.nn.attention import AttentionBlock, AttentionPool, attend, split_heads


def test_attend_is_softmax_attention_by_head():
    rng = np.random.default_rng(0)
    q = rng.normal(size=(2, 5, 3, 4))
    k, v = rng.normal(size=(2, 2, 7, 3, 4))
    expected = np.zeros_like(q)
    for b, head in np.ndindex(2, 3):
        weights = np.exp(q[b, :, head] @ k[b, :, head].T / 2.0)
        expected[b, :, head] = weights / weights.sum(1, keepdims=True) @ v[b, :, head]
    actual = attend(*(jnp.asarray(value, jnp.float32) for value in (q, k, v)))
    np.testing.assert_allclose(actual, expected, rtol=1e-5, atol=1e-6)


def test_softmax_is_float32_under_bfloat16():
    rng = np.random.default_rng(0)
    q, k, v = (jnp.asarray(rng.normal(size=(1, 64, 1, 16)), jnp.bfloat16) for _ in range(3))
    exact = attend(*(value.astype(jnp.float32) for value in (q, k, v)))
    low = attend(q, k, v)
    assert low.dtype == jnp.bfloat16
    np.testing.assert_allclose(low.astype(jnp.float32), exact, atol=0.02)


def test_orders_of_channels():
    qkv = jnp.arange(12.0).reshape(1, 1, 12)  # 2 heads of 2 channels
    legacy, new = split_heads(qkv, 2, new_order=False), split_heads(qkv, 2, new_order=True)
    np.testing.assert_array_equal(legacy[0][0, 0], [[0, 1], [6, 7]])
    np.testing.assert_array_equal(legacy[2][0, 0], [[4, 5], [10, 11]])
    np.testing.assert_array_equal(new[0][0, 0], [[0, 1], [2, 3]])
    np.testing.assert_array_equal(new[2][0, 0], [[8, 9], [10, 11]])
    for a, b in zip(split_heads(qkv, 1, False), split_heads(qkv, 1, True), strict=True):
        np.testing.assert_array_equal(a, b)


def test_block_starts_as_identity():
    x = jax.random.normal(jax.random.key(0), (2, 3, 5, 8))
    block = AttentionBlock(num_heads=2, num_groups=4)
    output, _ = block.init_with_output(jax.random.key(1), x)
    np.testing.assert_array_equal(output, x)


def test_heads_must_divide():
    with pytest.raises(ValueError, match="8 channels.*3 heads"):
        AttentionBlock(num_heads=3, num_groups=4).init(jax.random.key(0), jnp.zeros((1, 2, 2, 8)))


def test_pool_is_attention_of_the_mean_token():
    """By hand with one head; positions tell pixels apart, without them their order wouldn't matter."""
    rng = np.random.default_rng(0)
    pool, x = AttentionPool(out_channels=5), rng.standard_normal((2, 2, 3, 4), np.float32)
    shapes = jax.eval_shape(pool.init, jax.random.key(1), x)
    variables = jax.tree.map(lambda leaf: rng.standard_normal(leaf.shape, np.float32), shapes)
    params = variables["params"]
    tokens = x.reshape(2, 6, 4)
    tokens = np.concatenate([tokens.mean(1, keepdims=True), tokens], axis=1) + params["positions"]
    q, k, v = np.split(tokens @ params["qkv"]["kernel"] + params["qkv"]["bias"], 3, axis=-1)
    weights = np.exp(np.einsum("bd,bsd->bs", q[:, 0], k) / 2.0)
    pooled = np.einsum("bs,bsd->bd", weights / weights.sum(1, keepdims=True), v)
    apply = jax.jit(pool.apply)
    output = apply(variables, x)
    expected = pooled @ params["proj_out"]["kernel"] + params["proj_out"]["bias"]
    np.testing.assert_allclose(output, expected, rtol=1e-4, atol=1e-5)
    assert jnp.abs(apply(variables, x[:, ::-1]) - output).max() > 1e-2
    with pytest.raises(ValueError, match="4 channels.*3 heads"):
        jax.eval_shape(AttentionPool(out_channels=5, num_heads=3).init, jax.random.key(1), x)
