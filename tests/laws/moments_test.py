"""Every sampler x schedule x parameterization reaches the data's moments when the denoiser is exact.

All schedules and parameterizations of a sampler run in one compilation: levels are arrays, and so is the
choice of the parameterization. Deterministic samplers move quantiles, so only their discretisation errs;
stochastic ones are samples, judged at some four standard errors and the bias of their order.
"""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from genjax.diffusion import grids, process, samplers
from genjax.diffusion.sample import sample
from tests.laws.oracles import (
    MEAN,
    PARAMETERIZATIONS,
    SCHEDULES,
    VARIANCE,
    all_grids,
    choose,
    gaussian,
    mixture,
    mixture_moments,
    starts,
    through_network,
)

DETERMINISTIC = {
    "ddim": (samplers.ddim(), 400, 0.04),
    "euler": (samplers.euler(), 400, 0.04),
    "heun": (samplers.heun(), 120, 0.004),
    "dpmpp_2m": (samplers.dpmpp_2m(), 240, 0.012),
}
"""name -> (sampler, steps, tolerance in standard deviations)"""
KINDS = ["gaussian", pytest.param("mixture", marks=pytest.mark.slow)]
"""What isn't affine is sampled by default under churn, and in the laws of order."""
STOCHASTIC = {
    "ancestral_small": samplers.ancestral("fixed_small"),
    "ancestral_large": samplers.ancestral("fixed_large"),
    "ancestral_learned": samplers.ancestral("learned_range"),
    "ddim_half": samplers.ddim(0.5),
    "dpmpp_sde": samplers.dpmpp_sde(max_slope=0.5),
}


@functools.partial(jax.jit, static_argnames=("name", "kind", "n"))
def run(name, kind, n, levels, key):
    """Samples [schedules, parameterizations, n] of a sampler by name."""
    sampler = DETERMINISTIC[name][0] if name in DETERMINISTIC else STOCHASTIC[name]
    exact = gaussian() if kind == "gaussian" else mixture()

    def one(levels, index):
        denoise = with_half_variance(through_network(exact, choose(index)))
        return sample(denoise, sampler, levels, starts(levels.at(0), n, kind), key)[:, 0]

    many = jax.vmap(jax.vmap(one, in_axes=(None, 0)), in_axes=(0, None))
    return many(levels, jnp.arange(len(PARAMETERIZATIONS)))


def with_half_variance(denoise):
    """The denoiser with a variance halfway, in logarithm, between beta tilde and beta."""

    def halfway(x_t, level, key):
        prediction = denoise(x_t, level, key)
        return prediction._replace(var_frac=jnp.full_like(x_t, 0.5))

    return halfway


def check(x, kind, tolerance, rows):
    """Compare the moments of samples [rows, parameterizations, n], each in units of the data's deviation."""
    mean, var, third = (MEAN, VARIANCE, 0.0) if kind == "gaussian" else mixture_moments()
    scale = np.sqrt(var)
    x = np.asarray(x)
    assert np.isfinite(x).all()
    found_mean = x.mean(axis=-1)
    centred = x - found_mean[..., None]
    found_scale, found_third = np.sqrt((centred**2).mean(axis=-1)), (centred**3).mean(axis=-1)
    for i, row in enumerate(rows):
        for j, name in enumerate(PARAMETERIZATIONS):
            assert abs(found_mean[i, j] - mean) < tolerance * scale, (row, name, found_mean[i, j], mean)
            assert abs(found_scale[i, j] - scale) < tolerance * scale, (row, name, found_scale[i, j], scale)
            assert abs(found_third[i, j] - third) < 6 * tolerance * scale**3, (row, name, found_third[i, j])


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("name", DETERMINISTIC)
def test_deterministic(name, kind):
    _, num_steps, tolerance = DETERMINISTIC[name]
    check(run(name, kind, 600, all_grids(num_steps), jax.random.key(0)), kind, tolerance, SCHEDULES)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("name", STOCHASTIC)
def test_stochastic(name, kind):
    check(run(name, kind, 4000, all_grids(160), jax.random.key(1)), kind, 0.06, SCHEDULES)


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["gaussian", "mixture"])
@pytest.mark.parametrize("name", STOCHASTIC)
def test_stochastic_closely(name, kind):
    check(run(name, kind, 15000, all_grids(300), jax.random.key(2)), kind, 0.03, SCHEDULES)


CHURNED = {"heun": ("cosine",), "euler": ("edm",)}
"""Run by default; that every schedule's time inverts its ratio is a test of its own."""


@pytest.mark.parametrize(
    ("make", "name"),
    [
        pytest.param(make, name, marks=[] if name in CHURNED[make] else pytest.mark.slow)
        for make in CHURNED
        for name in ("cosine", "continuous_cosine", "variance_exploding", "edm", "flow")
    ],
)
def test_churn(make, name):
    make, schedule = getattr(samplers, make), SCHEDULES[name]()
    levels = grids.karras(schedule, 100)

    @jax.jit
    def run_all(churn):
        sampler = make(churn=churn, schedule=schedule, churn_min=0.01, churn_max=30.0)

        def one(index):
            denoise = through_network(mixture(), choose(index))
            return sample(denoise, sampler, levels, starts(levels.at(0), 4000, "mixture"), jax.random.key(3))

        return jax.vmap(one)(jnp.arange(len(PARAMETERIZATIONS)))[None, :, :, 0]

    still, stirred = run_all(0.0), run_all(20.0)
    check(stirred, "mixture", 0.06, [name])
    assert jnp.mean(jnp.abs(still - stirred)) > 0.05


def test_exact_variance_is_exact_in_any_number_of_steps():
    """With the true variance of x_n given x_c in its learned range, the ancestral chain of Gaussian data is
    exact."""

    @jax.jit
    def run_all(stop, levels):
        def denoise(x_t, level, key):
            index = jnp.argmin(jnp.abs(levels.t[:-1] - level.t))
            cur, nxt = level, levels.at(index + 1)
            small, large = process.posterior_variance(cur, nxt), process.transition_variance(cur, nxt)
            left = 1 / (1 / VARIANCE + cur.snr)
            true = small + jnp.square(nxt.alpha * (1 - jnp.square(process.decay(cur, nxt)))) * left
            frac = jnp.log(true / small) / jnp.log(large / small)
            return gaussian()(x_t, level, key)._replace(var_frac=jnp.full_like(x_t, frac))

        start = starts(stop.at(0), 100000, "gaussian")
        return sample(denoise, samplers.ancestral("learned_range"), stop, start, jax.random.key(0))

    for i in range(len(SCHEDULES)):
        levels = jax.tree.map(lambda leaf, i=i: np.asarray(leaf[i]), all_grids(5))
        # The step to clean data adds no noise; stop before it, where the marginal is known.
        stop = levels.at(slice(None, -1))
        x = run_all(stop, levels)
        last = stop.at(-1)
        scale = np.sqrt(last.alpha**2 * VARIANCE + last.sigma**2)
        np.testing.assert_allclose(x.mean(), last.alpha * MEAN, atol=4 * scale / 100000**0.5)
        np.testing.assert_allclose(x.std(), scale, rtol=4 / 200000**0.5)
