"""PixelSNAIL: all codes before a position and no others, and the same step by step."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from genjax.core.tree import param_paths
from genjax.nn import pixelsnail
from genjax.nn.pixelsnail import PixelSNAIL
from tests.nn import code_network_cases as cases


def network(**changes):
    fields = {"num_codes": 6, "grid": (4, 5), "num_classes": 3, "width": 8, "num_blocks": 2, "num_res_blocks": 1}
    return PixelSNAIL(**{**fields, "num_heads": 2, "key_dim": 3, "dropout": 0.3, **changes})


@pytest.fixture(scope="module")
def inputs():
    return cases.conditions(network(), 3)


@pytest.fixture(scope="module")
def params(inputs):
    return cases.random_params(network(), inputs)


def test_it_sees_all_codes_before_and_no_others(params, inputs):
    seen = cases.dependence(network(), params, jax.tree.map(lambda x: x[:1], inputs))
    np.testing.assert_array_equal(seen, np.tril(np.ones((20, 20), bool), -1))


def test_steps_are_the_whole_pass(params, inputs):
    whole = jax.jit(network().apply)({"params": params}, *inputs)
    np.testing.assert_allclose(cases.teacher_forced(network(), params, inputs), whole, atol=2e-5)


@pytest.mark.slow
def test_cached_sampling_is_naive_sampling(params, inputs):
    cached, naive = (cases.drawn(network(), params, inputs, cached, 3) for cached in (True, False))
    np.testing.assert_array_equal(cached, naive)
    assert len(np.unique(cached)) > 3


def test_steps_without_conditions_in_one_column():
    net = network(num_classes=0, grid=(5, 1), num_blocks=1, num_heads=1)
    inputs = cases.conditions(net, 2, context_channels=0)
    params = cases.random_params(net, inputs)
    whole = jax.jit(net.apply)({"params": params}, *inputs)
    np.testing.assert_allclose(cases.teacher_forced(net, params, inputs), whole, atol=2e-5)


def test_attention_equals_its_formula():
    """In float64 by loops: a softmax over those before, zero at the first."""
    rng = np.random.default_rng(0)
    q, k, v = (rng.normal(size=(2, 6, 2, d)) for d in (3, 3, 4))
    expected = np.zeros(v.shape)
    for b, i, head in np.ndindex(2, 6, 2):
        if i:
            weights = np.exp(k[b, :i, head] @ q[b, i, head] / 3**0.5)
            expected[b, i, head] = weights @ v[b, :i, head] / weights.sum()
    q, k, v = (jnp.asarray(x, jnp.float32) for x in (q, k, v))
    output = pixelsnail.attend_before(q, k, v, jnp.tril(jnp.ones((6, 6), bool), -1))
    np.testing.assert_allclose(output, expected, atol=1e-6)


@pytest.mark.slow
def test_recomputing_changes_nothing(params, inputs):
    base, again = (jax.jit(network(remat=remat).apply)({"params": params}, *inputs) for remat in (False, True))
    np.testing.assert_allclose(again, base, atol=1e-5)


def test_recomputing_is_requested_in_training(params, inputs):
    cases.expect_recomputing(network, params, inputs)


def test_conditions_and_dropout(params, inputs):
    codes, label, context = inputs
    apply = jax.jit(network().apply, static_argnames="train")
    base = apply({"params": params}, codes, label, context)
    assert jnp.abs(apply({"params": params}, codes, (label + 1) % 3, context) - base).max() > 1e-3
    moved = jnp.abs(apply({"params": params}, codes, label, context.at[:, -1, -1].add(1.0)) - base)
    assert moved[:, -1, -1].max() > 1e-3, "the context of a position"
    rngs = {"dropout": jax.random.key(1)}
    assert jnp.abs(apply({"params": params}, codes, label, context, train=True, rngs=rngs) - base).max() > 1e-3


def test_class_and_context_are_added_in_every_gated_residual(params):
    """One with a kernel, and of attention the one of keys and values, the one of queries and the one that merges."""
    found = sorted(path for path in param_paths(params) if path.endswith("condition/kernel"))
    places = ("0", "attention/content", "attention/requested", "merge")
    assert found == [f"trunk/block_{block}_{place}/condition/kernel" for block in (0, 1) for place in places]


def test_heads_that_do_not_divide_are_refused(inputs):
    with pytest.raises(ValueError, match="4 features of values can't be cut into num_heads=3"):
        jax.eval_shape(network(num_heads=3).init, jax.random.key(0), *inputs)
