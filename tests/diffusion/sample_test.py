"""The sampling loop: trajectories, dtypes, keys."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from genjax.diffusion import denoisers, grids, process, samplers, schedules
from genjax.diffusion.sample import sample

KEY = jax.random.key(0)
LEVELS = grids.respace(schedules.cosine(), "7")
DENOISE = denoisers.gaussian(0.2, 0.3)


@pytest.mark.parametrize("name", ["ancestral", "ddim", "heun", "dpmpp_2m", "dpmpp_sde"])
def test_trajectory(name):
    x_T = process.sample_prior(KEY, (3, 4, 4, 1), LEVELS)
    alone = sample(DENOISE, samplers.make(name), LEVELS, x_T, KEY)
    x0, path = sample(DENOISE, samplers.make(name), LEVELS, x_T, KEY, trajectory=True)
    np.testing.assert_allclose(x0, alone, rtol=1e-6)
    assert path.x_t.shape == path.x0.shape == (7, 3, 4, 4, 1)
    np.testing.assert_array_equal(path.x_t[-1], x0)
    np.testing.assert_allclose(path.x0[0], DENOISE(x_T, LEVELS.at(0), KEY).x0, rtol=1e-5)
    np.testing.assert_allclose(path.x0[3], DENOISE(path.x_t[2], LEVELS.at(3), KEY).x0, rtol=1e-4, atol=1e-6)


def test_the_network_sees_original_timesteps_and_never_clean_data():
    seen = []

    def denoise(x_t, level, key):
        jax.debug.callback(lambda t: seen.append(float(t)), level.t, ordered=True)
        return DENOISE(x_t, level, key)

    jax.block_until_ready(sample(denoise, samplers.ddim(), grids.respace(schedules.cosine(), "ddim25"),
                                 jnp.ones((1, 1)), KEY))  # fmt: skip
    jax.effects_barrier()
    assert seen == list(range(960, -1, -40))


def test_heun_denoises_twice_but_on_the_last_step():
    seen = []

    def denoise(x_t, level, key):
        jax.debug.callback(lambda t: seen.append(float(t)), level.t)
        return DENOISE(x_t, level, key)

    jax.block_until_ready(sample(denoise, samplers.heun(), LEVELS, jnp.ones((1, 1)), KEY))
    jax.effects_barrier()
    assert len(seen) == 13 and min(seen) == 0.0


def test_seeds_differ_and_repeat():
    x_T = jnp.ones((2, 3))
    runs = [sample(DENOISE, samplers.ancestral(), LEVELS, x_T, jax.random.key(i)) for i in (0, 0, 1)]
    np.testing.assert_array_equal(runs[0], runs[1])
    assert not np.allclose(runs[0], runs[2])


def test_raw_keys_work_too():
    x_T = jnp.ones((2, 3))
    raw = jax.random.PRNGKey(0)
    np.testing.assert_array_equal(
        sample(DENOISE, samplers.ancestral(), LEVELS, x_T, raw),
        sample(DENOISE, samplers.ancestral(), LEVELS, x_T, jax.random.wrap_key_data(raw)),
    )


def test_part_of_a_grid_starts_anywhere():
    """Editing: noise to a middle level, walk down from there."""
    half = LEVELS.at(slice(3, None))
    x0 = jnp.full((2000, 1), 0.2)
    x_t = process.diffuse(x0, jax.random.normal(KEY, x0.shape), half.at(0))
    found = sample(DENOISE, samplers.ddim(), half, x_t, KEY)
    assert abs(float(found.mean()) - 0.2) < 0.05


def test_float32_stays_float32():
    assert sample(DENOISE, samplers.heun(), LEVELS, jnp.ones((2, 3)), KEY).dtype == jnp.float32
