"""The kernel distance is unbiased and finds its closed form."""

import itertools

import numpy as np
import pytest

from genjax.metrics.kid import kernel_distance, polynomial_mmd


def test_unbiased_for_equal_distributions():
    rng = np.random.default_rng(0)
    values = [polynomial_mmd(rng.standard_normal((20, 4)), rng.standard_normal((30, 4))) for _ in range(1000)]
    error = np.std(values) / np.sqrt(len(values))
    assert abs(np.mean(values)) < 4 * error
    assert min(values) < 0 < max(values)


def test_linear_kernel_is_the_squared_distance_of_means():
    # degree 1: MMD^2 = |E x - E y|^2 / d, exactly unbiased
    rng = np.random.default_rng(1)
    values = [
        polynomial_mmd(rng.standard_normal((10, 2)) + 1.0, rng.standard_normal((10, 2)), degree=1) for _ in range(1000)
    ]
    assert np.mean(values) == pytest.approx(1.0, abs=4 * np.std(values) / np.sqrt(len(values)))


def test_equals_the_sum_over_pairs():
    rng = np.random.default_rng(2)
    x, y = rng.standard_normal((5, 3)), rng.standard_normal((4, 3))

    def kernel(a, b):
        return (a @ b / 3 + 1) ** 3

    within = [np.mean([kernel(a, b) for a, b in itertools.permutations(s, 2)]) for s in (x, y)]
    across = np.mean([kernel(a, b) for a in x for b in y])
    assert polynomial_mmd(x, y) == pytest.approx(sum(within) - 2 * across, rel=1e-12)


def test_blocks_agree_with_the_whole():
    rng = np.random.default_rng(3)
    x, y = rng.standard_normal((400, 4)), rng.standard_normal((300, 4)) + 0.5
    blocks = kernel_distance(x, y, block_size=100, num_blocks=100, seed=0)
    assert blocks == kernel_distance(x, y, block_size=100, num_blocks=100, seed=0)
    assert abs(blocks.mean - polynomial_mmd(x, y)) < 4 * blocks.standard_error
    # The smaller set bounds the block; blocks of everything are all alike.
    whole = kernel_distance(x[:300], y, num_blocks=3)
    assert whole.mean == pytest.approx(polynomial_mmd(x[:300], y), rel=1e-9)
    assert kernel_distance(x, y, block_size=10, num_blocks=1).standard_error == 0.0


def test_mean_and_error_are_of_the_blocks():
    """Blocks of the same draws by hand: without replacement, of the size that is requested."""
    x, y = np.random.default_rng(3).normal(size=(2, 40, 3))
    rng, blocks = np.random.default_rng(7), []
    for _ in range(5):
        first, second = (rng.choice(40, 11, replace=False) for _ in range(2))
        blocks.append(polynomial_mmd(x[first], y[second]))
    found = kernel_distance(x, y, block_size=11, num_blocks=5, seed=7)
    assert found == pytest.approx((np.mean(blocks), np.std(blocks, ddof=1) / np.sqrt(5)), rel=1e-10)


def test_too_few_features():
    with pytest.raises(ValueError, match="at least 2"):
        polynomial_mmd(np.zeros((1, 2)), np.zeros((5, 2)))
