"""What EDM's preconditioning and the flow's loss aim at, where the data are Gaussian."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from genjax.diffusion import denoisers, loss, parameterization, schedules, time_samplers, weighting

KEY = jax.random.key(0)
DEVIATION = 0.75


@pytest.fixture(autouse=True)
def float64():
    """Closed forms are compared in float64."""
    with jax.enable_x64(True):
        yield


@pytest.mark.parametrize("name", ["edm", "cosine", "flow"])
def test_edm_needs_no_network_for_a_gaussian_of_its_deviation(name):
    """With F = 0, D = c_skip x is the exact denoiser of N(0, sigma_data^2), at every level."""
    level = schedules.make(name)(jnp.array([0.003, 0.1, 0.5, 0.9]) * (999 if name == "cosine" else 1))
    x = jax.random.normal(KEY, (4, 3))
    found = denoisers.make_denoiser(lambda x, c: jnp.zeros_like(x), parameterization.edm(DEVIATION))(x, level, KEY)
    wanted = denoisers.gaussian(0.0, DEVIATION**2)(x, level, KEY)
    np.testing.assert_allclose(found.x0, wanted.x0, rtol=1e-8)
    np.testing.assert_allclose(found.eps, wanted.eps, rtol=1e-8)


def test_edms_target_has_unit_variance_and_unit_weight_at_every_sigma():
    level = schedules.edm()(jnp.array([0.002, 0.05, 0.75, 6.0, 80.0]))
    made = parameterization.edm(DEVIATION)(level)
    x0, eps = DEVIATION * jax.random.normal(KEY, (5, 40_000)), jax.random.normal(jax.random.key(1), (5, 40_000))
    target = parameterization.target(made, x0, eps, level)
    np.testing.assert_allclose(target.var(axis=1), 1, atol=0.03)
    np.testing.assert_allclose(weighting.edm(DEVIATION)(level) * made.c_out**2, 1, rtol=1e-12)


def flow_losses(net, count=200_000):
    x0 = 0.4 + DEVIATION * jax.random.normal(jax.random.key(1), (count, 1))
    t, _ = time_samplers.lognormal(schedules.flow(), 0.0, 1.0)(jax.random.key(2), count)
    return loss.denoising_loss(net, parameterization.flow(), weighting.flow(), schedules.flow(), x0, t, KEY).loss, t


def test_the_flows_loss_is_least_at_the_velocity():
    """v = E[eps - x0 | x_t]: its loss is the variance that is left, and any error adds its own square."""

    def velocity(x, t):
        level = schedules.flow()(t)
        exact = denoisers.gaussian(0.4, DEVIATION**2)(x, level, KEY)
        return exact.eps - exact.x0

    best, t = jax.jit(lambda: flow_losses(velocity))()
    total = (1 - t) ** 2 * DEVIATION**2 + t**2
    np.testing.assert_allclose(best.mean(), (DEVIATION**2 / total).mean(), rtol=0.02)
    worse, _ = jax.jit(lambda: flow_losses(lambda x, t: velocity(x, t) + 0.3 * jnp.sin(2 * x)))()
    x_t = 0.4 * (1 - t) + jnp.sqrt(total) * jax.random.normal(jax.random.key(5), t.shape)
    assert worse.mean() - best.mean() == pytest.approx(0.09 * float((jnp.sin(2 * x_t) ** 2).mean()), rel=0.1)


def test_uniform_times_of_edm_are_even_in_log_sigma():
    schedule = schedules.edm(0.002, 80.0)
    for make in (time_samplers.uniform, time_samplers.stratified):
        t, _ = make(schedule)(KEY, 20_000)
        quarters = np.quantile(np.log(t), [0, 0.25, 0.5, 0.75, 1])
        np.testing.assert_allclose(quarters, np.linspace(np.log(0.002), np.log(80.0), 5), atol=0.1)


def test_lognormal_times_of_a_flow_are_logit_normal():
    t, _ = time_samplers.lognormal(schedules.flow(), 0.5, 0.8)(KEY, 20_000)
    logits = np.log(t) - np.log1p(-t)
    np.testing.assert_allclose([logits.mean(), logits.std()], [0.5, 0.8], atol=0.03)
