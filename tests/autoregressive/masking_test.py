"""Filters of logits against plain sorting in numpy, their neutral values, and the masks."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from genjax.autoregressive import masking

LOGITS = jnp.asarray(np.random.default_rng(0).normal(0, 2, (5, 11)), jnp.float32)


def kept(logits):
    return np.isfinite(np.asarray(logits))


@pytest.mark.parametrize("top_k", [1, 3, 10, 11, 40])
def test_top_k_keeps_the_k_largest(top_k):
    filtered = masking.keep_top_k(LOGITS, top_k)
    threshold = np.sort(LOGITS, axis=-1)[:, -min(top_k, 11)][:, None]
    np.testing.assert_array_equal(kept(filtered), LOGITS >= threshold)
    np.testing.assert_array_equal(np.where(kept(filtered), filtered, LOGITS), LOGITS)


def test_top_k_breaks_ties_by_the_lower_token():
    np.testing.assert_array_equal(kept(masking.keep_top_k(jnp.zeros((1, 4)), 2)), [[True, True, False, False]])


@pytest.mark.parametrize("top_p", [0.0, 1e-6, 0.3, 0.5, 0.9, 0.999])
def test_top_p_is_the_least_set_of_that_mass(top_p):
    chances = np.exp(np.asarray(LOGITS, np.float64))
    chances /= chances.sum(-1, keepdims=True)
    for row, keep in zip(chances, kept(masking.keep_top_p(LOGITS, top_p)), strict=True):
        order = np.argsort(-row)
        count = 1 + np.flatnonzero(np.cumsum(row[order]) >= top_p)[0]
        assert set(np.flatnonzero(keep)) == set(order[:count])


def test_neutral_values_change_nothing():
    np.testing.assert_array_equal(masking.keep_top_k(LOGITS, 0), LOGITS)
    np.testing.assert_array_equal(masking.keep_top_p(LOGITS, 1.0), LOGITS)
    np.testing.assert_allclose(jax.nn.softmax(masking.temper(LOGITS, 1.0)), jax.nn.softmax(LOGITS), rtol=1e-6)
    np.testing.assert_array_equal(masking.filter_logits(LOGITS), LOGITS)


def test_temperature_divides_and_zero_is_greedy():
    cold = jax.nn.softmax(masking.temper(LOGITS, 0.25))
    np.testing.assert_allclose(cold, jax.nn.softmax(4 * LOGITS), rtol=1e-5)
    greedy = jax.nn.softmax(masking.temper(LOGITS, 0.0))
    np.testing.assert_array_equal(greedy, np.eye(11)[LOGITS.argmax(-1)])


@pytest.mark.parametrize("temperature", [0, 0.0, jnp.float32(0)])
def test_at_temperature_zero_the_lower_of_equals_is_drawn(temperature):
    logits = jnp.array([[1.0, 3.0, 3.0, 3.0], [2.0, 2.0, -jnp.inf, 2.0], [3.0, 3.0 - 1e-7, 0.0, 0.0]])
    greedy = masking.filter_logits(logits, temperature, 2, 0.9)
    np.testing.assert_array_equal(jax.nn.softmax(greedy), [[0, 1, 0, 0], [1, 0, 0, 0], [1, 0, 0, 0]])


def test_nucleus_is_of_the_tempered_and_cut_distribution():
    logits = jnp.log(jnp.array([0.4, 0.3, 0.2, 0.1]))
    # The two most likely have 4/7 and 3/7 of what is left: the first alone reaches a half.
    np.testing.assert_array_equal(kept(masking.filter_logits(logits, None, 2, 0.5)), [True, False, False, False])
    np.testing.assert_array_equal(kept(masking.filter_logits(logits, None, None, 0.5)), [True, True, False, False])
    np.testing.assert_array_equal(kept(masking.filter_logits(logits, 0.5, None, 0.5)), [True, False, False, False])


def test_arguments_are_traced():
    count = 0

    def function(logits, *settings):
        nonlocal count
        count += 1
        return masking.filter_logits(logits, *settings)

    jitted = jax.jit(function)
    for top_k in (1.0, 4.0, 0.0):
        for top_p in (0.2, 1.0):
            result = jitted(LOGITS, 0.7, top_k, top_p)
            np.testing.assert_array_equal(kept(result), kept(masking.filter_logits(LOGITS, 0.7, top_k, top_p)))
    assert count == 1


def test_masks():
    np.testing.assert_array_equal(masking.causal(3), np.tril(np.ones((3, 3))))
    np.testing.assert_array_equal(masking.causal(3, strict=True), np.tril(np.ones((3, 3)), -1))
    np.testing.assert_array_equal(masking.padding(jnp.array([0, 2]), 3), [[0, 0, 0], [1, 1, 0]])
