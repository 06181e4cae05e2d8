"""Masked prediction: which patches of an image are hidden, and the loss at them alone (BEiT, arXiv:2106.08254).

**Blockwise masking** (algorithm 1, as released). Blocks are hidden one after the other, each with

    area ~ U(min_block, left),   left = num_masked - number of hidden patches        (between the two, if left is less)
    log aspect ~ U(log min_aspect, -log min_aspect)
    height = round(sqrt(area * aspect)),   width = round(sqrt(area / aspect)),   at a uniform place

A block is taken if it is smaller than the grid on both sides and hides at least one and at most `left` new patches. It
ends when `num_masked` are hidden, or after `ATTEMPTS` blocks in a row that weren't taken: then fewer are. Where not a
single block was taken, one patch is hidden, at a uniform place: without any there is nothing to predict.

Deviation: the paper's algorithm draws the aspect itself uniformly, takes every block, and ends beyond 40%; the
release's stays below `num_masked`, 75 of 196 patches, and this one with it.
"""

import math

import jax
import jax.numpy as jnp

from genjax.core import rng
from genjax.typing import Array, Bool, Float, Int, Key, PerExample

ATTEMPTS = 10
"""Blocks in a row that may fail before it ends."""


def check(grid: tuple[int, int], num_masked: int, min_block: int, min_aspect: float) -> None:
    """Refuse settings of `blockwise_mask` by which hardly a block fits.

    Raises:
        ValueError: naming the setting.
    """
    size = f"{grid[0]}x{grid[1]} patches"
    if min(grid) < 2:
        raise ValueError(f"a grid of {size} has no room for blocks that are smaller than it on both sides")
    if not 0 < num_masked < grid[0] * grid[1]:
        raise ValueError(f"num_masked={num_masked} of {size} must be at least 1 and leave some")
    if not 0 < min_aspect <= 1:
        raise ValueError(f"min_aspect={min_aspect} must be more than 0 and at most 1")
    if not 1 <= min_block <= num_masked:
        raise ValueError(f"min_block={min_block} must be at least 1 and at most num_masked={num_masked}")
    if min_block > (grid[0] - 1) * (grid[1] - 1):
        raise ValueError(f"min_block={min_block} is more than the largest block of {size}, one less on both sides")


def blockwise_mask(
    key: Key, grid: tuple[int, int], num_masked: int, min_block: int = 16, min_aspect: float = 0.3
) -> Bool[Array, "h w"]:
    """Which patches are hidden: true at about `num_masked`, never more.

    Args:
        key: of this image.
        grid: rows and columns of patches.
        num_masked: the most that are hidden.
        min_block: area of the smallest block, in patches.
        min_aspect: least height over width of a block; the greatest is its inverse.
    """
    rows, columns = jnp.arange(grid[0])[:, None], jnp.arange(grid[1])[None, :]
    widest = -math.log(min_aspect)

    def going_on(state):
        mask, failed, _ = state
        return (failed < ATTEMPTS) & (jnp.sum(mask) < num_masked)

    def attempt(state):
        mask, failed, number = state
        area, aspect, top, left = jax.random.uniform(rng.stream(key, "block", number), (4,))
        remaining = num_masked - jnp.sum(mask)
        area = min_block + area * (remaining - min_block)
        aspect = jnp.exp(widest * (2 * aspect - 1))
        height, width = jnp.round(jnp.sqrt(area * aspect)), jnp.round(jnp.sqrt(area / aspect))
        top, left = jnp.floor(top * (grid[0] - height + 1)), jnp.floor(left * (grid[1] - width + 1))
        block = (rows >= top) & (rows < top + height) & (columns >= left) & (columns < left + width)
        new = jnp.sum(block & ~mask)
        taken = (height < grid[0]) & (width < grid[1]) & (new > 0) & (new <= remaining)
        return mask | (block & taken), jnp.where(taken, 0, failed + 1), number + 1

    mask = jax.lax.while_loop(going_on, attempt, (jnp.zeros(grid, bool), jnp.int32(0), jnp.int32(0)))[0]
    alone = jax.random.randint(rng.stream(key, "alone"), (), 0, mask.size)
    return mask | (~jnp.any(mask) & (jnp.arange(mask.size).reshape(grid) == alone))


def masked_cross_entropy(
    logits: Float[Array, "b *s k"], targets: Int[Array, "b *s"], mask: Bool[Array, "b *s"]
) -> PerExample:
    """The sum over hidden positions of -log p(target), in nats; the others don't count (eq. 2)."""
    nats = -jnp.take_along_axis(jax.nn.log_softmax(logits), targets[..., None], axis=-1)[..., 0]
    return jnp.sum(jnp.where(mask, nats, 0.0).reshape(mask.shape[0], -1), axis=1)
