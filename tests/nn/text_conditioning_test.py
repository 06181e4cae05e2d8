"""What a network is told of a language model's states equals the formula, written out."""

import jax
import numpy as np

from genjax.nn.text_conditioning import ReadStates, TextStates

MASK = np.array([[True, True, False], [False, False, False]])


def normalised(x, params):
    x = (x - x.mean(-1, keepdims=True)) / np.sqrt(x.var(-1, keepdims=True) + 1e-5)
    return x * params["scale"] + params["bias"]


def dense(x, params):
    return x @ params["kernel"] + params["bias"]


def test_the_vector_is_of_a_pool_of_each_head_over_nothing_and_the_tokens_that_are_seen():
    draw = np.random.default_rng(0)
    states = draw.normal(size=(2, 3, 5)).astype(np.float32)
    module = ReadStates(width=4, vector_dim=6, num_heads=2)
    shapes = jax.eval_shape(module.init, jax.random.key(0), TextStates(states, MASK))["params"]
    params = jax.tree.map(lambda leaf: draw.normal(size=leaf.shape).astype(np.float32), shapes)
    told = jax.jit(module.apply)({"params": params}, TextStates(states, MASK))
    x = normalised(states, params["norm_states"])
    np.testing.assert_allclose(told.states, dense(x, params["context_proj"]), rtol=1e-4, atol=1e-4)
    np.testing.assert_array_equal(told.mask, MASK)
    pooled = np.zeros((2, 4))
    for example in range(2):
        rows = np.concatenate([params["nothing"][None], x[example][MASK[example]]])
        k, v = np.split(dense(rows, params["pool_kv"]), 2, axis=-1)
        for head in (slice(0, 2), slice(2, 4)):
            share = np.exp(k[:, head] @ params["query"][head] / np.sqrt(2))
            pooled[example, head] = share @ v[:, head] / share.sum()
    hidden = dense(normalised(pooled, params["norm_pooled"]), params["vector_in"])
    expected = dense(hidden / (1 + np.exp(-hidden)), params["vector_out"])
    np.testing.assert_allclose(told.vector, expected, rtol=1e-3, atol=1e-3)
