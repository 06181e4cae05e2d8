"""Inception Score at its bounds."""

import numpy as np
import pytest

from genjax.metrics.inception_score import inception_score


def test_sure_and_even_is_the_number_of_classes():
    score = inception_score(np.tile(np.eye(7), (20, 1)), splits=5)
    assert score.mean == pytest.approx(7.0, rel=1e-12)
    assert score.std == pytest.approx(0.0, abs=1e-12)


def test_always_the_same_answer_is_one():
    same = np.tile([0.7, 0.2, 0.1], (30, 1))
    assert inception_score(same, splits=3).mean == pytest.approx(1.0, rel=1e-12)
    assert inception_score(np.tile([1.0, 0.0], (30, 1)), splits=1).mean == pytest.approx(1.0)


def test_two_known_answers():
    # p = (.9, .1) and (.1, .9) in equal shares: exp(log 2 - H(.9))
    probabilities = np.tile([[0.9, 0.1], [0.1, 0.9]], (10, 1)).astype(np.float32)
    entropy = -(0.9 * np.log(0.9) + 0.1 * np.log(0.1))
    assert inception_score(probabilities, splits=1).mean == pytest.approx(2.0 * np.exp(-entropy), rel=1e-6)


def test_the_mean_is_inside_the_exponent():
    """Rows that differ in how sure they are: exp(mean KL) is neither mean(exp KL) nor exp of KL the other way round."""
    rows = np.random.default_rng(0).dirichlet([0.3, 0.6, 1.0, 2.0], 50)
    divergence = (rows * np.log(rows / rows.mean(0))).sum(1)
    assert np.exp(divergence).mean() > 1.02 * np.exp(divergence.mean())
    assert inception_score(rows, splits=1).mean == pytest.approx(np.exp(divergence.mean()), rel=1e-10)
    parts = [rows[:17], rows[17:34], rows[34:]]
    scores = [np.exp((part * np.log(part / part.mean(0))).sum(1).mean()) for part in parts]
    assert inception_score(rows, splits=3) == pytest.approx((np.mean(scores), np.std(scores)), rel=1e-10)


def test_uneven_splits_and_their_spread():
    # First part: one class only (1). Second: two (2).
    probabilities = np.array([[1.0, 0.0]] * 3 + [[1.0, 0.0], [0.0, 1.0]])
    score = inception_score(probabilities, splits=2)
    assert score.mean == pytest.approx(1.5)
    assert score.std == pytest.approx(0.5)


@pytest.mark.parametrize("splits", [0, 6])
def test_impossible_splits(splits):
    with pytest.raises(ValueError, match=rf"1\.\.5 .* not {splits}"):
        inception_score(np.full((5, 2), 0.5), splits=splits)
