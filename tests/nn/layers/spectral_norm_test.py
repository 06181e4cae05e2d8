"""Spectral norms: the power method finds the largest singular value, and the layers keep their vectors."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from genjax.nn.layers.spectral_norm import SpectralConv3x3, SpectralDense, SpectralEmbed, power_step

X = jax.random.normal(jax.random.key(1), (2, 6, 4, 5))
LABEL = jnp.array([2, 0])
LAYERS = {
    "dense": (SpectralDense(7), X),
    "conv": (SpectralConv3x3(7), X),
    "embed": (SpectralEmbed(5, num_classes=3), LABEL),
}


def matrix(kernel):
    return np.asarray(kernel).reshape(-1, kernel.shape[-1])


@pytest.mark.parametrize("kind", LAYERS)
def test_norm_of_the_weight_converges_to_one(kind):
    layer, x = LAYERS[kind]
    variables = layer.init(jax.random.key(0), x, True)
    noise = np.random.default_rng(0)
    variables["params"] = jax.tree.map(
        lambda leaf: jnp.asarray(3.0 * noise.standard_normal(leaf.shape, np.float32)), variables["params"]
    )
    (weight,) = [leaf for leaf in jax.tree.leaves(variables["params"]) if leaf.ndim > 1]
    largest = np.linalg.norm(matrix(weight), 2)
    step = jax.jit(lambda variables: layer.apply(variables, x, True, mutable="spectral")[1])
    before = float(variables["spectral"]["sigma"])
    for _ in range(200):
        variables |= step(variables)
    assert before == 1.0
    assert float(variables["spectral"]["sigma"]) == pytest.approx(largest, rel=1e-4)
    np.testing.assert_allclose(jnp.linalg.norm(variables["spectral"]["u"]), 1.0, rtol=1e-5)
    if kind == "dense":
        y = layer.apply(variables, x, False)
        expected = x @ (matrix(weight) / largest) + variables["params"]["bias"]
        np.testing.assert_allclose(y, expected, rtol=1e-3, atol=1e-4)


def test_a_step_never_lowers_the_estimate_and_ends_at_the_singular_pair():
    w = jnp.asarray(np.random.default_rng(1).standard_normal((9, 4), np.float32))
    u, last = jnp.ones(4), 0.0
    for _ in range(100):
        u, sigma = power_step(w, u, 1e-12)
        assert sigma >= last - 1e-5
        last = float(sigma)
    _, values, right = np.linalg.svd(np.asarray(w))
    assert last == pytest.approx(values[0], rel=1e-5)
    assert abs(float(u @ right[0])) == pytest.approx(1.0, abs=1e-5)


def test_gradient_has_no_part_along_the_singular_pair():
    """W / sigma(W) doesn't change with the length of W; of sigma, the gradient is v u^T."""
    w = jnp.asarray(np.random.default_rng(2).standard_normal((6, 3), np.float32))
    u = jnp.asarray(np.linalg.svd(np.asarray(w))[2][0])
    np.testing.assert_allclose(
        jax.grad(lambda w: power_step(w, u, 1e-12)[1])(w),
        np.outer(np.linalg.svd(np.asarray(w))[0][:, 0], u),
        atol=1e-5,
    )
    probe = jnp.asarray(np.random.default_rng(3).standard_normal((6, 3), np.float32))
    gradient = jax.grad(lambda w: jnp.sum(probe * w / power_step(w, u, 1e-12)[1]))(w)
    assert abs(float(jnp.sum(gradient * w))) < 1e-4 < float(jnp.abs(gradient).max())


def test_gradient_takes_both_vectors_as_constants_before_they_have_converged():
    """After one step from anywhere: sigma = v^T W u, and by W it is v u^T and nothing through v and u."""
    w, start = np.random.default_rng(2).standard_normal((6, 3)), np.random.default_rng(3).standard_normal(3)
    v = w @ start / np.linalg.norm(w @ start)
    u = w.T @ v / np.linalg.norm(w.T @ v)
    wide = jnp.asarray(w, jnp.float32), jnp.asarray(start, jnp.float32)
    (found, sigma), gradient = power_step(*wide, 1e-12), jax.grad(lambda w: power_step(w, wide[1], 1e-12)[1])(wide[0])
    np.testing.assert_allclose(found, u, rtol=1e-4, atol=1e-6)
    np.testing.assert_allclose(sigma, v @ w @ u, rtol=1e-5)
    np.testing.assert_allclose(gradient, np.outer(v, u), rtol=1e-4, atol=1e-5)
    assert np.abs(w @ start / np.linalg.norm(w @ start) - np.linalg.svd(w)[0][:, 0]).max() > 0.1


@pytest.mark.parametrize("kind", LAYERS)
def test_only_training_renews_the_vectors(kind):
    layer, x = LAYERS[kind]
    variables = layer.init(jax.random.key(0), x, True)
    np.testing.assert_array_equal(variables["spectral"]["u"], 1.0, "init makes no step")
    y, kept = layer.apply(variables, x, False, mutable="spectral")
    np.testing.assert_array_equal(kept["spectral"]["u"], 1.0)
    other, moved = layer.apply(variables, x, True, mutable="spectral")
    assert float(jnp.abs(moved["spectral"]["u"] - 1.0).max()) > 0.1
    np.testing.assert_array_equal(y, other, "both normalise by the step from the stored vector")
    np.testing.assert_array_equal(layer.apply(variables, x, True), other, "training without a place to store")


def test_zeros_stay_zeros_and_strange_labels_show():
    layer, x = LAYERS["dense"]
    variables = jax.tree.map(jnp.zeros_like, layer.init(jax.random.key(0), x, True))
    np.testing.assert_array_equal(layer.apply(variables, x, True), 0.0)
    embed, _ = LAYERS["embed"]
    variables = embed.init(jax.random.key(0), LABEL, True)
    assert jnp.isnan(embed.apply(variables, jnp.array([3]), False)).all()
