"""Transformers: causality at every position, the cache, masks, and that labels and context matter."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from genjax.autoregressive import masking
from genjax.nn.transformer import Block, CodeTransformer, Transformer
from tests.nn import code_network_cases as cases


def network(**changes):
    fields = {"num_codes": 7, "grid": (3, 4), "num_classes": 3, "width": 16, "depth": 2, "num_heads": 4}
    return CodeTransformer(**{**fields, **changes})


@pytest.fixture(scope="module")
def inputs():
    return cases.conditions(network(), 3)


@pytest.fixture(scope="module")
def params(inputs):
    return cases.random_params(network(), inputs)


def test_logits_depend_on_all_codes_before_and_no_others(params, inputs):
    first = jax.tree.map(lambda x: x[:1], inputs)
    np.testing.assert_array_equal(cases.dependence(network(), params, first), np.tril(np.ones((12, 12), bool), -1))


def test_steps_are_the_whole_pass(params, inputs):
    whole = jax.jit(network().apply)({"params": params}, *inputs)
    np.testing.assert_allclose(cases.teacher_forced(network(), params, inputs), whole, atol=2e-5)


def test_cached_sampling_is_naive_sampling(params, inputs):
    cached, naive = (cases.drawn(network(), params, inputs, cached, 3) for cached in (True, False))
    np.testing.assert_array_equal(cached, naive)
    assert len(np.unique(cached)) > 3


def test_label_and_context_matter(params, inputs):
    codes, label, context = inputs
    apply = jax.jit(lambda *inputs: network().apply({"params": params}, *inputs))
    logits = apply(*inputs)
    assert jnp.abs(apply(codes, (label + 1) % 3, context) - logits).max(axis=-1).min() > 1e-3
    changed = apply(codes, label, context.at[:, 1, 2].add(1.0)) - logits
    seen = np.abs(changed).max(axis=(0, 3)).reshape(-1) > 1e-6
    np.testing.assert_array_equal(seen, np.arange(12) >= 6)
    assert jnp.isnan(apply(codes, jnp.full(3, 3), context)).all(), "a label that there isn't"


@pytest.fixture(scope="module")
def trunk():
    """(transformer, its variables, a sequence, its features under a causal mask)."""
    trunk = Transformer(depth=2, width=16, num_heads=2, activation="quick_gelu")
    x = jax.random.normal(jax.random.key(0), (2, 9, 16))
    variables = jax.jit(trunk.init)(jax.random.key(1, impl="rbg"), x)  # compiles several times as fast
    return trunk, variables, x, jax.jit(trunk.apply)(variables, x, masking.causal(9))


def test_what_is_added_starts_smaller_the_more_blocks_there_are(trunk):
    """.02 of all kernels, and .02 / sqrt(2 depth) of the two that are added in each of two blocks."""
    for block in (trunk[1]["params"][f"block_{i}"] for i in range(2)):
        found = [block[name]["kernel"].std() for name in ("qkv", "mlp_in", "proj_out", "mlp_out")]
        np.testing.assert_allclose(found, [0.02, 0.02, 0.01, 0.01], rtol=0.2)


def test_a_prefix_may_be_taken_in_at_once(trunk):
    trunk, variables, x, whole = trunk

    @jax.jit
    def in_parts(variables):
        cache, parts = trunk.apply(variables, 2, 12, method="init_cache"), []
        for start, stop in ((0, 5), (5, 6), (6, 9)):
            y, cache = trunk.apply(variables, x[:, start:stop], cache, start, method="extend")
            parts.append(y)
        return jnp.concatenate(parts, axis=1)

    np.testing.assert_allclose(in_parts(variables), whole, atol=1e-5)


def test_an_encoder_sees_what_its_mask_lets_it(trunk):
    trunk, variables, x, _ = trunk
    apply = jax.jit(trunk.apply)
    padded = apply(variables, x, masking.padding(jnp.array([4, 9]), 9)[:, None, None])
    np.testing.assert_allclose(padded[:1, :4], apply(variables, x[:1, :4]), atol=1e-5)
    np.testing.assert_allclose(padded[1:], apply(variables, x[1:]), atol=1e-5)


@pytest.mark.slow
def test_recomputing_changes_no_gradient(params, inputs):
    def loss(params, remat):
        settings = {"train": True, "rngs": {"dropout": jax.random.key(2)}}
        logits = network(dropout=0.3, remat=remat).apply({"params": params}, *inputs, **settings)
        return jnp.mean(jnp.square(logits))

    gradients = [jax.jit(jax.grad(loss), static_argnums=1)(params, remat) for remat in (False, True)]
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, atol=1e-6), *gradients)


def test_recomputing_is_requested_in_training(params, inputs):
    cases.expect_recomputing(network, params, inputs)


def test_computes_in_the_dtype_requested(params, inputs):
    half = network(dtype="bfloat16")
    logits = jax.jit(half.apply)({"params": params}, *inputs)
    assert logits.dtype == jnp.float32
    np.testing.assert_allclose(logits, jax.jit(network().apply)({"params": params}, *inputs), atol=0.15)
    np.testing.assert_allclose(cases.teacher_forced(half, params, inputs), logits, atol=0.1)


def test_parameter_count_of_gpt2():
    trunk = Transformer(depth=12, width=768, num_heads=12, activation="gelu_tanh")
    shapes = jax.eval_shape(trunk.init, jax.random.key(0), jnp.zeros((1, 4, 768)))
    total = sum(leaf.size for leaf in jax.tree.leaves(shapes))
    assert total == 124_439_808 - 50_257 * 768 - 1024 * 768


@pytest.mark.parametrize(
    ("fields", "words"), [({"num_heads": 3}, "num_heads=3"), ({"num_heads": 2, "activation": "tanh"}, "'tanh'")]
)
def test_refuses(fields, words):
    with pytest.raises(ValueError, match=words):
        jax.eval_shape(Block(width=16, **fields).init, jax.random.key(0), jnp.zeros((1, 2, 16)))
