"""Likelihoods: their parts and options. Their values are held to closed forms in tests/laws."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from genjax.diffusion import denoisers, grids, likelihood, schedules

KEY = jax.random.key(0)
X0 = jnp.round(jax.random.uniform(jax.random.key(1), (4, 3, 3, 2)) * 255) / 127.5 - 1
DENOISE = denoisers.gaussian(0.0, 0.3)


@pytest.mark.parametrize("spec, count", [(None, 50), ("10", 10), ("ddim5", 5)])
def test_parts(spec, count):
    found = likelihood.bits_per_dim(DENOISE, schedules.linear_beta(50), X0, KEY, spec=spec)
    assert found.vb.shape == found.x0_mse.shape == found.eps_mse.shape == (4, count)
    np.testing.assert_allclose(found.total, found.prior + found.vb.sum(axis=1), rtol=1e-5)
    assert (found.vb[:, :-1] > -1e-5).all() and (found.prior > 0).all()


def test_fewer_steps_cost_more_bits():
    schedule = schedules.linear_beta(1000)
    bits = [likelihood.bits_per_dim(DENOISE, schedule, X0, KEY, spec=spec).total.mean() for spec in ("200", "20", "4")]
    assert bits[0] < bits[1] < bits[2]


def test_prior_by_numpy():
    level = schedules.cosine()(800.0)
    alpha, sigma = float(level.alpha), float(level.sigma)
    x = np.asarray(X0, np.float64)
    nats = 0.5 * (sigma**2 + (alpha * x) ** 2 - 1 - 2 * np.log(sigma))
    np.testing.assert_allclose(
        likelihood.prior_bits(X0, level), nats.reshape(4, -1).mean(axis=1) / np.log(2), rtol=1e-3
    )


def test_errors_are_of_x0_and_eps_and_a_chain_that_ends_early_pays_for_what_is_left():
    """Of the denoiser that takes all for noise: x0 is off by itself, eps by alpha / sigma times it."""
    schedule = schedules.from_betas(np.linspace(0.01, 0.2, 6))
    nothing = lambda x_t, level, key: denoisers.Prediction(0 * x_t, x_t / level.sigma)  # noqa: E731
    found = likelihood.bits_per_dim(nothing, schedule, X0, KEY)
    square = np.square(np.asarray(X0, np.float64)).reshape(4, -1).mean(axis=1)
    alpha = np.sqrt(np.cumprod(1 - np.linspace(0.01, 0.2, 6)))[::-1]
    np.testing.assert_allclose(found.x0_mse, np.repeat(square[:, None], 6, axis=1), rtol=1e-5)
    np.testing.assert_allclose(found.eps_mse, square[:, None] * (alpha / np.sqrt(1 - alpha**2)) ** 2, rtol=1e-4)
    assert (found.prior > 0.1).all()
    np.testing.assert_allclose(found.total, found.prior + found.vb.sum(axis=1), rtol=1e-5)
    np.testing.assert_allclose(found.prior, likelihood.prior_bits(X0, schedule(5.0)), rtol=1e-5)


def test_one_key_an_example():
    keys = jax.random.split(KEY, 4)
    schedule = schedules.linear_beta(50)
    whole = likelihood.bits_per_dim(DENOISE, schedule, X0, keys)
    part = likelihood.bits_per_dim(DENOISE, schedule, X0[1:3], keys[1:3])
    np.testing.assert_allclose(whole.vb[1:3], part.vb, rtol=1e-4, atol=1e-6)


def test_flow_bits_are_the_density_over_the_bins():
    levels = grids.karras(schedules.edm(), 40)
    nats = likelihood.ode_log_density(DENOISE, levels, X0, KEY)
    bits = likelihood.ode_bits_per_dim(DENOISE, levels, X0, KEY)
    np.testing.assert_allclose(bits, -nats / np.log(2) / 18 + np.log2(127.5), rtol=1e-5)


def test_flow_in_float32_on_images():
    """Within .01 bits of the density in the precision that networks use."""
    levels = grids.karras(schedules.linear_beta(), 100)
    bits = likelihood.ode_bits_per_dim(DENOISE, levels, X0, KEY, probes=1)
    nats = 0.5 * (np.asarray(X0) ** 2 / 0.3 + np.log(2 * np.pi * 0.3))
    wanted = nats.reshape(4, -1).mean(axis=1) / np.log(2) + np.log2(127.5)
    np.testing.assert_allclose(bits, wanted, atol=0.01)


def test_a_continuous_schedule_has_no_bound():
    with pytest.raises(ValueError, match="Flow"):
        likelihood.bits_per_dim(DENOISE, schedules.flow(), X0, KEY)
