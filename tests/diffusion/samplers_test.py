"""Samplers: single steps against formulas in numpy, and what they refuse."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from genjax.diffusion import denoisers, grids, process, samplers, schedules
from genjax.diffusion.denoisers import Prediction
from genjax.diffusion.sample import sample
from genjax.diffusion.schedules import NoiseLevel

KEY = jax.random.key(3)


@pytest.fixture(autouse=True)
def float64():
    """Formulas are compared in float64."""
    with jax.enable_x64(True):
        yield


def curved(x_t, level, key):
    """A denoiser that isn't affine."""
    x0 = jnp.tanh(x_t * level.alpha)
    return Prediction(x0, process.eps_from_x0(x_t, x0, level), 0.2 + 0.1 * x_t)


def setting(name="cosine", count=6):
    levels = grids.make(schedules.make(name), count)
    x = jax.random.normal(jax.random.key(1), (5, 2))
    return levels, x


def noise(x):
    return process.noise_like(process.fold(KEY, 1), x)


@pytest.mark.parametrize("spec", ["6", "25", "1000"])
def test_ancestral_learned_range_is_the_published_step(spec):
    """Every step of a respaced chain, with bounds from the chain's own betas."""
    levels = grids.make(schedules.linear_beta(), spec)
    x = jax.random.normal(jax.random.key(1), (5, 2))
    sampler = samplers.ancestral("learned_range")
    carry = sampler.init(x, levels)
    step = jax.jit(lambda x, carry, cur, nxt: sampler.step(curved, x, carry, cur, nxt, KEY))
    bars = np.asarray(levels.alpha[:-1])[::-1] ** 2
    before = np.append(1.0, bars[:-1])
    betas = 1 - bars / before
    small = betas * (1 - before) / (1 - bars)
    logs = np.log(np.append(small[1], small[1:]))
    for i in sorted({0, 1, len(bars) // 2, len(bars) - 1}):
        index = len(bars) - 1 - i
        cur, nxt = levels.at(index), levels.at(index + 1)
        found, _ = step(x, carry, cur, nxt)
        guess = curved(x, cur, KEY)
        mean = np.sqrt(before[i]) * betas[i] / (1 - bars[i]) * guess.x0
        mean += np.sqrt(1 - betas[i]) * (1 - before[i]) / (1 - bars[i]) * x
        log_variance = guess.var_frac * np.log(betas[i]) + (1 - guess.var_frac) * logs[i]
        wanted = mean + (i > 0) * jnp.exp(0.5 * log_variance) * noise(x)
        np.testing.assert_allclose(found, wanted, rtol=1e-8)


@pytest.mark.parametrize("eta", [0.0, 0.3, 1.0])
def test_ddim_is_equation_12(eta):
    levels, x = setting()
    cur, nxt = levels.at(2), levels.at(3)
    found, _ = samplers.ddim(eta).step(curved, x, (), cur, nxt, KEY)
    bar, before = float(cur.alpha) ** 2, float(nxt.alpha) ** 2
    s = eta * np.sqrt((1 - before) / (1 - bar)) * np.sqrt(1 - bar / before)
    guess = curved(x, cur, KEY)
    wanted = np.sqrt(before) * guess.x0 + np.sqrt(1 - before - s**2) * guess.eps + s * noise(x)
    np.testing.assert_allclose(found, wanted, rtol=1e-10)


def edm_algorithm_2(denoise, x, sigmas, churn, low, high, inflate, keys, correct=True):
    """EDM's stochastic sampler as printed, for alpha = 1, or without its correction; the last sigma is 0."""
    count = len(sigmas) - 1
    for i in range(count):
        gamma = min(churn / count, np.sqrt(2) - 1) if low <= sigmas[i] <= high else 0.0
        raised = sigmas[i] * (1 + gamma)
        fresh = process.noise_like(process.fold(keys[i], 1), x)
        x_hat = x + np.sqrt(raised**2 - sigmas[i] ** 2) * inflate * fresh
        d = (x_hat - denoise(x_hat, raised)) / raised
        x = x_hat + (sigmas[i + 1] - raised) * d
        if correct and sigmas[i + 1] > 0:
            d_end = (x - denoise(x, sigmas[i + 1])) / sigmas[i + 1]
            x = x_hat + (sigmas[i + 1] - raised) * (0.5 * d + 0.5 * d_end)
    return x


@pytest.mark.parametrize(("name", "churn"), [("heun", 0.0), ("heun", 3.0), ("heun", 40.0), ("euler", 40.0)])
def test_heun_is_edms_algorithm_2_and_euler_that_without_the_correction(name, churn):
    schedule = schedules.edm()
    levels = grids.karras(schedule, 9)
    x = 80.0 * jax.random.normal(jax.random.key(1), (5, 2))

    def x0(x_t, sigma):
        return curved(x_t, schedule(sigma), KEY).x0

    keys = [process.fold(KEY, i) for i in range(9)]
    wanted = edm_algorithm_2(x0, x, np.asarray(levels.sigma), churn, 0.05, 50.0, 1.1, keys, name == "heun")
    sampler = samplers.make(
        name, churn=churn, schedule=schedule if churn else None, churn_min=0.05, churn_max=50.0, churn_noise=1.1
    )
    np.testing.assert_allclose(sample(curved, sampler, levels, x, KEY), wanted, rtol=1e-8)


@pytest.mark.parametrize("name", ["edm", "variance_exploding", "cosine"])
def test_churn_raises_noise_within_the_schedules_range_alone(name):
    """By a third in its middle; at its end there is no noisier level, and a little below it no more than that one."""
    schedule, levels, x = schedules.make(name), NoiseLevel(*jnp.ones((3, 3))), jnp.ones((5, 2))
    seen, end = [], float(schedule(schedule.t_max).ratio)
    sampler = samplers.euler(2 / 3, schedule)
    for ratio, wanted in ((1.5, 2.0), (0.9 * end, end), (end, end)):
        cur = schedule(schedule.time(ratio))
        sampler.step(
            lambda x_t, level, key: seen.append((x_t, level)) or curved(x_t, level, key),
            x, sampler.init(x, levels), cur, schedule(schedule.time(0.5)), KEY,
        )  # fmt: skip
        x_t, level = seen[-1]
        np.testing.assert_allclose(level.ratio, wanted, rtol=1e-3)
        added = np.sqrt(max(float(level.ratio) ** 2 - float(cur.ratio) ** 2, 0)) * noise(x)
        np.testing.assert_allclose(x_t, level.alpha * (x / cur.alpha + added), rtol=1e-6)


def dpmpp_2m_algorithm_2(x0_of, x, alphas, sigmas):
    """DPM-Solver++(2M) as printed, in lambda, to levels with noise."""
    lambdas = np.log(alphas / sigmas)
    last = None
    for i in range(1, len(alphas)):
        h = lambdas[i] - lambdas[i - 1]
        x0 = x0_of(x, i - 1)
        if last is None:
            d = x0
        else:
            r = (lambdas[i - 1] - lambdas[i - 2]) / h
            d = (1 + 1 / (2 * r)) * x0 - 1 / (2 * r) * last
        x = sigmas[i] / sigmas[i - 1] * x - alphas[i] * (np.exp(-h) - 1) * d
        last = x0
    return x


@pytest.mark.parametrize("name", ["cosine", "flow", "edm", "variance_exploding"])
def test_dpmpp_2m_is_algorithm_2(name):
    levels, x = setting(name)
    stop = levels.at(slice(1, -1))
    wanted = dpmpp_2m_algorithm_2(
        lambda x, i: curved(x, stop.at(i), KEY).x0, x, np.asarray(stop.alpha), np.asarray(stop.sigma)
    )
    np.testing.assert_allclose(sample(curved, samplers.dpmpp_2m(), stop, x, KEY), wanted, rtol=1e-8)


def test_dpmpp_sde_second_step():
    levels, x = setting()
    sampler = samplers.dpmpp_sde()
    x1, carry = sampler.step(curved, x, sampler.init(x, levels), levels.at(1), levels.at(2), KEY)
    found, _ = sampler.step(curved, x1, carry, levels.at(2), levels.at(3), KEY)
    lambdas = np.log(np.asarray(levels.alpha[:4] / levels.sigma[:4]))
    h, h_last = lambdas[3] - lambdas[2], lambdas[2] - lambdas[1]
    x0, last = curved(x1, levels.at(2), KEY).x0, curved(x, levels.at(1), KEY).x0
    alpha, sigma, sigma_cur = (float(v) for v in (levels.alpha[3], levels.sigma[3], levels.sigma[2]))
    wanted = sigma / sigma_cur * np.exp(-h) * x1 + alpha * (1 - np.exp(-2 * h)) * x0
    wanted += 0.5 * alpha * (1 - np.exp(-2 * h)) * (h / h_last) * (x0 - last)
    wanted += sigma * np.sqrt(1 - np.exp(-2 * h)) * noise(x1)
    np.testing.assert_allclose(found, wanted, rtol=1e-8)


def test_limited_slope():
    """On a grid even in log-SNR, .5 limits nothing; before the last level of a grid even in t it does."""
    even = schedules.edm()(jnp.geomspace(10.0, 0.1, 8))
    _, x = setting()
    free, limited = (sample(curved, samplers.dpmpp_2m(m), even, x, KEY) for m in (None, 0.5 + 1e-9))
    np.testing.assert_allclose(free, limited, rtol=1e-12)
    levels = grids.respace(schedules.linear_beta(), "25")
    gaussian = denoisers.gaussian(0.0, 0.25)
    start = jnp.array([[1.0]])
    free, limited = (sample(gaussian, samplers.dpmpp_2m(m), levels, start, KEY) for m in (None, 0.5))
    assert abs(free[0, 0] - 0.5) > 0.05 and abs(limited[0, 0] - 0.5) < 0.02


def test_samplers_start_from_no_signal_at_all():
    """alpha = 0 at the first level (flow matching, zero terminal SNR) with a prediction that allows it."""
    levels = grids.make(schedules.flow(), 40)
    assert float(levels.alpha[0]) == 0
    x = jax.random.normal(jax.random.key(1), (4000, 1))
    for name in ("ancestral", "ddim", "euler", "heun", "dpmpp_2m", "dpmpp_sde"):
        found = sample(denoisers.gaussian(0.3, 0.5), samplers.make(name), levels, x, KEY)
        assert jnp.isfinite(found).all(), name
        np.testing.assert_allclose([found.mean(), found.std()], [0.3, 0.5**0.5], atol=0.06, err_msg=name)


@pytest.mark.parametrize(
    "call, words",
    [
        (lambda: samplers.make("plms"), "known: ancestral, ddim"),
        (lambda: samplers.ancestral("fixed"), "fixed_small"),
        (lambda: samplers.heun(churn=40.0), "churn=40.0 needs schedule"),
        (lambda: samplers.euler(churn=1), "needs schedule"),
    ],
)
def test_errors_say_what_and_how(call, words):
    with pytest.raises(ValueError, match=words):
        call()


EVERY = {
    **{f"ancestral_{name}": samplers.ancestral(name) for name in process.VARIANCES},
    "ddim": samplers.ddim(),
    "ddim_eta": samplers.ddim(1.0),
    "euler": samplers.euler(),
    "heun": samplers.heun(),
    "churned": samplers.heun(2.0, schedules.cosine()),
    "dpmpp_2m": samplers.dpmpp_2m(),
    "dpmpp_sde": samplers.dpmpp_sde(),
}


@pytest.mark.parametrize("name", EVERY)
@pytest.mark.parametrize("single", [False, True])
def test_a_step_of_no_length_changes_nothing_and_is_not_remembered(name, single):
    """Also where float32 makes the next level the noisier one by a rounding, and where no data is left."""
    levels, x = setting()
    sampler = EVERY[name]
    if single:
        levels, x = jax.tree.map(lambda leaf: leaf.astype(jnp.float32), (levels, x))
    step = jax.jit(lambda x, carry, cur, nxt: sampler.step(curved, x, carry, cur, nxt, KEY))
    _, carry = step(x, sampler.init(x, levels), levels.at(0), levels.at(1))
    for cur in (levels.at(1), NoiseLevel(jnp.zeros_like(x[0, 0]), jnp.ones_like(x[0, 0]), levels.t[0])):
        for factor in (1, 1 + 1e-7):
            nxt = cur._replace(sigma=(cur.sigma * factor).astype(cur.sigma.dtype))
            found, remembered = step(x, carry, cur, nxt)
            np.testing.assert_array_equal(found, x)
            jax.tree.map(np.testing.assert_array_equal, remembered, carry)


@pytest.mark.parametrize("name", ["ddim", "euler", "heun", "dpmpp_2m"])
def test_a_level_twice_in_a_grid_is_as_once(name):
    levels, x = setting()
    twice = jax.tree.map(lambda leaf: leaf[jnp.array([0, 0, 1, 2, 2, 2, 3, 4, 5, 5, 6])], levels)
    found = sample(curved, EVERY[name], twice, x, KEY)
    np.testing.assert_allclose(found, sample(curved, EVERY[name], levels, x, KEY), rtol=1e-10)
