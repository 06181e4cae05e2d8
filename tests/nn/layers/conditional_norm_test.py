"""Batch norms: what they normalise by, running and standing statistics, and the condition's part."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from genjax.nn.layers.conditional_norm import BatchNorm, ConditionalBatchNorm

NOISE = np.random.default_rng(0)
X = jnp.asarray(3.0 + 2.0 * NOISE.standard_normal((6, 4, 4, 5), np.float32))
CONDITION = jnp.asarray(NOISE.standard_normal((6, 3), np.float32))


def standardised(x):
    x = np.asarray(x, np.float64)
    return (x - x.mean((0, 1, 2))) / np.sqrt(x.var((0, 1, 2)) + 1e-5)


def test_training_normalises_by_the_batch():
    variables = BatchNorm().init(jax.random.key(0), X, True)
    np.testing.assert_allclose(BatchNorm().apply(variables, X, True), standardised(X), atol=1e-5)
    variables["params"] = {"scale": jnp.full(5, 2.0), "bias": jnp.arange(5.0)}
    y = BatchNorm().apply(variables, X, True)
    np.testing.assert_allclose(y, 2 * standardised(X) + np.arange(5), atol=2e-5)


def test_standing_statistics_are_plain_averages_and_running_ones_forget():
    norm = BatchNorm()
    fresh = norm.init(jax.random.key(0), X, True)
    batches = [X, X + 1.0, 3.0 * X]

    def passes(momentum):
        variables = fresh
        for index, x in enumerate(batches):
            variables = variables | norm.apply(variables, x, True, momentum(index), mutable="batch_stats")[1]
        return variables

    standing, running = passes(lambda index: 1.0 / (1.0 + index)), passes(lambda index: 0.1)
    means = np.stack([np.mean(np.asarray(x), (0, 1, 2), np.float64) for x in batches])
    variances = np.stack([np.var(np.asarray(x), (0, 1, 2), np.float64, ddof=1) for x in batches])
    np.testing.assert_allclose(standing["batch_stats"]["mean"], means.mean(0), rtol=1e-5)
    np.testing.assert_allclose(standing["batch_stats"]["var"], variances.mean(0), rtol=1e-5)
    weights = 0.1 * np.array([0.81, 0.9, 1.0])
    np.testing.assert_allclose(running["batch_stats"]["mean"], weights @ means, rtol=1e-5)
    np.testing.assert_allclose(running["batch_stats"]["var"], 0.9**3 + weights @ variances, rtol=1e-5)
    y = norm.apply(standing, X, False)
    expected = (np.asarray(X) - means.mean(0)) / np.sqrt(variances.mean(0) + 1e-5)
    np.testing.assert_allclose(y, expected, rtol=1e-4, atol=1e-5)


def test_out_of_training_examples_don_t_see_each_other():
    norm = ConditionalBatchNorm()
    variables = norm.init(jax.random.key(0), X, CONDITION, True)
    together, alone = norm.apply(variables, X, CONDITION, False), norm.apply(variables, X[:1], CONDITION[:1], False)
    np.testing.assert_allclose(together[:1], alone, rtol=1e-6)
    assert float(jnp.abs(norm.apply(variables, X[:1], CONDITION[:1], True) - alone).max()) > 0.1


@pytest.mark.parametrize("spectral", [True, False])
def test_gain_and_bias_are_linear_in_the_condition(spectral):
    norm = ConditionalBatchNorm(spectral=spectral)
    variables = norm.init(jax.random.key(0), X, CONDITION, True)
    assert ("spectral" in variables) == spectral
    for _ in range(100 if spectral else 0):
        variables |= norm.apply(variables, X, CONDITION, True, mutable="spectral")[1]
    tables = [np.asarray(variables["params"][f"dense_{name}"]["kernel"]) for name in ("gain", "bias")]
    gain, bias = (np.asarray(CONDITION) @ (w / np.linalg.norm(w, 2) if spectral else w) for w in tables)
    expected = (1 + gain)[:, None, None] * standardised(X) + bias[:, None, None]
    np.testing.assert_allclose(norm.apply(variables, X, CONDITION, True), expected, atol=1e-4)
