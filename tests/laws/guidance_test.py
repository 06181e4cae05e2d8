"""Guidance with a known answer.

A linear-Gaussian observation y = a x0 + N(0, r) of data N(m, v) has the posterior

    variance 1 / (1 / v + a^2 / r), mean (m / v + a y / r) * variance

and log p(y | x_t) = log N(y; a E[x0 | x_t], a^2 Var[x0 | x_t] + r) exactly: guided by it, samplers must draw
the posterior. Two classes N(m0, v), N(m1, v) under classifier-free guidance of scale s make N(m0 + s (m1 -
m0), v) at every level.
"""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from genjax.diffusion import denoisers, grids, guidance, samplers
from genjax.diffusion.sample import sample
from genjax.diffusion.schedules import NoiseLevel
from tests.laws.oracles import MEAN, SCHEDULES, VARIANCE, gaussian, normal_points

A, R, Y = 0.8, 0.15, -0.5
POSTERIOR_VARIANCE = 1 / (1 / VARIANCE + A**2 / R)
POSTERIOR_MEAN = (MEAN / VARIANCE + A * Y / R) * POSTERIOR_VARIANCE


def left(level: NoiseLevel):
    """Var[x0 | x_t]."""
    return 1 / (1 / VARIANCE + level.snr)


def log_prob(x_t, level):
    """log p(y | x_t) for x_t [b, 1]."""
    x0 = gaussian()(x_t, level, jax.random.key(0)).x0[:, 0]
    spread = A**2 * left(level) + R
    return -0.5 * ((Y - A * x0) ** 2 / spread + jnp.log(2 * jnp.pi * spread))


def energy(x0, x_t, level, key):
    """-log p(y | x_t), but for its constant, from the denoised estimate."""
    return 0.5 * (Y - A * x0[:, 0]) ** 2 / (A**2 * left(level) + R)


def posterior_start(level, n):
    """x_T [n, 1] of the posterior's marginal."""
    spread = jnp.sqrt(level.alpha**2 * POSTERIOR_VARIANCE + level.sigma**2)
    return (level.alpha * POSTERIOR_MEAN + spread * jnp.asarray(normal_points(n)))[:, None]


@functools.partial(jax.jit, static_argnames=("mode", "sampler", "settings", "n"))
def guided(mode, sampler, settings, n, levels):
    """Samples [n, 1] that start at the posterior's marginal; compiled once for all schedules."""
    denoise = guidance.classifier(log_prob, mode=mode)(gaussian())
    start = posterior_start(levels.at(0), n)
    return sample(denoise, samplers.make(sampler, **dict(settings)), levels, start, jax.random.key(0))


@pytest.mark.parametrize("name", ["cosine", "linear_beta", "edm", "variance_exploding"])
@pytest.mark.parametrize(
    "sampler, num_steps, tolerance", [("ddim", 600, 0.01), ("heun", 100, 0.003), ("dpmpp_2m", 200, 0.01)]
)
def test_score_guidance_draws_the_posterior(sampler, num_steps, tolerance, name):
    x = guided("score", sampler, (), 100, grids.make(SCHEDULES[name](), num_steps))
    np.testing.assert_allclose(x.mean(), POSTERIOR_MEAN, atol=tolerance)
    np.testing.assert_allclose(x.std(), POSTERIOR_VARIANCE**0.5, atol=tolerance)


@pytest.mark.parametrize(
    ("variance", "name"),
    [
        ("fixed_large", "linear_beta"),
        ("fixed_small", "edm"),
        pytest.param("fixed_small", "cosine", marks=pytest.mark.slow),
        pytest.param("fixed_large", "cosine", marks=pytest.mark.slow),
        pytest.param("fixed_small", "linear_beta", marks=pytest.mark.slow),
        pytest.param("fixed_large", "edm", marks=pytest.mark.slow),
    ],
)
def test_mean_guidance_draws_the_posterior(variance, name):
    settings = (("variance", variance),)
    x = guided("mean", "ancestral", settings, 10000, grids.make(SCHEDULES[name](), 800))
    np.testing.assert_allclose(x.mean(), POSTERIOR_MEAN, atol=0.02)
    np.testing.assert_allclose(x.std(), POSTERIOR_VARIANCE**0.5, atol=0.02)


@pytest.mark.parametrize("mode", ["mean", "score"])
def test_energy_of_the_estimate_is_the_classifier(mode):
    level = SCHEDULES["cosine"]()(400.0)
    x = jnp.linspace(-2, 2, 9)[:, None]
    by_energy = guidance.energy(energy, scale=1.7, mode=mode)(gaussian())(x, level, jax.random.key(0))
    by_class = guidance.classifier(log_prob, scale=1.7, mode=mode)(gaussian())(x, level, jax.random.key(0))
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, atol=1e-10), by_energy, by_class)


def paired(mean_cond, mean_uncond):
    """The denoiser of 2b examples, N(mean_cond, v) in the first half and N(mean_uncond, v) in the second."""

    def denoise(x_t, level, key):
        half = x_t.shape[0] // 2
        means = jnp.where(jnp.arange(2 * half) < half, mean_cond, mean_uncond)[:, None]
        return denoisers.gaussian(means, VARIANCE)(x_t, level, key)

    return denoise


@pytest.mark.parametrize("scale", [0.0, 1.0, 3.0])
def test_classifier_free_shifts_the_mean(scale):
    levels = grids.make(SCHEDULES["cosine"](), 100)
    denoise = guidance.classifier_free(scale)(paired(0.5, 0.2))
    mean = 0.2 + scale * 0.3
    first = levels.at(0)
    x = first.alpha * mean + jnp.sqrt(first.alpha**2 * VARIANCE + first.sigma**2) * normal_points(200)[:, None]
    x0 = sample(denoise, samplers.heun(), levels, x, jax.random.key(0))
    np.testing.assert_allclose(x0.mean(), mean, atol=0.003)
    np.testing.assert_allclose(x0.std(), VARIANCE**0.5, atol=0.003)


@pytest.mark.parametrize(
    "sampler",
    ["ancestral", *(pytest.param(name, marks=pytest.mark.slow) for name in ("ddim", "heun", "dpmpp_2m", "dpmpp_sde"))],
)
def test_scale_one_is_the_conditional_model(sampler):
    """Bit for bit in the prediction, and so in samples up to how the compiler fuses."""
    levels = grids.make(SCHEDULES["cosine"](), 12)
    x, made = jax.random.normal(jax.random.key(0), (9, 1)), samplers.make(sampler)
    guided = sample(guidance.classifier_free(1.0)(paired(0.5, -4.0)), made, levels, x, jax.random.key(1))
    alone = sample(denoisers.gaussian(0.5, VARIANCE), made, levels, x, jax.random.key(1))
    np.testing.assert_allclose(guided, alone, rtol=1e-12)
    level = levels.at(6)
    one = guidance.classifier_free(1.0)(paired(0.5, -4.0))(x, level, jax.random.key(1))
    jax.tree.map(np.testing.assert_array_equal, one, denoisers.gaussian(0.5, VARIANCE)(x, level, jax.random.key(1)))


@pytest.mark.parametrize("mode", ["mean", "score"])
def test_gradient_scale_zero_is_the_identity(mode):
    level = SCHEDULES["cosine"]()(400.0)
    x = jnp.linspace(-2, 2, 9)[:, None]
    plain = gaussian()(x, level, jax.random.key(0))
    guided = guidance.classifier(log_prob, scale=0.0, mode=mode)(gaussian())(x, level, jax.random.key(0))
    np.testing.assert_allclose(guided.x0, plain.x0, atol=1e-12)
    np.testing.assert_allclose(guided.eps, plain.eps, atol=1e-12)
