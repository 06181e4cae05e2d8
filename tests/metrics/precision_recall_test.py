"""Neighbours on constructed sets: same, disjoint, half covered; and against a direct count."""

import numpy as np
import pytest

from genjax.metrics.distances import nearest_distances, neighbour_radii, squared_distances
from genjax.metrics.precision_recall import precision_recall


def cloud(seed, n=60, dim=5, centre=0.0):
    return np.random.default_rng(seed).standard_normal((n, dim)) + centre


def test_same_sets():
    points = cloud(0)
    result = precision_recall(points, points)
    assert result.precision == result.recall == result.coverage == 1.0
    assert result.density >= 1.0


def test_disjoint_sets():
    assert precision_recall(cloud(0), cloud(1, centre=100.0)) == (0.0, 0.0, 0.0, 0.0)


def test_half_of_the_data_is_made():
    # Two modes, of which the samples hold one: all precise, half recalled and covered.
    first, second = cloud(0), cloud(1, centre=100.0)
    result = precision_recall(np.concatenate([first, second]), first)
    assert (result.precision, result.recall, result.coverage) == (1.0, 0.5, 0.5)


def test_half_of_the_samples_are_wrong():
    real = cloud(0)
    result = precision_recall(real, np.concatenate([real, cloud(1, centre=100.0)]))
    assert (result.precision, result.recall, result.coverage) == (0.5, 1.0, 1.0)


@pytest.mark.parametrize("k", [1, 3, 5])
def test_equals_the_definition_in_any_chunks(k):
    real, generated = cloud(0, n=41), cloud(1, n=33, centre=0.5)

    def radius(points, i):
        return np.sort(np.linalg.norm(points - points[i], axis=1))[k]

    in_real = np.array([[np.linalg.norm(r - g) <= radius(real, i) for g in generated] for i, r in enumerate(real)])
    in_made = np.array([[np.linalg.norm(r - g) <= radius(generated, j) for j, g in enumerate(generated)] for r in real])
    expected = (
        in_real.any(0).mean(),
        in_made.any(1).mean(),
        in_real.sum(0).mean() / k,
        in_real.any(1).mean(),
    )
    for chunk in (7, 2048):
        assert precision_recall(real, generated, k, chunk) == pytest.approx(expected)


def test_copies_lie_at_distance_zero():
    points = (1000.0 * cloud(0)).astype(np.float32)
    assert (np.diagonal(squared_distances(points, points)) == 0).all()
    assert (nearest_distances(points, points[::-1], chunk=7) == 0).all()
    # The k-th neighbour counts copies of a point but not itself.
    twice = np.concatenate([points, points])
    assert (neighbour_radii(twice, 1) == 0).all()
    assert (neighbour_radii(twice, 2) > 0).all()


def test_distances_of_pixels_are_exact():
    rng = np.random.default_rng(0)
    a, b = rng.integers(0, 256, (2, 30, 64)).astype(np.float64)
    direct = np.square(a[:, None] - b[None]).sum(axis=2)
    assert (squared_distances(a, b) == direct).all()


def test_too_few_points():
    with pytest.raises(ValueError, match="3-th neighbour needs more than 3 points, not 3"):
        precision_recall(cloud(0, n=3), cloud(1))
