"""Samplers that must agree, and what must not matter."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from genjax.diffusion import grids, process, samplers, schedules, thresholding
from genjax.diffusion.sample import sample
from tests.laws.oracles import SCHEDULES, gaussian, mixture

SAMPLERS = {
    "ancestral_small": lambda schedule: samplers.ancestral("fixed_small"),
    "ancestral_large": lambda schedule: samplers.ancestral("fixed_large"),
    "ddim": lambda schedule: samplers.ddim(),
    "ddim_eta": lambda schedule: samplers.ddim(0.7),
    "euler": lambda schedule: samplers.euler(),
    "heun": lambda schedule: samplers.heun(),
    "heun_churn": lambda schedule: samplers.heun(churn=8.0, schedule=schedule),
    "dpmpp_2m": lambda schedule: samplers.dpmpp_2m(),
    "dpmpp_sde": lambda schedule: samplers.dpmpp_sde(),
}


def run(sampler, levels, key, denoise=None, b=6):
    x_T = process.sample_prior(jax.random.key(9), (b, 2), levels)
    return sample(denoise or gaussian(), sampler, levels, x_T, key)


@pytest.mark.parametrize("name", SCHEDULES)
def test_ancestral_is_ddim_of_eta_one(name):
    levels = grids.make(SCHEDULES[name](), 20)
    key = jax.random.key(4)
    np.testing.assert_allclose(run(samplers.ancestral(), levels, key), run(samplers.ddim(1.0), levels, key), rtol=1e-9)


@pytest.mark.parametrize("name", SCHEDULES)
def test_euler_is_ddim_of_eta_zero(name):
    levels = grids.make(SCHEDULES[name](), 20)
    key = jax.random.key(4)
    np.testing.assert_allclose(run(samplers.euler(), levels, key), run(samplers.ddim(0.0), levels, key), rtol=1e-12)


@pytest.mark.parametrize("pair", [("dpmpp_2m", samplers.ddim(0.0)), ("dpmpp_sde", samplers.ancestral())])
def test_first_multistep_step_is_the_single_step_solver(pair):
    levels = grids.make(schedules.cosine(), 20).at(slice(0, 2))
    key = jax.random.key(4)
    np.testing.assert_allclose(run(samplers.make(pair[0]), levels, key), run(pair[1], levels, key), rtol=1e-10)


@pytest.mark.parametrize("name", SCHEDULES)
@pytest.mark.parametrize("sampler", SAMPLERS)
def test_step_to_clean_data_returns_x0(sampler, name):
    """Also where the estimate was clipped, so that it and eps disagree with the network."""
    schedule = SCHEDULES[name]()
    levels = grids.make(schedule, 5)
    denoise = thresholding.static(-0.3, 0.3)(gaussian())
    x = jax.random.normal(jax.random.key(0), (7, 2))
    made = SAMPLERS[sampler](schedule)
    if sampler == "heun_churn":
        made = samplers.heun(churn=8.0, schedule=schedule, churn_min=1e6)
    cur, nxt = levels.at(-2), levels.at(-1)
    found, _ = made.step(denoise, x, made.init(x, levels), cur, nxt, jax.random.key(1))
    np.testing.assert_allclose(found, denoise(x, cur, jax.random.key(1)).x0, atol=1e-12)


@pytest.mark.parametrize("sampler", SAMPLERS)
def test_examples_do_not_depend_on_their_batch(sampler):
    """With a key an example, any subset in any order gives the same samples."""
    schedule = schedules.cosine()
    levels = grids.make(schedule, 8)
    keys = jax.random.split(jax.random.key(5), 6)
    x_T = process.sample_prior(keys, (6, 2), levels)
    made = SAMPLERS[sampler](schedule)
    whole = sample(gaussian(), made, levels, x_T, keys)
    some = jnp.array([4, 1, 2])
    np.testing.assert_allclose(sample(gaussian(), made, levels, x_T[some], keys[some]), whole[some], rtol=1e-12)
    np.testing.assert_allclose(sample(gaussian(), made, levels, x_T[3:4], keys[3:4]), whole[3:4], rtol=1e-12)


@pytest.mark.parametrize("sampler", SAMPLERS)
def test_a_larger_batch_changes_nothing(sampler):
    """With one key, the first examples of a larger batch are those of a smaller one."""
    schedule = schedules.cosine()
    levels = grids.make(schedule, 8)
    made = SAMPLERS[sampler](schedule)
    key = jax.random.key(5)
    x_T = process.sample_prior(jax.random.key(6), (6, 2), levels)
    whole = sample(mixture_2d(), made, levels, x_T, key)
    np.testing.assert_allclose(sample(mixture_2d(), made, levels, x_T[:4], key), whole[:4], rtol=1e-12)


def mixture_2d():
    """The mixture on each of two dimensions' sum: any denoiser of [b, 2] that isn't affine."""
    one = mixture()

    def denoise(x_t, level, key):
        parts = [one(x_t[:, i : i + 1], level, key) for i in range(2)]
        return jax.tree.map(lambda *leaves: jnp.concatenate(leaves, axis=1), *parts)

    return denoise
