"""Parameterizations: targets, their inversion, EDM's table."""

import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from genjax.diffusion import parameterization, process, schedules
from genjax.diffusion.denoisers import make_denoiser

NAMES = ["eps", "x0", "v", "flow", "edm"]
SCHEDULES = ["linear_beta", "cosine", "continuous_cosine", "variance_exploding", "edm", "flow"]


def draw(schedule):
    """(x0, eps, level) at times over the schedule's middle."""
    made = schedules.make(schedule)
    t = made.t_min + jnp.array([0.02, 0.3, 0.6, 0.9]) * (made.t_max - made.t_min)
    x0, eps = jax.random.normal(jax.random.key(0), (2, 4, 3, 2))
    return x0, eps, made(t)


@pytest.mark.parametrize("schedule", SCHEDULES)
@pytest.mark.parametrize("name", NAMES)
def test_a_network_on_target_recovers_data_and_noise(name, schedule):
    with jax.enable_x64(True):
        x0, eps, level = draw(schedule)
        made = parameterization.make(name)
        wanted = parameterization.target(made(level), x0, eps, level)
        found = make_denoiser(lambda x, c: wanted, made)(process.diffuse(x0, eps, level), level, jax.random.key(0))
        np.testing.assert_allclose(found.x0, x0, atol=1e-8)
        np.testing.assert_allclose(found.eps, eps, atol=1e-8)


@pytest.mark.parametrize("schedule", ["linear_beta", "continuous_cosine"])
def test_targets_are_what_their_names_say(schedule):
    with jax.enable_x64(True):
        x0, eps, level = draw(schedule)
        alpha, sigma = level.expand(x0)
        wanted = {"eps": eps, "x0": x0, "v": alpha * eps - sigma * x0, "flow": eps - x0}
        for name, value in wanted.items():
            found = parameterization.target(parameterization.make(name)(level), x0, eps, level)
            np.testing.assert_allclose(found, value, atol=1e-8)


def test_edm_scalars_and_unit_variances():
    with jax.enable_x64(True):
        s, d = np.array([0.01, 0.5, 3.0, 60.0]), 0.7
        level = schedules.edm()(jnp.asarray(s))
        made = parameterization.edm(d)(level)
        np.testing.assert_allclose(made.c_skip, d**2 / (s**2 + d**2))
        np.testing.assert_allclose(made.c_out, s * d / np.sqrt(s**2 + d**2))
        np.testing.assert_allclose(made.c_in, 1 / np.sqrt(s**2 + d**2))
        np.testing.assert_allclose(made.c_noise, np.log(s) / 4)
        x0 = d * jax.random.normal(jax.random.key(0), (4, 100000))
        eps = jax.random.normal(jax.random.key(1), (4, 100000))
        np.testing.assert_allclose(jnp.std(made.c_in[:, None] * (x0 + s[:, None] * eps), axis=1), 1, rtol=0.01)
        np.testing.assert_allclose(jnp.std(parameterization.target(made, x0, eps, level), axis=1), 1, rtol=0.01)


def test_the_network_sees_the_schedules_time():
    level = schedules.linear_beta()(jnp.array([0.0, 40.0, 960.0]))
    np.testing.assert_array_equal(parameterization.eps()(level).c_noise, [0, 40, 960])
    np.testing.assert_allclose(parameterization.v(noise_scale=0.25)(level).c_noise, [0, 10, 240])


def test_unknown_name():
    with pytest.raises(ValueError, match="known: .*edm.*eps"):
        parameterization.make("score")


ZERO_SNR = schedules.from_betas([1e-4, 0.01, 0.5, 1.0])
TOO_CLOSE = "multiplies rounding errors"


@pytest.mark.parametrize(
    ("schedule", "refused"),
    [
        (schedules.linear_beta(), {}),
        (schedules.cosine(4000), {}),
        (schedules.scaled_linear(), {}),
        (schedules.continuous_cosine(), {}),
        (schedules.variance_exploding(), {}),
        (schedules.edm(), {}),
        (schedules.flow(0.999), {}),
        (schedules.flow(), {"eps": "divides by 0.*most noise, t=1, where alpha=0", "edm": "divides by 0.*most noise"}),
        (ZERO_SNR, {"eps": "divides by 0.*most noise, t=3, where alpha=0", "edm": "divides by 0.*most noise, t=3"}),
        (schedules.flow(1 - 1e-7), {"eps": TOO_CLOSE}),
        (schedules.continuous_cosine(-40.0), {"eps": TOO_CLOSE, "edm": "divides by 0"}),
        (schedules.edm(0.0), dict.fromkeys(parameterization._MAKERS, "no noise at the time of least noise, t=0")),
    ],
)
def test_which_pairs_of_schedule_and_parameterization_are_refused(schedule, refused):
    """All others have finite scalars at both ends, by which x0 comes back from the true output."""
    assert parameterization.fitting(schedule) == sorted(parameterization._MAKERS.keys() - refused)
    for name in parameterization._MAKERS:
        wrong = parameterization.failure(parameterization.make(name), schedule)
        assert re.search(refused[name], wrong) if name in refused else wrong == "", (name, wrong)
