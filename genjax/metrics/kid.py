"""Kernel Inception Distance: the squared maximum mean discrepancy of two sets of features.

Binkowski et al., "Demystifying MMD GANs", arXiv 1801.01401, section 4: with the cubic kernel
`k(x, y) = (x.y / d + 1)^3`, the U-statistic

    MMD^2 = mean_{i != j} k(x_i, x_j) + mean_{i != j} k(y_i, y_j) - 2 mean_{i, j} k(x_i, y_j)

is an unbiased estimate: its expectation doesn't depend on the counts and is 0 for equal distributions, where
the Fréchet distance is biased. Single values may so be negative, and stratified samples, which aren't
independent, bias it below 0. The published protocol averages it over random blocks, which also bounds the
memory and gives an error of the mean.
"""

import math
from typing import NamedTuple

import numpy as np

from genjax.typing import Array, Float

Features = Float[np.ndarray, "n d"] | Float[Array, "n d"]


class KernelDistance(NamedTuple):
    """Mean of the block estimates, and the standard error of that mean over blocks."""

    mean: float
    standard_error: float


def polynomial_mmd(
    x: Features,
    y: Float[np.ndarray, "m d"] | Float[Array, "m d"],
    degree: int = 3,
) -> float:
    """Unbiased estimate of MMD^2 with the kernel `(x.y / d + 1)^degree`; may be negative.

    Memory is quadratic in the counts: use `kernel_distance` for more than a few thousand features.

    Raises:
        ValueError: for fewer than two features in either set.
    """
    x, y = np.asarray(x, np.float64), np.asarray(y, np.float64)
    if min(len(x), len(y)) < 2:
        raise ValueError(f"MMD needs at least 2 features in each set, not {len(x)} and {len(y)}")

    def kernel(a, b):
        return (a @ b.T / a.shape[1] + 1.0) ** degree

    def mean_off_diagonal(gram):
        return (gram.sum() - np.trace(gram)) / (len(gram) * (len(gram) - 1))

    cross = kernel(x, y).mean()
    return float(mean_off_diagonal(kernel(x, x)) + mean_off_diagonal(kernel(y, y)) - 2.0 * cross)


def kernel_distance(
    x: Features,
    y: Float[np.ndarray, "m d"] | Float[Array, "m d"],
    block_size: int = 1000,
    num_blocks: int = 100,
    seed: int = 0,
) -> KernelDistance:
    """Mean of `polynomial_mmd` over random blocks, each drawn without replacement (arXiv 1801.01401).

    Args:
        x, y: two sets of features.
        block_size: features of each set in a block; the smaller set's count where that is less.
        num_blocks: number of blocks.
        seed: of the blocks.
    """
    x, y = np.asarray(x, np.float64), np.asarray(y, np.float64)
    size = min(block_size, len(x), len(y))
    rng = np.random.default_rng(seed)
    blocks = [
        polynomial_mmd(x[rng.choice(len(x), size, replace=False)], y[rng.choice(len(y), size, replace=False)])
        for _ in range(num_blocks)
    ]
    spread = np.std(blocks, ddof=1) if num_blocks > 1 else 0.0
    return KernelDistance(float(np.mean(blocks)), float(spread / math.sqrt(num_blocks)))
