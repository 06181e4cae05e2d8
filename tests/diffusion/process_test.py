"""The process between level pairs, against the published formulas in float64 numpy."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from genjax.diffusion import grids, process, schedules

BETAS = np.linspace(1e-4, 0.02, 1000)


def chain(spec):
    """Published quantities of a respaced chain, step 0 first: betas, bars, previous bars, kept steps."""
    bars = np.cumprod(1 - BETAS)
    kept = np.array(grids.timesteps(1000, spec))
    bars = bars[kept]
    before = np.append(1.0, bars[:-1])
    return 1 - bars / before, bars, before


def pairs(spec):
    """(cur, nxt) of every step, step 0 first, and the grid."""
    levels = grids.respace(schedules.linear_beta(), spec)
    flip = slice(None, None, -1)
    return levels.at(slice(None, -1)).at(flip), levels.at(slice(1, None)).at(flip), levels


@pytest.mark.parametrize("spec", ["1000", "250", "25", "ddim25", "10,10,3,2,2"])
@pytest.mark.parametrize("x64, rtol", [(True, 1e-10), (False, 3e-4)])
def test_posterior_coefficients(spec, x64, rtol):
    betas, bars, before = chain(spec)
    with jax.enable_x64(x64):
        cur, nxt, _ = pairs(spec)
        ones, zeros = jnp.ones((len(betas), 1)), jnp.zeros((len(betas), 1))
        of_x0 = process.posterior(ones, zeros, cur, nxt)
        of_x_t = process.posterior(zeros, ones, cur, nxt)
        np.testing.assert_allclose(process.transition_variance(cur, nxt), betas, rtol=rtol)
        np.testing.assert_allclose(of_x0.mean[:, 0], np.sqrt(before) * betas / (1 - bars), rtol=rtol)
        np.testing.assert_allclose(
            of_x_t.mean[:, 0], np.sqrt(1 - betas) * (1 - before) / (1 - bars), rtol=rtol, atol=1e-9
        )
        np.testing.assert_allclose(of_x0.variance[:, 0], betas * (1 - before) / (1 - bars), rtol=rtol, atol=1e-12)


@pytest.mark.parametrize("spec", ["1000", "250", "25", "ddim25", "10,10,3,2,2", "2"])
def test_learned_range_bounds(spec):
    """frac 0 is the clipped log of beta tilde, frac 1 log beta, of the respaced chain; halfway their mean."""
    betas, bars, before = chain(spec)
    small = betas * (1 - before) / (1 - bars)
    small[0] = small[1]
    with jax.enable_x64(True):
        cur, nxt, levels = pairs(spec)
        floor = process.variance_floor(levels)
        for frac, wanted in [
            (0.0, np.log(small)),
            (1.0, np.log(betas)),
            (0.5, (np.log(small) + np.log(betas)) / 2),
        ]:
            like = jnp.full((len(betas), 2), frac)
            found = process.model_log_variance("learned_range", like, like, cur, nxt, floor)
            np.testing.assert_allclose(found, np.broadcast_to(wanted[:, None], found.shape), rtol=1e-9)


def test_fixed_variances():
    """fixed_large is append(beta_tilde[1], betas[1:])."""
    betas, bars, before = chain("50")
    small = betas * (1 - before) / (1 - bars)
    with jax.enable_x64(True):
        cur, nxt, levels = pairs("50")
        floor = process.variance_floor(levels)
        x = jnp.zeros((50, 1))
        large = process.model_log_variance("fixed_large", None, x, cur, nxt, floor)
        np.testing.assert_allclose(jnp.exp(large[:, 0]), np.append(small[1], betas[1:]), rtol=1e-9)
        clipped = process.model_log_variance("fixed_small", None, x, cur, nxt, floor)
        np.testing.assert_allclose(jnp.exp(clipped[:, 0]), np.append(small[1], small[1:]), rtol=1e-9)


@pytest.mark.parametrize("name", ["edm", "flow", "variance_exploding", "continuous_cosine"])
def test_posterior_is_bayes_for_any_schedule(name):
    """Product of N(x_n; alpha_n x0, sigma_n^2) and N(x_c; a x_n, transition variance)."""
    with jax.enable_x64(True):
        levels = grids.make(schedules.make(name), 6)
        cur, nxt = levels.at(2), levels.at(3)
        x0, x_t = jnp.array([[0.3]]), jnp.array([[-0.8]])
        a, extra = cur.alpha / nxt.alpha, process.transition_variance(cur, nxt)
        np.testing.assert_allclose(a**2 * nxt.sigma**2 + extra, cur.sigma**2, rtol=1e-10)
        precision = 1 / nxt.sigma**2 + a**2 / extra
        found = process.posterior(x0, x_t, cur, nxt)
        np.testing.assert_allclose(found.variance, 1 / precision, rtol=1e-8)
        wanted = (nxt.alpha * x0 / nxt.sigma**2 + a * x_t / extra) / precision
        np.testing.assert_allclose(found.mean, wanted, rtol=1e-8)


def test_step_to_clean_data_has_the_posterior_of_a_point():
    cur, nxt = schedules.cosine()(10), schedules.cosine()(-1)
    found = process.posterior(jnp.array([[0.3]]), jnp.array([[5.0]]), cur, nxt)
    np.testing.assert_array_equal(found.mean, jnp.array([[0.3]]))
    np.testing.assert_array_equal(found.variance, 0)


def test_levels_an_example_broadcast_over_any_rank():
    level = schedules.cosine()(jnp.array([1.0, 500.0, 999.0]))
    x0, eps = jnp.ones((3, 4, 4, 2)), jnp.full((3, 4, 4, 2), 2.0)
    x_t = process.diffuse(x0, eps, level)
    np.testing.assert_allclose(x_t[:, 0, 0, 0], level.alpha + 2 * level.sigma, rtol=1e-6)
    np.testing.assert_allclose(process.x0_from_eps(x_t, eps, level)[:2], x0[:2], rtol=1e-4)
    np.testing.assert_allclose(process.eps_from_x0(x_t, x0, level), eps, rtol=1e-4)


def test_noise_by_one_key_or_one_an_example():
    keys = jax.random.split(jax.random.key(0), 5)
    x = jnp.zeros((5, 3))
    each = process.noise_like(keys, x)
    np.testing.assert_array_equal(each[2], process.noise_like(keys[2:3], x[:1])[0])
    assert process.noise_like(keys[0], x).shape == x.shape
    np.testing.assert_array_equal(jax.random.key_data(process.fold(keys, 7))[1],
                                  jax.random.key_data(process.fold(keys[1], 7)))  # fmt: skip
    raw = jax.random.PRNGKey(0)
    assert not process.is_batched(raw) and process.is_batched(jnp.stack([raw, raw]))


def test_prior_has_the_scale_of_its_schedule():
    draw = process.sample_prior(jax.random.key(0), (20000, 1), grids.make(schedules.edm(), 5))
    np.testing.assert_allclose(draw.std(), 80.0, rtol=0.02)
    draw = process.sample_prior(jax.random.key(0), (20000, 1), grids.make(schedules.linear_beta(), 5))
    np.testing.assert_allclose(draw.std(), 1.0, rtol=0.02)


def test_errors_say_what_and_how():
    cur, nxt = schedules.cosine()(10), schedules.cosine()(9)
    x = jnp.zeros((2, 3))
    with pytest.raises(ValueError, match="fixed_small, fixed_large, learned_range"):
        process.model_log_variance("fixed", None, x, cur, nxt, jnp.ones(()))
    with pytest.raises(ValueError, match="learned variance"):
        process.model_log_variance("learned_range", None, x, cur, nxt, jnp.ones(()))
