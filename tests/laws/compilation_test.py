"""One compilation for all values: seed, guidance scale, interval, eta, churn and the numbers of a schedule
are traced."""

import chex
import jax
import jax.numpy as jnp
import pytest

from genjax.diffusion import (
    grids,
    guidance,
    loss,
    parameterization,
    process,
    samplers,
    schedules,
    thresholding,
    time_samplers,
    weighting,
)
from genjax.diffusion.sample import sample
from tests.laws.oracles import gaussian


def sampler_of(name, schedule, value):
    """A sampler with one of its numbers traced."""
    return {
        "ancestral": lambda: samplers.ancestral(),
        "ddim": lambda: samplers.ddim(value),
        "heun": lambda: samplers.heun(churn=value, schedule=schedule),
        "euler": lambda: samplers.euler(churn=value, schedule=schedule),
        "dpmpp_2m": lambda: samplers.dpmpp_2m(max_slope=value),
        "dpmpp_sde": lambda: samplers.dpmpp_sde(max_slope=value),
    }[name]()


@pytest.mark.parametrize("name", ["ancestral", "ddim", "euler", "heun", "dpmpp_2m", "dpmpp_sde"])
def test_sampling_compiles_once(name):
    chex.clear_trace_counter()

    @jax.jit
    @chex.assert_max_traces(n=1)
    def draw(schedule, scale, low, cap, value, key):
        levels = grids.respace(schedule, "10")
        guide = guidance.classifier_free(scale, interval=(low, 50.0), rescale=0.5)
        denoise = thresholding.dynamic(0.9, cap)(guide(gaussian()))
        return sample(denoise, sampler_of(name, schedule, value), levels, jnp.ones((4, 2)), key)

    results = [
        draw(schedules.linear_beta(100), 1.0, 0.1, 2.0, 0.5, jax.random.key(0)),
        draw(schedules.linear_beta(100), 3.0, 0.2, 1.7, 0.9, jax.random.key(1)),
        draw(schedules.cosine(100), 2.0, 0.0, 1.0, 0.1, jax.random.key(2)),
        draw(schedules.linear_beta(100, beta_end=0.05), 2.0, 0.0, 1.0, 0.1, jax.random.key(2)),
    ]
    assert len({float(x.sum()) for x in results}) == 4


def test_training_compiles_once():
    chex.clear_trace_counter()

    @jax.jit
    @chex.assert_max_traces(n=1)
    def train_loss(schedule, gamma, history, key):
        times = time_samplers.loss_aware(schedule)
        t, weight = times(key, 8, history)
        x0 = jax.random.normal(key, (8, 3))
        losses = loss.denoising_loss(
            lambda x, c: 0.1 * x, parameterization.v(), weighting.min_snr(gamma), schedule, x0, t, key
        ).loss
        return jnp.mean(weight * losses), times.update(history, t, losses)

    history = time_samplers.loss_aware(schedules.cosine(50)).init()
    for seed, schedule in enumerate([schedules.cosine(50), schedules.linear_beta(50), schedules.cosine(50, s=0.02)]):
        _, history = train_loss(schedule, 5.0 + seed, history, jax.random.key(seed))
    assert int(history.counts.sum()) == 24


@pytest.mark.parametrize("make", [schedules.continuous_cosine, schedules.variance_exploding, schedules.edm])
def test_continuous_schedules_are_arguments_too(make):
    chex.clear_trace_counter()

    @jax.jit
    @chex.assert_max_traces(n=1)
    def draw(schedule, key):
        levels = grids.karras(schedule, 6)
        return sample(gaussian(), samplers.heun(), levels, process.sample_prior(key, (3, 1), levels), key)

    fields = make()._fields
    ends = {
        "logsnr_min": (-10.0, -9.0),
        "logsnr_max": (9.0, 8.0),
        "sigma_min": (0.01, 0.02),
        "sigma_max": (20.0, 30.0),
    }
    first, second = (draw(make(**{name: ends[name][i] for name in fields}), jax.random.key(0)) for i in (0, 1))
    assert not jnp.array_equal(first, second)


def test_sampling_is_one_scan():
    """The program's length doesn't grow with the number of steps, and the denoiser is traced once a call of
    it."""
    calls = []

    def denoise(x_t, level, key):
        calls.append(1)
        return gaussian()(x_t, level, key)

    def program(num_steps):
        levels = grids.respace(schedules.cosine(), num_steps)
        return jax.make_jaxpr(lambda x: sample(denoise, samplers.ddim(), levels, x, jax.random.key(0)))(
            jnp.ones((2, 1))
        )

    short, long = program(5), program(500)
    assert len(calls) == 2
    assert sum(equation.primitive.name == "scan" for equation in long.eqns) == 1
    assert len(short.eqns) == len(long.eqns)
