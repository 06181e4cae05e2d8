"""Likelihoods against closed forms, in bits a dimension.

A chain over Gaussian data with an exact denoiser is linear and Gaussian throughout: q and p are joint
Gaussians whose means and covariances follow from the numbers of the steps, and the bound E_q[log p(x_0..T) -
log q(x_1..T | x0)] is a matter of linear algebra. Data is narrow, so that the open outermost bins of 8-bit
decoding don't count, and the first beta wide, so that a bin is narrow in it.
"""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from genjax.diffusion import denoisers, grids, likelihood, process, schedules
from genjax.diffusion.loss import neighbours
from tests.laws.oracles import normal_points

DATA_MEAN, DATA_VARIANCE = 0.1, 0.04
BETAS = np.array([0.02, 0.05, 0.1, 0.2, 0.3, 0.5, 0.7, 0.9])
LOG_BINS = np.log2(127.5)


def chain_bound(betas, mean, variance, kind):
    """-E_q[log p - log q] in bits, by joint Gaussians over (x0, x1, ..., xT); independent of the code under
    test."""
    steps = len(betas)
    bars = np.cumprod(1 - betas)
    # q: x0 = mean + sqrt(v) n0, x_t = sqrt(1 - beta_t) x_{t-1} + sqrt(beta_t) n_t. Rows of `q` map noise to
    # x.
    q, q_mean = np.zeros((steps + 1, steps + 1)), np.zeros(steps + 1)
    q[0, 0], q_mean[0] = np.sqrt(variance), mean
    for t in range(1, steps + 1):
        q[t] = np.sqrt(1 - betas[t - 1]) * q[t - 1]
        q[t, t] = np.sqrt(betas[t - 1])
        q_mean[t] = np.sqrt(1 - betas[t - 1]) * q_mean[t - 1]
    q_cov = q @ q.T
    # -E_q[log q(x_1..T | x0)]: entropies of the steps.
    entropy_q = 0.5 * np.log(2 * np.pi * np.e * betas).sum()
    # E_q[log p]: the prior, then each reverse step, whose residual x_{t-1} - (a x_t + c) is Gaussian under q.
    total = -0.5 * (np.log(2 * np.pi) + q_cov[steps, steps] + q_mean[steps] ** 2)
    for t in range(steps, 0, -1):
        bar, before = bars[t - 1], bars[t - 2] if t > 1 else 1.0
        gain = np.sqrt(bar) * variance / (bar * variance + 1 - bar)
        of_x0, of_xt = (
            np.sqrt(before) * betas[t - 1] / (1 - bar),
            np.sqrt(1 - betas[t - 1]) * (1 - before) / (1 - bar),
        )
        slope, offset = of_xt + of_x0 * gain, of_x0 * (mean - gain * np.sqrt(bar) * mean)
        row = np.eye(steps + 1)[t - 1] - slope * np.eye(steps + 1)[t]
        square = row @ q_cov @ row + (row @ q_mean - offset) ** 2
        small = betas[t - 1] * (1 - before) / (1 - bar)
        floor = betas[1] * (1 - bars[0]) / (1 - bars[1])
        exact = small + of_x0**2 * variance * (1 - bar) / (bar * variance + 1 - bar)
        spread = {
            "fixed_small": small or floor,
            "fixed_large": betas[t - 1] if t > 1 else floor,
            "exact": exact,
        }[kind]
        total += -0.5 * (np.log(2 * np.pi * spread) + square / spread)
    return -(total + entropy_q) / np.log(2)


def with_exact_variance(schedule):
    """The exact denoiser with the true variance of each step in its learned range."""

    def denoise(x_t, level, key):
        cur, nxt, floor = neighbours(schedule, level.t)
        small = jnp.where(nxt.sigma == 0, floor, process.posterior_variance(cur, nxt))
        large = process.transition_variance(cur, nxt)
        left = 1 / (1 / DATA_VARIANCE + cur.snr)
        true = process.posterior_variance(cur, nxt)
        true += jnp.square(nxt.alpha * (1 - jnp.square(process.decay(cur, nxt)))) * left
        frac = jnp.log(true / small) / jnp.log(large / small)
        return denoisers.gaussian(DATA_MEAN, DATA_VARIANCE)(x_t, level, key)._replace(var_frac=jnp.full_like(x_t, frac))

    return denoise


def data(n):
    return (DATA_MEAN + DATA_VARIANCE**0.5 * jnp.asarray(normal_points(n)))[:, None]


@pytest.mark.parametrize("kind", ["fixed_small", "fixed_large", "exact"])
def test_terms_sum_to_the_bound_of_a_linear_gaussian_chain(kind):
    schedule = schedules.from_betas(BETAS)
    exact = kind == "exact"
    denoise = with_exact_variance(schedule) if exact else denoisers.gaussian(DATA_MEAN, DATA_VARIANCE)
    variance = "learned_range" if exact else kind
    found = jax.jit(lambda x0, key: likelihood.bits_per_dim(denoise, schedule, x0, key, variance))(
        data(200000), jax.random.key(0)
    )
    wanted = chain_bound(BETAS, DATA_MEAN, DATA_VARIANCE, kind) + LOG_BINS
    np.testing.assert_allclose(found.total.mean(), wanted, atol=0.01)
    np.testing.assert_allclose(found.total, found.prior + found.vb.sum(axis=1), rtol=1e-12)


def test_the_bound_is_tight_when_the_reverse_chain_is_exact():
    """With true variances and no signal left at the end, the bound is the entropy of the data."""
    schedule = schedules.from_betas(np.append(BETAS, 0.9999))
    denoise = with_exact_variance(schedule)
    found = jax.jit(lambda x0, key: likelihood.bits_per_dim(denoise, schedule, x0, key, "learned_range"))(
        data(200000), jax.random.key(0)
    )
    entropy = 0.5 * np.log2(2 * np.pi * np.e * DATA_VARIANCE)
    np.testing.assert_allclose(found.total.mean(), entropy + LOG_BINS, atol=0.01)


def gaussian_bits(x0, mean, variance):
    """-log2 density of independent Gaussians a dimension, and the bins of 8-bit data."""
    nats = 0.5 * ((x0 - mean) ** 2 / variance + jnp.log(2 * jnp.pi * variance))
    return nats.reshape(x0.shape[0], -1).mean(axis=1) / np.log(2) + LOG_BINS


@functools.partial(jax.jit, static_argnames="probes")
def flow_bits(mean, variance, levels, x0, probes):
    """Compiled once for all schedules."""
    return likelihood.ode_bits_per_dim(denoisers.gaussian(mean, variance), levels, x0, jax.random.key(2), probes)


@pytest.mark.parametrize("name", ["edm", "linear_beta", "continuous_cosine"])
@pytest.mark.parametrize("probes", [None, 3])
def test_flow_likelihood_of_gaussian_data(probes, name):
    """Within 1e-3 bits a dimension. The Jacobian is diagonal, so random signs give the trace exactly too."""
    schedule = {
        "edm": schedules.edm(1e-3, 1e3),
        "linear_beta": schedules.from_betas(np.geomspace(1e-6, 0.2, 1000)),
        "continuous_cosine": schedules.continuous_cosine(-18.0, 14.0),
    }[name]
    levels = grids.karras(schedule, 400, sigma_min=1.2e-3, sigma_max=schedule(schedule.t_max).ratio)
    mean, variance = jnp.array([0.3, -0.2, 0.0]), jnp.array([0.25, 0.5, 1.0])
    x0 = mean + jnp.sqrt(variance) * jax.random.normal(jax.random.key(1), (20, 3))
    bits = flow_bits(mean, variance, levels, x0, probes)
    np.testing.assert_allclose(bits, gaussian_bits(x0, mean, variance), atol=1e-3)


def test_flow_started_at_noise_has_the_density_of_blurred_data():
    """From s = .5 it is that of N(mean, variance + s^2), whatever the schedule's alpha is there."""
    mean, variance = jnp.array([0.3, -0.2]), jnp.array([0.25, 0.5])
    x0 = jnp.array([[0.1, 0.4], [-1.0, 0.8]])
    for schedule in (schedules.edm(1e-3, 1e3), schedules.continuous_cosine(-18.0, 14.0)):
        levels = grids.karras(schedule, 300, sigma_min=0.5, sigma_max=1e3)
        bits = flow_bits(mean, variance, levels, x0, None)
        np.testing.assert_allclose(bits, gaussian_bits(x0, mean, variance + 0.25), atol=1e-3)


def test_flow_likelihood_of_a_mixture_and_its_estimate():
    """Correlated dimensions: the exact trace gives the density, random signs give it on average."""
    weights, means, variances = (
        jnp.array([0.4, 0.6]),
        jnp.array([[-0.5, 0.4], [0.6, -0.3]]),
        jnp.array([0.1, 0.2]),
    )
    denoise = denoisers.gaussian_mixture(weights, means, variances)
    levels = grids.karras(schedules.edm(1e-3, 1e3), 300, sigma_min=1e-3, sigma_max=1e3)
    x0 = jnp.array([[-0.5, 0.4], [0.0, 0.0], [0.9, 0.5], [0.2, -0.9]])
    square = jnp.sum((x0[:, None] - means) ** 2, axis=-1)
    density = jnp.sum(weights / (2 * jnp.pi * variances) * jnp.exp(-square / (2 * variances)), axis=1)
    exact = jax.jit(lambda: likelihood.ode_log_density(denoise, levels, x0, jax.random.key(0), None))()
    np.testing.assert_allclose(exact, jnp.log(density), atol=5e-3)
    guess = jax.jit(lambda: likelihood.ode_log_density(denoise, levels, x0, jax.random.key(0), 256))()
    np.testing.assert_allclose(guess, exact, atol=0.1)
