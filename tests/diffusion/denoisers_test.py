"""Denoisers: networks under a parameterization, and the closed forms against numerical integration."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from genjax.diffusion import denoisers, parameterization, schedules

KEY = jax.random.key(0)


def test_the_network_is_called_once_with_scaled_input_and_time():
    seen = []

    def net(x, c_noise):
        seen.append((x, c_noise))
        return jnp.zeros_like(x)

    level = schedules.edm()(2.0)
    x_t = jnp.ones((3, 4, 4, 1))
    denoisers.make_denoiser(net, parameterization.edm(0.5))(x_t, level, KEY)
    assert len(seen) == 1
    np.testing.assert_allclose(seen[0][0], 1 / np.sqrt(4.25), rtol=1e-6)
    np.testing.assert_allclose(seen[0][1], np.full(3, np.log(2.0) / 4), rtol=1e-6)


def test_learned_variance_is_split_from_the_channels_and_left_raw():
    """The first half of the channels predicts; (v + 1) / 2 of the second is the fraction, not clipped."""
    level = schedules.cosine()(300.0)
    x_t = jax.random.normal(KEY, (2, 4, 4, 3))

    def net(x, c_noise):
        return jnp.concatenate([0.1 * x, jnp.full_like(x, 3.0)], axis=-1)

    found = denoisers.make_denoiser(net, parameterization.eps(), learned_variance=True)(x_t, level, KEY)
    plain = denoisers.make_denoiser(lambda x, c: 0.1 * x, parameterization.eps())(x_t, level, KEY)
    np.testing.assert_array_equal(found.x0, plain.x0)
    np.testing.assert_array_equal(found.eps, plain.eps)
    np.testing.assert_array_equal(found.var_frac, 2.0)
    assert plain.var_frac is None and plain.mean_grad is None


def test_an_eps_network_keeps_its_eps_at_small_sigma():
    level = schedules.continuous_cosine()(0.0)
    eps = jax.random.normal(KEY, (2, 5))
    found = denoisers.make_denoiser(lambda x, c: eps, parameterization.eps())(jnp.ones((2, 5)), level, KEY)
    np.testing.assert_allclose(found.eps, eps, atol=1e-6)


def test_bfloat16_networks_give_predictions_of_the_datas_dtype():
    net = lambda x, c: x.astype(jnp.bfloat16)  # noqa: E731
    found = denoisers.make_denoiser(net, parameterization.v())(jnp.ones((2, 5)), schedules.cosine()(10.0), KEY)
    assert found.x0.dtype == jnp.float32 and found.eps.dtype == jnp.float32


@pytest.mark.parametrize("learned", [False, True])
def test_wrong_channels_raise(learned):
    channels = 3 if learned else 6
    denoise = denoisers.make_denoiser(lambda x, c: jnp.zeros((2, 4, channels)), parameterization.eps(), learned)
    with pytest.raises(ValueError, match="learned_variance"):
        denoise(jnp.zeros((2, 4, 3)), schedules.cosine()(10.0), KEY)


def posterior_mean_by_integration(x_t, level, weights, means, variances):
    """E[x0 | x_t] on a fine line."""
    x0 = np.linspace(-8, 8, 20001)
    prior = sum(
        w / np.sqrt(2 * np.pi * v) * np.exp(-((x0 - m) ** 2) / (2 * v)) for w, m, v in zip(weights, means, variances)
    )
    likelihood = np.exp(-((x_t - float(level.alpha) * x0) ** 2) / (2 * float(level.sigma) ** 2))
    return (x0 * prior * likelihood).sum() / (prior * likelihood).sum()


@pytest.mark.parametrize("t", [100.0, 500.0, 900.0])
def test_closed_forms(t):
    with jax.enable_x64(True):
        level = schedules.cosine()(t)
        x = jnp.array([[-1.3], [0.2], [1.1]])
        one = denoisers.gaussian(0.4, 0.3)(x, level, KEY)
        mixed = denoisers.gaussian_mixture(jnp.array([0.3, 0.7]), jnp.array([[-1.0], [0.6]]), jnp.array([0.04, 0.1]))(
            x, level, KEY
        )
        for i in range(3):
            wanted = posterior_mean_by_integration(float(x[i, 0]), level, [1.0], [0.4], [0.3])
            np.testing.assert_allclose(one.x0[i, 0], wanted, atol=1e-6)
            wanted = posterior_mean_by_integration(float(x[i, 0]), level, [0.3, 0.7], [-1.0, 0.6], [0.04, 0.1])
            np.testing.assert_allclose(mixed.x0[i, 0], wanted, atol=1e-6)
        for found in (one, mixed):
            np.testing.assert_allclose(level.alpha * found.x0 + level.sigma * found.eps, x, atol=1e-12)


def test_mixture_of_images_and_levels_an_example():
    means = jax.random.normal(KEY, (3, 4, 4, 2))
    denoise = denoisers.gaussian_mixture(jnp.full(3, 1 / 3), means, jnp.full(3, 1e-4))
    level = schedules.cosine()(jnp.array([5.0, 300.0]))
    alpha, sigma = level.expand(means[:2])
    found = denoise(alpha * means[:2] + sigma * jax.random.normal(KEY, (2, 4, 4, 2)), level, KEY)
    np.testing.assert_allclose(found.x0, means[:2], atol=0.05)
