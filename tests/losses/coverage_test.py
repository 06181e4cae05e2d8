"""Mode coverage: its expectation of two samples of one distribution, and what collapse makes of it."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from genjax.losses.coverage import mode_coverage

KEY = jax.random.key(0)


@pytest.mark.parametrize(("count", "k"), [(16, 1), (32, 3), (64, 5)])
def test_expectation_of_the_same_distribution(count, k):
    """1 - (n-1)...(n-k) / ((2n-1)...(2n-k)), whatever the distribution (arXiv:2002.09797, equation 9)."""
    real, fake = jax.random.normal(KEY, (2, 400, count, 3, 1))
    values = jax.vmap(lambda a, b: mode_coverage(a, b, k))(real, fake)
    steps = np.arange(1, k + 1)
    expected = 1 - np.prod((count - steps) / (2 * count - steps))
    np.testing.assert_allclose(values.mean(), expected, atol=0.01)


def test_collapse_shows():
    real = jnp.repeat(jnp.arange(4.0), 8)[:, None] * 10 + jax.random.normal(KEY, (32, 1)) * 0.1
    one_mode = jax.random.normal(KEY, (32, 1)) * 0.1
    covered = mode_coverage(real, one_mode)
    np.testing.assert_array_equal(covered[8:], 0.0)
    assert covered[:8].mean() > 0.8
    np.testing.assert_array_equal(mode_coverage(real, real), 1.0)


def test_few_examples():
    real = jnp.array([[0.0], [1.0], [4.0]])
    np.testing.assert_array_equal(mode_coverage(real, jnp.array([[4.5]])), [0, 0, 1])
    np.testing.assert_array_equal(mode_coverage(real, jnp.array([[3.5]])), 1.0)


def test_only_those_present_are_neighbours_or_cover():
    """As of those alone, and not as of all: pads are nobody's neighbours, and what was drawn for them covers nobody."""
    real, fake = jax.random.normal(KEY, (2, 16, 2))
    present = jnp.arange(16) % 3 != 1
    alone = mode_coverage(real[present], fake[present], k=1)
    np.testing.assert_array_equal(mode_coverage(real, fake, 1, present)[present], alone)
    assert (mode_coverage(real, fake, 1)[present] != alone).any()
