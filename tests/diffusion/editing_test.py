"""What editing refuses, and frames for outpainting; its laws are in tests/laws."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from genjax.diffusion import denoisers, editing, grids, samplers, schedules


def test_a_gradient_for_the_mean_is_silenced_where_data_is_known():
    def guided(x_t, level, key):
        return denoisers.gaussian(0.0, 1.0)(x_t, level, key)._replace(mean_grad=jnp.ones_like(x_t))

    denoise = editing.replace_known(jnp.full((2, 2), 0.5), jnp.array([1.0, 0.0]))(guided)
    found = denoise(jnp.ones((2, 2)), schedules.cosine()(500.0), jax.random.key(0))
    np.testing.assert_array_equal(found.mean_grad, [[0, 1], [0, 1]])
    np.testing.assert_array_equal(found.x0[:, 0], 0.5)


def test_extend_frames_moves_and_crops():
    image = jnp.arange(1.0, 9.0).reshape(1, 2, 4, 1)
    known, mask = editing.extend(image, top=1, right=2)
    assert known.shape == (1, 3, 6, 1) and mask.shape == (1, 3, 6, 1)
    np.testing.assert_array_equal(known[:, 1:, :4], image)
    np.testing.assert_array_equal(mask[0, :, :, 0], [[0] * 6, [1] * 4 + [0] * 2, [1] * 4 + [0] * 2])
    known, mask = editing.extend(image, left=-3, right=3)
    np.testing.assert_array_equal(known[0, :, :, 0], [[4, 0, 0, 0], [8, 0, 0, 0]])
    np.testing.assert_array_equal(mask[0, :, :, 0], [[1, 0, 0, 0]] * 2)
    with pytest.raises(ValueError, match="leaves nothing of 4"):
        editing.extend(image, left=-3, right=-1)


@pytest.mark.parametrize("strength, steps", [(1.0, 10), (0.5, 5), (0.01, 1), (0.37, 4)])
def test_tail_is_the_end_of_the_grid(strength, steps):
    levels = grids.respace(schedules.cosine(), 10)
    np.testing.assert_array_equal(editing.tail(levels, strength).t, levels.t[-steps - 1 :])


def test_what_is_refused():
    levels = grids.respace(schedules.cosine(), 10)
    for strength in (0.0, 1.2):
        with pytest.raises(ValueError, match=r"strength=.* must be in \(0, 1\]"):
            editing.tail(levels, strength)
    for jump in (0, 10):
        with pytest.raises(ValueError, match=f"jump={jump} must be at least 1 and less than the grid's 10"):
            editing.resampling_walk(levels, jump=jump)
    with pytest.raises(ValueError, match="resamples=0"):
        editing.resampling_walk(levels, jump=2, resamples=0)


def test_climbs_of_repaint_are_as_long_as_a_25th_of_the_grid():
    levels = grids.respace(schedules.cosine(), 75)
    given = {"known": jnp.ones((2, 3)), "mask": jnp.array([1.0, 0.0, 0.0])}
    _, walk = editing.keep_known(samplers.ddim(), levels, **given, resamples=3)
    moves, counts = np.unique(np.diff(walk.order), return_counts=True)
    assert list(moves) == [-2, 1] and counts[0] == 24 * 2, "72 steps are gone back over, 3 at a time, twice each"
    sampler = samplers.ddim()
    assert editing.keep_known(sampler, levels, resamples=3) == (sampler, levels)
    assert editing.keep_known(sampler, levels, **given, resamples=1)[1] is levels


def test_a_multistep_sampler_forgets_where_a_walk_climbs():
    """Its last estimate is of another way down."""
    seen = []
    counting = samplers.Sampler(
        lambda x_T, levels: jnp.zeros(()),
        lambda denoise, x, count, cur, nxt, key: (seen.append(int(count)) or x, count + 1),
    )
    levels = grids.respace(schedules.cosine(), 5)
    sampler, walk = editing.keep_known(counting, levels, jnp.ones((2, 3)), jnp.array([1.0, 0.0, 0.0]), resamples=2)
    state, x = sampler.init(jnp.zeros((2, 3)), levels), jnp.zeros((2, 3))
    for step in walk.order:
        x, state = sampler.step(None, x, state, levels.at(step), levels.at(step + 1), jax.random.key(int(step)))
    climbed = np.diff(walk.order, prepend=-1) < 1
    wanted, count = [], 0
    for climb in climbed:
        count = 0 if climb else count
        wanted.append(count)
        count += 1
    assert seen == wanted and 1 in seen and climbed.sum() == 4
