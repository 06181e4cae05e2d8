"""Novelty: 0 for copies, about 1 for real images, more for noise."""

import numpy as np
import pytest

from genjax.metrics.novelty import novelty


def test_copies_real_and_noise(digits):
    train, held_out = digits[0][0], digits[1][0]
    half, other = held_out[::2], held_out[1::2]
    assert novelty(train[:50], train, held_out) == 0.0
    assert novelty(held_out, train, held_out) == 1.0
    assert novelty(half, train, other) == pytest.approx(1.0, abs=0.1)
    noise = np.random.default_rng(0).integers(0, 256, (50, 8, 8, 1), np.uint8)
    assert novelty(noise, train, held_out) > 2.0


def test_distance_is_a_ratio_of_medians():
    train = np.zeros((1, 1, 1, 1), np.uint8)
    samples = np.array([3, 4, 200], np.uint8).reshape(3, 1, 1, 1)
    held_out = np.array([1, 2, 9], np.uint8).reshape(3, 1, 1, 1)
    assert novelty(samples, train, held_out) == 2.0


def test_held_out_copies_are_refused(digits):
    train = digits[0][0]
    with pytest.raises(ValueError, match="split the data anew"):
        novelty(train[:5], train, train[:5])
