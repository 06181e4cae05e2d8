"""Blockwise masking against BEiT's own loop in numpy, and the loss of what is hidden alone."""

import math
import random

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from genjax.losses import masked

COUNT = 4_000
SETTINGS = {"paper": ((14, 14), 75, 16), "small": ((8, 6), 19, 4)}


def by_the_loop(grid, num_masked, min_block, draw):
    """Algorithm 1 with the release's limits: (mask, [(height, width) of each block that was taken])."""
    mask, shapes = np.zeros(grid, bool), []
    while (left := num_masked - mask.sum()) > 0:
        for _ in range(10):
            area, aspect = draw.uniform(min_block, left), math.exp(draw.uniform(math.log(0.3), -math.log(0.3)))
            height, width = round(math.sqrt(area * aspect)), round(math.sqrt(area / aspect))
            if height < grid[0] and width < grid[1]:
                top, first = draw.randint(0, grid[0] - height), draw.randint(0, grid[1] - width)
                block = mask[top : top + height, first : first + width]
                if 0 < block.size - block.sum() <= left:
                    block[:] = True
                    shapes.append((height, width))
                    break
        else:
            break
    return mask, shapes


@pytest.fixture(scope="module", params=SETTINGS)
def masks(request):
    """(settings, masks of the loop, ours)."""
    grid, num_masked, min_block = SETTINGS[request.param]
    draw = random.Random(0)
    loop = np.array([by_the_loop(grid, num_masked, min_block, draw)[0] for _ in range(COUNT)])
    draw_masks = jax.jit(jax.vmap(lambda key: masked.blockwise_mask(key, grid, num_masked, min_block)))
    return SETTINGS[request.param], loop, np.asarray(draw_masks(jax.random.split(jax.random.key(0), COUNT)))


def test_counts_are_those_of_the_loop(masks):
    (_, num_masked, _), loop, ours = masks
    counts = [found.sum(axis=(1, 2)) for found in (loop, ours)]
    assert counts[1].max() == num_masked and counts[1].min() > 0.7 * num_masked
    for most in range(num_masked - 5, num_masked):
        shares = [np.mean(count <= most) for count in counts]
        assert shares[0] == pytest.approx(shares[1], abs=4 * math.sqrt(0.5 / COUNT))
    assert abs(np.diff([count.mean() for count in counts])[0]) < 4 * counts[0].std() * math.sqrt(2 / COUNT)


def test_places_and_neighbours_are_those_of_the_loop(masks):
    """How often each patch is hidden, and how often together with one that is some rows and columns away."""
    _, loop, ours = masks
    limit = 5 * math.sqrt(0.5 / COUNT)
    assert np.abs(loop.mean(0) - ours.mean(0)).max() < limit
    for down, right in ((0, 1), (1, 0), (2, 2), (0, 4), (4, 0)):
        both = [
            np.mean(found[:, down:, right:] & found[:, : found.shape[1] - down, : found.shape[2] - right], axis=0)
            for found in (loop, ours)
        ]
        assert np.abs(both[0] - both[1]).max() < limit


def test_first_blocks_have_the_shapes_of_the_loop():
    grid, draw = (14, 14), random.Random(1)
    theirs = np.array([by_the_loop(grid, 75, 16, draw)[1][0] for _ in range(COUNT)])
    one = jax.jit(jax.vmap(lambda key: first_block(key, grid)))
    ours = np.asarray(one(jax.random.split(jax.random.key(1), COUNT)))
    for axis in (0, 1):
        shares = [np.bincount(found[:, axis], minlength=15)[:15] / COUNT for found in (theirs, ours)]
        assert np.abs(shares[0] - shares[1]).max() < 5 * math.sqrt(0.3 / COUNT)
    np.testing.assert_allclose(theirs.prod(1).mean(), ours.prod(1).mean(), rtol=0.04)
    aspects = [np.log(found[:, 0] / found[:, 1]) for found in (theirs, ours)]
    assert np.abs(aspects[1]).max() < math.log(1 / 0.3) + 0.35  # both sides are rounded
    np.testing.assert_allclose(aspects[0].std(), aspects[1].std(), rtol=0.05)


def first_block(key, grid):
    """(height, width) of the first block: the loop is stopped when one is taken."""
    whole_loop = jax.lax.while_loop

    def stop_after_one(going_on, attempt, start):
        return whole_loop(lambda state: going_on(state) & ~state[0].any(), attempt, start)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(jax.lax, "while_loop", stop_after_one)
        mask = masked.blockwise_mask(key, grid, 75, 16)
    return jnp.array([mask.any(1).sum(), mask.any(0).sum()])


def test_a_mask_is_its_keys_alone():
    draw = jax.jit(lambda key: masked.blockwise_mask(key, (14, 14), 75))
    first, again, other = (np.asarray(draw(jax.random.key(seed))) for seed in (0, 0, 1))
    np.testing.assert_array_equal(first, again)
    assert first.dtype == bool and (first != other).any()
    together = jax.vmap(draw)(jnp.stack([jax.random.key(1), jax.random.key(0)]))
    np.testing.assert_array_equal(together, [other, first])


def test_only_hidden_positions_count():
    noise = np.random.default_rng(0)
    logits, targets = noise.normal(size=(2, 3, 2, 5)).astype(np.float32), noise.integers(0, 5, (2, 3, 2))
    mask = noise.random((2, 3, 2)) < 0.5
    chances = np.exp(logits) / np.exp(logits).sum(-1, keepdims=True)
    nats = -np.log(np.take_along_axis(chances, targets[..., None], -1))[..., 0]
    found = masked.masked_cross_entropy(*map(jnp.asarray, (logits, targets, mask)))
    np.testing.assert_allclose(found, (nats * mask).sum((1, 2)), rtol=1e-5)
    gradient = jax.grad(lambda x: masked.masked_cross_entropy(x, jnp.asarray(targets), jnp.asarray(mask)).sum())(
        jnp.asarray(logits)
    )
    assert (np.abs(gradient).sum(-1) > 0).tolist() == mask.tolist()


@pytest.mark.parametrize(("grid", "num_masked", "min_block"), [((4, 4), 1, 1), ((3, 9), 2, 2), ((14, 14), 16, 16)])
def test_at_least_one_patch_is_hidden(grid, num_masked, min_block):
    masked.check(grid, num_masked, min_block, 0.3)
    draw = jax.jit(jax.vmap(lambda key: masked.blockwise_mask(key, grid, num_masked, min_block)))
    masks = np.asarray(draw(jax.random.split(jax.random.key(0), COUNT)))
    counts = masks.sum(axis=(1, 2))
    assert 1 <= counts.min() and counts.max() <= num_masked
    assert masks.mean(0).min() > 0


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        (((14, 14), 6, 16, 0.3), "min_block=16 .*num_masked=6"),
        (((4, 4), 15, 12, 0.3), "min_block=12 .* 4x4"),
        (((4, 4), 0, 1, 0.3), "num_masked=0"),
        (((4, 4), 16, 1, 0.3), "num_masked=16"),
        (((4, 4), 8, 0, 0.3), "min_block=0"),
        (((4, 4), 8, 2, 0.0), "min_aspect=0.0"),
        (((4, 4), 8, 2, 1.5), "min_aspect=1.5"),
        (((4, 4), 8, 2, float("nan")), "min_aspect=nan"),
        (((1, 9), 4, 1, 0.3), "1x9"),
    ],
)
def test_masks_that_hide_nothing_are_refused(settings, words):
    with pytest.raises(ValueError, match=words):
        masked.check(*settings)
