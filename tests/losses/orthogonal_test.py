"""Orthogonal regularisation: zero for orthogonal filters of any length, and the paper's equation elsewhere."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from genjax.losses.orthogonal import off_diagonal, orthogonal

NOISE = np.random.default_rng(0)
WEIGHT = jnp.asarray(NOISE.standard_normal((3, 3, 4, 6), np.float32))


def test_orthogonal_filters_of_any_length_cost_nothing():
    filters = jax.nn.initializers.orthogonal()(jax.random.key(0), (3, 3, 4, 6)) * jnp.arange(1.0, 7.0)
    assert float(off_diagonal(filters)) == pytest.approx(0.0, abs=1e-8)
    gradient = jax.grad(off_diagonal)(filters)
    np.testing.assert_allclose(gradient, 0.0, atol=1e-4)
    assert float(off_diagonal(filters.at[0, 0, 0, 1].add(1.0))) > 0.1


def test_it_is_the_papers_equation():
    w = np.asarray(WEIGHT, np.float64).reshape(36, 6)
    masked = (w.T @ w) * (1 - np.eye(6))
    assert float(off_diagonal(WEIGHT)) == pytest.approx(np.linalg.norm(masked) ** 2, rel=1e-5)
    gradient = jax.grad(off_diagonal)(WEIGHT).reshape(36, 6)
    np.testing.assert_allclose(gradient, 4 * w @ masked, rtol=1e-4, atol=1e-3)


def test_sum_over_a_tree_leaves_out_vectors_and_the_excluded():
    params = {"a": {"kernel": WEIGHT, "bias": jnp.ones(6)}, "shared": {"embedding": 9 * jnp.ones((4, 4))}}
    assert float(orthogonal(params, "^shared/")) == pytest.approx(float(off_diagonal(WEIGHT)))
    assert float(orthogonal(params)) > float(orthogonal(params, "^shared/"))
