"""Schedules against formulas written out in float64 numpy."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from genjax.diffusion import schedules


def cosine_bars(num_steps, s=0.008, max_beta=0.999):
    """alphas_cumprod of the cosine schedule."""
    grid = np.arange(num_steps + 1) / num_steps
    f = np.cos((grid + s) / (1 + s) * np.pi / 2) ** 2
    return np.cumprod(1 - np.minimum(1 - f[1:] / f[:-1], max_beta))


BARS = {
    "linear_beta": np.cumprod(1 - np.linspace(1e-4, 0.02, 1000)),
    "cosine": cosine_bars(1000),
    "scaled_linear": np.cumprod(1 - np.linspace(0.00085**0.5, 0.012**0.5, 1000) ** 2),
}


@pytest.mark.parametrize("name", BARS)
def test_discrete_tables(name):
    level = schedules.make(name)(jnp.arange(1000.0))
    assert level.alpha.dtype == jnp.float32
    np.testing.assert_allclose(level.alpha, np.sqrt(BARS[name]), rtol=1e-6)
    np.testing.assert_allclose(level.sigma, np.sqrt(1 - BARS[name]), rtol=1e-6)
    np.testing.assert_array_equal(level.t, np.arange(1000))
    np.testing.assert_allclose(level.logsnr, np.log(BARS[name] / (1 - BARS[name])), rtol=1e-4, atol=1e-5)


def test_tables_keep_float64_under_x64():
    with jax.enable_x64(True):
        level = schedules.cosine()(jnp.arange(1000.0))
        np.testing.assert_allclose(level.alpha**2, BARS["cosine"], rtol=1e-12)


def test_published_numbers():
    """alpha_bar at the end of DDPM's chain is 4.04e-5; betas of 4000 steps are a quarter."""
    assert abs(float(schedules.linear_beta()(999).alpha) ** 2 - 4.036e-5) < 1e-8
    first = schedules.linear_beta(4000)(0)
    np.testing.assert_allclose(first.sigma**2, 2.5e-5, rtol=1e-5)
    np.testing.assert_allclose(schedules.linear_beta(10, 0.1, 0.5)(0).sigma ** 2, 0.1, rtol=1e-6)


def test_clean_below_zero_and_log_linear_between_steps():
    schedule = schedules.linear_beta()
    clean = schedule(-1)
    assert (float(clean.alpha), float(clean.sigma), float(clean.t)) == (1.0, 0.0, -1.0)
    between = schedule(jnp.array([10.0, 10.25, 11.0]))
    logs = np.log(between.ratio)
    np.testing.assert_allclose(logs[1], 0.75 * logs[0] + 0.25 * logs[2], rtol=1e-5)
    np.testing.assert_allclose(between.alpha**2 + between.sigma**2, 1, rtol=1e-6)


CONTINUOUS = {
    "continuous_cosine": {},
    "variance_exploding": {"sigma_min": 0.02, "sigma_max": 30.0},
    "edm": {},
    "flow": {"t_max": 0.99},
}


@pytest.mark.parametrize("name", [*BARS, *CONTINUOUS])
def test_time_inverts_the_ratio(name):
    with jax.enable_x64(True):
        schedule = schedules.make(name, **CONTINUOUS.get(name, {}))
        assert isinstance(schedule, schedules.Schedule)
        t = jnp.linspace(schedule.t_min + 0.01, schedule.t_max, 37)
        np.testing.assert_allclose(schedule.time(schedule(t).ratio), t, rtol=1e-6)


def test_continuous_formulas():
    t = jnp.linspace(0.0, 1.0, 11)
    cosine = schedules.continuous_cosine(-12.0, 14.0)(t)
    np.testing.assert_allclose(cosine.logsnr[jnp.array([0, -1])], [14.0, -12.0], rtol=1e-4)
    np.testing.assert_allclose(jnp.diff(jnp.arctan2(cosine.sigma, cosine.alpha), 2), 0, atol=1e-6)
    np.testing.assert_allclose(cosine.alpha**2 + cosine.sigma**2, 1, rtol=1e-6)
    exploding = schedules.variance_exploding(0.01, 50.0)(t)
    np.testing.assert_allclose(exploding.sigma, 0.01 * 5000 ** np.asarray(t), rtol=1e-5)
    np.testing.assert_array_equal(exploding.alpha, 1)
    flow = schedules.flow()(t)
    np.testing.assert_allclose(flow.alpha, 1 - t)
    np.testing.assert_allclose(flow.sigma, t)
    edm = schedules.edm()(jnp.array([0.3, 80.0]))
    np.testing.assert_allclose(edm.sigma, edm.t)


def test_schedules_pass_through_jit():
    @jax.jit
    def level(schedule, t):
        return schedule(t)

    for name in ("cosine", "flow", "edm", "continuous_cosine", "variance_exploding"):
        schedule = schedules.make(name)
        np.testing.assert_allclose(level(schedule, 0.5).sigma, schedule(0.5).sigma, rtol=1e-5)


@pytest.mark.parametrize(
    "call, words",
    [
        (lambda: schedules.make("sine"), "known: .*cosine"),
        (lambda: schedules.from_betas([0.1, 1.5]), "1.5"),
        (lambda: schedules.from_betas(np.array([[0.1]])), "vector"),
        (lambda: schedules.linear_beta(20), "num_steps=20"),
    ],
)
def test_errors_say_what_and_how(call, words):
    with pytest.raises(ValueError, match=words):
        call()
