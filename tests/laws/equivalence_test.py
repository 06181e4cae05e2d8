"""Samplers that must agree, and what must not matter."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from genjax.diffusion import grids, process, samplers, schedules, thresholding
from genjax.diffusion.sample import sample
from tests.laws.oracles import SCHEDULES, all_grids, gaussian, mixture

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


STOCHASTIC = ("ancestral_small", "heun_churn", "dpmpp_sde")
"""Run by default where it is draws that could depend on the batch."""
SOME = [pytest.param(name, marks=[] if name in STOCHASTIC else pytest.mark.slow) for name in SAMPLERS]


def run(sampler, levels, key, denoise=None, b=6):
    x_T = process.sample_prior(jax.random.key(9), (b, 2), levels)
    return sample(denoise or gaussian(), sampler, levels, x_T, key)


def on_every_grid(sampler):
    """Samples on a grid of each schedule, [schedules, b, 2], in one program."""
    return jax.jit(jax.vmap(lambda levels: run(sampler, levels, jax.random.key(4))))(all_grids(20))


def test_ancestral_is_ddim_of_eta_one():
    np.testing.assert_allclose(on_every_grid(samplers.ancestral()), on_every_grid(samplers.ddim(1.0)), rtol=1e-9)


def test_euler_is_ddim_of_eta_zero():
    np.testing.assert_allclose(on_every_grid(samplers.euler()), on_every_grid(samplers.ddim(0.0)), rtol=1e-12)


@pytest.mark.parametrize("pair", [("dpmpp_2m", samplers.ddim(0.0)), ("dpmpp_sde", samplers.ancestral())])
def test_first_multistep_step_is_the_single_step_solver(pair):
    levels = grids.make(schedules.cosine(), 20).at(slice(0, 2))
    key = jax.random.key(4)
    np.testing.assert_allclose(run(samplers.make(pair[0]), levels, key), run(pair[1], levels, key), rtol=1e-10)


@pytest.mark.parametrize("sampler", SAMPLERS)
def test_step_to_clean_data_returns_x0(sampler):
    """Also where the estimate was clipped, so that it and eps disagree with the network; of every schedule."""
    denoise, key = thresholding.static(-0.3, 0.3)(gaussian()), jax.random.key(1)
    x = jnp.asarray(np.random.default_rng(0).standard_normal((7, 2)))

    def both(made, levels):
        cur, nxt = levels.at(-2), levels.at(-1)
        return made.step(denoise, x, made.init(x, levels), cur, nxt, key)[0], denoise(x, cur, key).x0

    def stacked(levels):
        if sampler != "heun_churn":
            return jax.vmap(functools.partial(both, SAMPLERS[sampler](None)))(levels)
        churned = [samplers.heun(churn=8.0, schedule=make(), churn_min=1e6) for make in SCHEDULES.values()]
        pairs = [both(made, levels.at(index)) for index, made in enumerate(churned)]
        return [jnp.stack(parts) for parts in zip(*pairs)]

    for name, found, wanted in zip(SCHEDULES, *jax.jit(stacked)(all_grids(5)), strict=True):
        np.testing.assert_allclose(found, wanted, atol=1e-12, err_msg=name)


@pytest.mark.parametrize("sampler", SOME)
def test_examples_do_not_depend_on_their_batch(sampler):
    """With a key an example, any subset in any order gives the same samples."""
    schedule = schedules.cosine()
    levels = grids.make(schedule, 8)
    keys = jax.random.split(jax.random.key(5), 6)
    x_T = process.sample_prior(keys, (6, 2), levels)
    made = SAMPLERS[sampler](schedule)

    @jax.jit
    def draw(x_T, keys):
        some = jnp.array([4, 1, 2])
        parts = (slice(None), some, slice(3, 4))
        return [sample(gaussian(), made, levels, x_T[part], keys[part]) for part in parts]

    whole, some, one = draw(x_T, keys)
    np.testing.assert_allclose(some, whole[jnp.array([4, 1, 2])], rtol=1e-12)
    np.testing.assert_allclose(one, whole[3:4], rtol=1e-12)


@pytest.mark.parametrize("sampler", SOME)
def test_a_larger_batch_changes_nothing(sampler):
    """With one key, the first examples of a larger batch are those of a smaller one."""
    schedule = schedules.cosine()
    levels = grids.make(schedule, 8)
    made = SAMPLERS[sampler](schedule)
    key = jax.random.key(5)
    x_T = process.sample_prior(jax.random.key(6), (6, 2), levels)
    draw = jax.jit(lambda x_T: [sample(mixture_2d(), made, levels, some, key) for some in (x_T, x_T[:4])])
    whole, first = draw(x_T)
    np.testing.assert_allclose(first, whole[:4], rtol=1e-12)


def mixture_2d():
    """The mixture on each of two dimensions' sum: any denoiser of [b, 2] that isn't affine."""
    one = mixture()

    def denoise(x_t, level, key):
        parts = [one(x_t[:, i : i + 1], level, key) for i in range(2)]
        return jax.tree.map(lambda *leaves: jnp.concatenate(leaves, axis=1), *parts)

    return denoise
