"""Attention: the softmax by hand, the two orders of channels, and low precision."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from genjax.nn.layers.attention import AttentionBlock, AttentionPool, CrossAttentionBlock, attend, split_heads
from genjax.nn.layers.sparse_attention import Sees


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


def by_hand(q, k, v, seen, bias, scale):
    """Attention by loops in float64, over the keys that are seen."""
    result = np.zeros((*q.shape[:3], v.shape[3]))
    for b, head, i in np.ndindex(q.shape[0], q.shape[2], q.shape[1]):
        at = seen[b, head, i]
        weights = np.exp(scale * k[b, at, head] @ q[b, i, head] + bias[b, head, i, at])
        result[b, i, head] = weights / weights.sum() @ v[b, at, head]
    return result


SEEN = np.array([[True, False, True, True, False], [True, True, False, False, True]])
BIAS = np.random.default_rng(1).normal(size=(1, 3, 5, 5))


@pytest.mark.parametrize(
    ("changes", "seen", "bias", "scale"),
    [
        ({}, True, 0.0, 0.5),
        ({"scale": 1.0}, True, 0.0, 1.0),
        ({"causal": True}, np.tri(5, dtype=bool), 0.0, 0.5),
        ({"mask": SEEN[:, None, None]}, SEEN[:, None, None], 0.0, 0.5),
        ({"mask": SEEN[:, None, None], "causal": True}, SEEN[:, None, None] & np.tri(5, dtype=bool), 0.0, 0.5),
        ({"mask": Sees("column", 1, 2, 3)}, Sees("column", 1, 2, 3)(np.arange(5), np.arange(5)), 0.0, 0.5),
        ({"mask": SEEN[:, None, None], "bias": BIAS, "scale": 1.0}, SEEN[:, None, None], BIAS, 1.0),
    ],
    ids=["plain", "scale", "causal", "padding", "causal_padding", "pattern", "bias"],
)
def test_attend_heeds_masks_bias_and_scale(changes, seen, bias, scale):
    """By loops, with values of another size than keys."""
    q, k, v = (np.random.default_rng(size).normal(size=(2, 5, 3, size)) for size in (4, 4, 6))
    seen, bias = np.broadcast_to(seen, (2, 3, 5, 5)), np.broadcast_to(bias, (2, 3, 5, 5))
    changes = {name: jnp.asarray(given) if isinstance(given, np.ndarray) else given for name, given in changes.items()}
    np.testing.assert_allclose(
        attend(*(jnp.asarray(value, jnp.float32) for value in (q, k, v)), **changes),
        by_hand(q, k, v, seen, bias, scale),
        rtol=1e-5,
        atol=1e-6,
    )


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


@pytest.mark.parametrize("kind", [AttentionBlock, CrossAttentionBlock])
def test_blocks_gather_from_the_tokens_that_are_seen(kind):
    """By hand with one head: beside those from all pixels, or from them and a learned vector alone."""
    rng = np.random.default_rng(0)
    x, context = rng.standard_normal((2, 2, 3, 4), np.float32), rng.standard_normal((2, 3, 5), np.float32)
    mask = np.array([[True, False, True], [False, False, False]])
    block = kind(num_groups=2)
    shapes = jax.eval_shape(block.init, jax.random.key(0), x, context, mask)
    variables = jax.tree.map(lambda leaf: rng.standard_normal(leaf.shape, np.float32), shapes)
    params = variables["params"]

    def dense(values, name):
        return values @ params[name]["kernel"] + params[name]["bias"]

    groups = x.reshape(2, 6, 2, 2)
    spread = np.sqrt(groups.var((1, 3), keepdims=True) + 1e-5)
    h = ((groups - groups.mean((1, 3), keepdims=True)) / spread).reshape(2, 6, 4)
    h = h * params["norm"]["scale"] + params["norm"]["bias"]
    of_text, expected = dense(context, "encoder_kv"), np.array(x)
    for example in range(2):
        if kind is AttentionBlock:
            q, *rest = np.split(dense(h[example], "qkv"), 3, axis=-1)
            others = np.concatenate(rest, axis=-1)
        else:
            q, others = dense(h[example], "query"), params["nothing"][None]
        k, v = np.split(np.concatenate([of_text[example][mask[example]], others]), 2, axis=-1)
        weights = np.exp(q @ k.T / 2)
        gathered = weights / weights.sum(1, keepdims=True) @ v
        expected[example] += dense(gathered, "proj_out").reshape(2, 3, 4)
    np.testing.assert_allclose(jax.jit(block.apply)(variables, x, context, mask), expected, rtol=1e-4, atol=1e-4)


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
