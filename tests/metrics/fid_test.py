"""Fréchet distance against closed forms and scipy's general matrix square root."""

import warnings

import numpy as np
import pytest
import scipy.linalg

from genjax.metrics import fid


def random_gaussian(rng, dim):
    factor = rng.standard_normal((dim, dim))
    return rng.standard_normal(dim), factor @ factor.T / dim


def test_shifted_isotropic_gaussians():
    # N(m, s^2 I) and N(m', s'^2 I): |m - m'|^2 + d (s - s')^2
    mean = np.arange(5.0)
    distance = fid.frechet_distance(mean, 4.0 * np.eye(5), np.zeros(5), 9.0 * np.eye(5))
    assert distance == pytest.approx(mean @ mean + 5.0, rel=1e-12)


def test_commuting_covariances():
    # Common eigenvectors: the sum of the squared differences of the standard deviations.
    rng = np.random.default_rng(0)
    axes = np.linalg.qr(rng.standard_normal((6, 6)))[0]
    a, b = rng.uniform(0.1, 3.0, (2, 6))
    distance = fid.frechet_distance(
        np.zeros(6), axes @ np.diag(a**2) @ axes.T, np.zeros(6), axes @ np.diag(b**2) @ axes.T
    )
    assert distance == pytest.approx(((a - b) ** 2).sum(), rel=1e-12)


@pytest.mark.parametrize("dim", [2, 16, 64])
def test_equals_scipy(dim):
    rng = np.random.default_rng(dim)
    (mean1, cov1), (mean2, cov2) = random_gaussian(rng, dim), random_gaussian(rng, dim)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        root = scipy.linalg.sqrtm(cov1 @ cov2)
    expected = ((mean1 - mean2) ** 2).sum() + np.trace(cov1 + cov2) - 2 * np.trace(root).real
    assert fid.frechet_distance(mean1, cov1, mean2, cov2) == pytest.approx(expected, rel=1e-10)


def test_symmetry_identity_and_rotation():
    rng = np.random.default_rng(1)
    (mean1, cov1), (mean2, cov2) = random_gaussian(rng, 8), random_gaussian(rng, 8)
    distance = fid.frechet_distance(mean1, cov1, mean2, cov2)
    assert fid.frechet_distance(mean2, cov2, mean1, cov1) == pytest.approx(distance, rel=1e-10)
    assert fid.frechet_distance(mean1, cov1, mean1, cov1) == pytest.approx(0.0, abs=1e-12)
    turn = np.linalg.qr(rng.standard_normal((8, 8)))[0]
    turned = fid.frechet_distance(turn @ mean1, turn @ cov1 @ turn.T, turn @ mean2, turn @ cov2 @ turn.T)
    assert turned == pytest.approx(distance, rel=1e-10)


def test_singular_covariances():
    # A point and a segment: the trace of the segment's covariance.
    cov = np.diag([3.0, 0.0, 0.0])
    assert fid.frechet_distance(np.zeros(3), np.zeros((3, 3)), np.zeros(3), cov) == pytest.approx(3.0)
    # Segments at right angles: nothing is shared.
    other = np.diag([0.0, 2.0, 0.0])
    assert fid.frechet_distance(np.zeros(3), other, np.zeros(3), cov) == pytest.approx(5.0)


def test_statistics_of_features_far_from_zero():
    features = np.random.default_rng(2).standard_normal((101, 7)).astype(np.float32) + 1000.0
    statistics = fid.gaussian_statistics(features)
    assert statistics.count == 101
    whole = features.astype(np.float64)
    np.testing.assert_allclose(statistics.mean, whole.mean(axis=0), rtol=1e-14)
    np.testing.assert_allclose(fid.covariance(statistics), np.cov(whole, rowvar=False), atol=1e-10)
    assert fid.frechet_between(statistics, statistics) == pytest.approx(0.0, abs=1e-9)


def test_features_of_known_gaussians():
    rng = np.random.default_rng(3)
    a, b = rng.standard_normal((20_000, 3)), 2.0 * rng.standard_normal((20_000, 3)) + 1.0
    assert fid.frechet_from_features(a, b) == pytest.approx(6.0, rel=0.03)


def test_too_few_features():
    with pytest.raises(ValueError, match="at least 2 features, not 1"):
        fid.frechet_from_features(np.zeros((1, 3)), np.zeros((5, 3)))
