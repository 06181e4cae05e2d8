"""Equality with the official diffusion code of Improved DDPM and ADM, by figures that it gave.

No PyTorch is needed: see `gaussian_diffusion_cases.py` for where the figures come from. They are of float64, and so
is every comparison, at a relative 1e-8 or better, but for those of float32 that say so.
"""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from genjax.diffusion import (
    denoisers,
    grids,
    guidance,
    likelihood,
    loss,
    parameterization,
    process,
    samplers,
    schedules,
    thresholding,
    weighting,
)
from tests.parity import gaussian_diffusion_cases as cases

SCHEDULES = {"linear": schedules.linear_beta, "cosine": schedules.cosine}
FIGURES = cases.load()
KEY = jax.random.key(0)


@pytest.fixture
def dtype(request, monkeypatch):
    """A precision; the one draw of noise in place of every other."""
    with jax.enable_x64(request.param == "float64"):
        noise = jnp.asarray(cases.draw("noise"), request.param)
        monkeypatch.setattr(process, "noise_like", lambda key, x: noise)
        yield request.param


only_float64 = pytest.mark.parametrize("dtype", ["float64"], indirect=True)


def in_float64(names, and_float32):
    """Every case in float64, and those of the second list in float32 too."""
    pairs = [(name, "float64") for name in names] + [(name, "float32") for name in and_float32]
    return pytest.mark.parametrize("name, dtype", pairs, indirect=["dtype"])


def close(found, expected, dtype, loose=1e-5):
    """1e-8 of the greatest figure in float64, `loose` of it in float32."""
    expected = np.asarray(expected)
    assert found.dtype == dtype and found.shape == expected.shape
    tolerance = 1e-8 if dtype == "float64" else loose
    np.testing.assert_allclose(found, expected, rtol=tolerance, atol=tolerance * np.abs(expected).max())


def chain(schedule, steps, spec):
    """The grid of a chain."""
    return grids.respace(SCHEDULES[schedule](steps), spec or steps)


def net(variance, theta=(1.0, 1.0)):
    """The network as ours are called."""

    def call(x, t):
        parts = cases.network(jnp, x, t[:, None, None, None], theta)
        return jnp.concatenate(parts, axis=-1) if variance == "LEARNED_RANGE" else parts[0]

    return call


def denoiser(variance):
    """The network as a denoiser of eps, x0 clipped."""
    made = denoisers.make_denoiser(net(variance), parameterization.eps(), variance == "LEARNED_RANGE")
    return thresholding.static()(made)


@pytest.mark.parametrize("case", cases.CHAINS, ids=cases.chain_name)
def test_tables(case):
    """Kept steps, and each table of the release, entry by entry; 1e-9 in float64."""
    with jax.enable_x64(True):
        levels = chain(*case)
        figures = {name: FIGURES[f"{cases.chain_name(case)}/{name}"] for name in ("timesteps", *cases.TABLES)}
        np.testing.assert_array_equal(levels.t[:-1][::-1], figures["timesteps"])
        kept = cases.stored(len(figures["timesteps"]))
        for name, table in zip(cases.TABLES, tables(levels)):
            np.testing.assert_allclose(table[kept], figures[name], rtol=1e-9, err_msg=name)


@jax.jit
def tables(levels):
    """Our figures in the order of `cases.TABLES`, the least noisy first."""
    upward = levels.at(slice(None, None, -1))
    cur, nxt = upward.at(slice(1, None)), upward.at(slice(None, -1))
    one, zero = jnp.ones_like(cur.alpha), jnp.zeros_like(cur.alpha)
    return (
        process.transition_variance(cur, nxt),
        process.posterior_variance(cur, nxt),
        process.model_log_variance("fixed_small", None, one, cur, nxt, process.variance_floor(levels)),
        process.posterior(one, zero, cur, nxt).mean,
        process.posterior(zero, one, cur, nxt).mean,
    )


def our_losses(case, dtype, theta):
    """(loss [b], parts) of a case."""
    schedule = SCHEDULES[case.schedule](case.steps)
    name = {"EPSILON": "eps", "START_X": "x0"}[case.mean]
    scale = 1000 / case.steps if case.rescale else 1.0
    predicts = parameterization.make(name, noise_scale=scale)
    weight = weighting.make({"eps": "simple"}.get(name, name))
    x0, t = jnp.asarray(cases.clean(), dtype), jnp.asarray(cases.times(case.steps), dtype)
    bound = (net(case.variance, theta), predicts)
    if case.kind.endswith("KL"):
        terms = loss.variational_loss(*bound, schedule, x0, t, KEY, case.variance.lower()).loss
        return (terms if case.kind == "KL" else case.steps * terms), {}
    if case.variance == "LEARNED_RANGE":
        vb_weight = case.steps / 1000 if case.kind == "RESCALED_MSE" else 1.0
        found = loss.hybrid_loss(*bound, weight, schedule, x0, t, KEY, vb_weight)
        return found.loss, {"mse": found.simple, "vb": vb_weight * found.vb}
    found = loss.denoising_loss(*bound, weight, schedule, x0, t, KEY).loss
    return found, {"mse": found}


@in_float64(cases.LOSSES, and_float32=["adm", "iddpm", "x0", "vlb"])
def test_training_losses(name, dtype):
    """Loss of each example, its parts, and its gradient by a factor on the prediction and one on v: what the
    variational term may train, and what it may not. Where the gradient cancels, 1e-4 of it in float32."""

    def total(theta):
        found, parts = our_losses(cases.LOSSES[name], dtype, theta)
        return found.sum(), {"loss": found, **parts}

    gradient, values = jax.jit(jax.grad(total, has_aux=True))(jnp.ones(2, dtype))
    for part, value in values.items():
        close(value, FIGURES[f"losses/{name}/{part}"], dtype)
    close(gradient, FIGURES[f"losses/{name}/gradient"], dtype, loose=1e-4)


@in_float64(cases.BOUNDS, and_float32=["linear//FIXED_LARGE", "cosine/25/LEARNED_RANGE"])
def test_bits_per_dim(name, dtype):
    """Every term of the bound, the prior, the total, and the errors beneath; 1e-4 in float32, for a thousand steps
    each of which hardly changes the noise."""
    schedule, spec, variance = cases.BOUNDS[name]
    x0 = jnp.asarray(cases.clean(), dtype)
    found = likelihood.bits_per_dim(
        denoiser(variance), SCHEDULES[schedule](1000), x0, KEY, variance.lower(), spec or None
    )
    kept = cases.stored(found.vb.shape[1])
    ours = {
        "total_bpd": found.total,
        "prior_bpd": found.prior,
        "vb": found.vb[:, kept],
        "xstart_mse": found.x0_mse[:, kept],
        "mse": found.eps_mse[:, kept],
    }
    for part, value in ours.items():
        close(value, FIGURES[f"bounds/{name}/{part}"], dtype, loose=1e-4)


def walk(sampler, denoise, i, dtype):
    """One step of a sampler from the i-th level, the least noisy first."""
    levels = chain(*cases.STEP_CHAIN)
    x = jnp.asarray(cases.noisy(i), dtype)
    return sampler.step(denoise, x, sampler.init(x, levels), levels.at(-2 - i), levels.at(-1 - i), KEY)[0]


def guided(variance, mode):
    """As the release guides: x0 is clipped first, the gradient acts after."""
    each = (1, 2, 3)

    def log_prob(x, level):
        return jnp.sum(cases.log_prob(jnp, x, level.t[:, None, None, None]), axis=each)

    return guidance.classifier(log_prob, cases.SCALE, mode)(denoiser(variance))


@only_float64
@pytest.mark.parametrize("i", cases.STEPS)
@pytest.mark.parametrize("variance", cases.VARIANCES)
def test_ancestral_step(variance, i, dtype):
    sampler = samplers.ancestral(variance.lower())
    close(walk(sampler, denoiser(variance), i, dtype), FIGURES[f"steps/plain/{variance}/{i}"], dtype)
    shifted = walk(sampler, guided(variance, "mean"), i, dtype)
    close(shifted, FIGURES[f"steps/guided/{variance}/{i}"], dtype)


@only_float64
@pytest.mark.parametrize("i", cases.STEPS)
@pytest.mark.parametrize("eta", cases.ETAS)
def test_ddim_step(eta, i, dtype):
    sampler = samplers.ddim(eta)
    close(walk(sampler, denoiser(""), i, dtype), FIGURES[f"steps/plain/ddim{eta}/{i}"], dtype)
    shifted = walk(sampler, guided("", "score"), i, dtype)
    close(shifted, FIGURES[f"steps/guided/ddim{eta}/{i}"], dtype)


@only_float64
@pytest.mark.parametrize("i", cases.STEPS[:-1])
def test_ddim_step_upward(i, dtype):
    """The same step with its levels exchanged."""
    levels = chain(*cases.STEP_CHAIN)
    x = jnp.asarray(cases.noisy(i), dtype)
    found, _ = samplers.ddim().step(denoiser(""), x, (), levels.at(-2 - i), levels.at(-3 - i), KEY)
    close(found, FIGURES[f"steps/reverse/{i}"], dtype)
