"""Orders of convergence, measured by halving the step between two levels of noise.

For N(m, v) the probability flow is known: (x - alpha m) / sqrt(alpha^2 v + sigma^2) stays as it is.
"""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from genjax.diffusion import grids, samplers, schedules
from genjax.diffusion.sample import sample
from tests.laws.oracles import MEAN, VARIANCE, gaussian, mixture

ORDERS = {"ddim": 1, "euler": 1, "heun": 2, "dpmpp_2m": 2}


@functools.cache
def levels_between(name: str, num_steps: int):
    """Levels with noise at both ends, ever finer between the same two."""
    if name == "edm":
        return grids.karras(schedules.edm(), num_steps + 1, sigma_min=0.05, sigma_max=20.0).at(slice(None, -1))
    schedule = {
        "cosine": schedules.continuous_cosine(),
        "flow": schedules.flow(),
        "variance_exploding": schedules.variance_exploding(0.01, 20.0),
    }[name]
    return schedule(jnp.linspace(0.95, 0.1, num_steps + 1))


def flow_of_gaussian(x, cur, nxt):
    """Where the exact flow takes x from one level to another."""
    before = jnp.sqrt(cur.alpha**2 * VARIANCE + cur.sigma**2)
    after = jnp.sqrt(nxt.alpha**2 * VARIANCE + nxt.sigma**2)
    return nxt.alpha * MEAN + after / before * (x - cur.alpha * MEAN)


def orders(errors):
    """log2 of the ratios of errors, each at half the step of the one before."""
    return np.log2(np.asarray(errors[:-1]) / np.asarray(errors[1:]))


@functools.partial(jax.jit, static_argnames=("name", "make"))
def ends(name, make, levels, x):
    """Where a sampler by name ends, under the denoiser that `make` makes; compiled once for all schedules."""
    return sample(make(), samplers.make(name), levels, x, jax.random.key(0))


@pytest.mark.parametrize("schedule", ["cosine", "edm", "flow", "variance_exploding"])
@pytest.mark.parametrize("name", ORDERS)
def test_order_on_gaussian(name, schedule):
    errors = []
    for num_steps in (40, 80, 160):
        levels = levels_between(schedule, num_steps)
        x = levels.at(0).sigma * jnp.array([[-1.5], [0.3], [2.0]])
        found = ends(name, gaussian, levels, x)
        errors.append(jnp.max(jnp.abs(found - flow_of_gaussian(x, levels.at(0), levels.at(-1)))))
    np.testing.assert_allclose(orders(errors), ORDERS[name], atol=0.15)


@functools.cache
def ends_of_mixture(name, num_steps):
    x = levels_between("cosine", 1).at(0).sigma * jnp.array([[-0.9], [0.1], [1.4]])
    return np.asarray(ends(name, mixture, levels_between("cosine", num_steps), x))


@pytest.mark.parametrize("name", ORDERS)
def test_order_on_mixture(name):
    truth = ends_of_mixture("heun", 4000)
    errors = [np.mean(np.abs(ends_of_mixture(name, n) - truth)) for n in (100, 200, 400)]
    np.testing.assert_allclose(orders(errors)[-1], ORDERS[name], atol=0.2)


def test_limited_extrapolation_keeps_the_order():
    errors = []
    for num_steps in (80, 160, 320):
        levels = levels_between("cosine", num_steps)
        x = levels.at(0).sigma * jnp.array([[-1.5], [0.3], [2.0]])
        found = sample(gaussian(), samplers.dpmpp_2m(max_slope=0.5), levels, x, jax.random.key(0))
        errors.append(jnp.max(jnp.abs(found - flow_of_gaussian(x, levels.at(0), levels.at(-1)))))
    assert orders(errors)[-1] > 1.8


def test_heun_is_finite_and_close_from_almost_no_signal():
    """The clipped cosine table starts at sigma / alpha = 2e4, where a trapezoid over sigma / alpha fails."""
    levels = grids.respace(schedules.cosine(), "25").at(slice(None, -1))
    x = jnp.array([[-1.5], [0.3], [2.0]])
    found = sample(gaussian(), samplers.heun(), levels, x, jax.random.key(0))
    np.testing.assert_allclose(found, flow_of_gaussian(x, levels.at(0), levels.at(-1)), atol=0.02)
