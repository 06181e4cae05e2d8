"""The mixture rival: recovers moments, keeps its labels, stays on the pixel grid."""

import numpy as np
import pytest

from genjax.metrics.baselines import fit_gaussian_mixtures, sample_gaussian_mixtures


def test_recovers_the_moments_of_a_gaussian():
    rng = np.random.default_rng(0)
    factor = 8.0 * rng.standard_normal((4, 4))
    pixels = 128.0 + rng.standard_normal((4000, 4)) @ factor.T
    images = np.clip(np.round(pixels), 0, 255).astype(np.uint8).reshape(-1, 2, 2, 1)
    labels = np.full(4000, 3)
    mixtures = fit_gaussian_mixtures(images, labels, num_components=1)
    samples = sample_gaussian_mixtures(mixtures, labels, seed=1).reshape(-1, 4).astype(float)
    np.testing.assert_allclose(samples.mean(axis=0), 128.0, atol=2.0)
    expected = factor @ factor.T
    np.testing.assert_allclose(np.cov(samples, rowvar=False), expected, atol=0.12 * expected.max())


def test_classes_whose_axes_are_not_those_of_all_images_keep_their_covariances():
    """Two classes of opposite correlation: together they have none, so that each factor is a full triangle."""
    rng, covariance = np.random.default_rng(0), np.array([[400.0, 160.0], [160.0, 100.0]])
    labels = np.repeat([0, 1], 3000)
    pixels = 128.0 + rng.standard_normal((6000, 2)) @ np.linalg.cholesky(covariance).T
    pixels[labels == 1, 1] = 256.0 - pixels[labels == 1, 1]
    images = np.clip(np.round(pixels), 0, 255).astype(np.uint8).reshape(-1, 1, 2, 1)
    mixtures = fit_gaussian_mixtures(images, labels, num_components=1)
    samples = sample_gaussian_mixtures(mixtures, labels, seed=1).reshape(-1, 2).astype(float)
    for label, sign in ((0, 1), (1, -1)):
        found = np.cov(samples[labels == label], rowvar=False)
        np.testing.assert_allclose(found, covariance * [[1, sign], [sign, 1]], atol=20)


def test_each_label_gets_its_class():
    labels = np.repeat([0, 4, 4], 20)
    noise = np.random.default_rng(0).integers(0, 9, (60, 3, 3, 2))
    images = (noise + 50 * labels[:, None, None, None]).astype(np.uint8)
    samples = sample_gaussian_mixtures(fit_gaussian_mixtures(images, labels, 2), np.array([4, 0, 4, 0]))
    assert samples.shape == (4, 3, 3, 2)
    assert samples.dtype == np.uint8
    assert samples[0::2].min() > 150
    assert samples[1::2].max() < 50


def test_fewer_axes_than_pixels():
    # 32x32x3 has 3072 values: the leading axes carry the fit.
    rng = np.random.default_rng(0)
    ramp = np.linspace(50, 200, 32)[:, None, None]
    images = np.clip(ramp + rng.normal(0, 40, (30, 1, 1, 1)) + np.zeros((32, 32, 3)), 0, 255).astype(np.uint8)
    mixtures = fit_gaussian_mixtures(images, np.zeros(30, int), 2)
    assert mixtures.axes.shape == (30, 3072)
    samples = sample_gaussian_mixtures(mixtures, np.zeros(100, int)).astype(float)
    np.testing.assert_allclose(samples.mean(axis=0), images.mean(axis=0), atol=20)


def test_seeded(digits):
    mixtures = fit_gaussian_mixtures(*digits[0])
    labels = np.arange(20) % 10
    first = sample_gaussian_mixtures(mixtures, labels, seed=0)
    np.testing.assert_array_equal(first, sample_gaussian_mixtures(mixtures, labels, seed=0))
    assert (first != sample_gaussian_mixtures(mixtures, labels, seed=1)).any()
    again = fit_gaussian_mixtures(*digits[0])
    np.testing.assert_array_equal(first, sample_gaussian_mixtures(again, labels, seed=0))


def test_refusals():
    images = np.random.default_rng(0).integers(0, 256, (5, 2, 2, 1), np.uint8)
    labels = np.array([0, 0, 1, 1, 1])
    with pytest.raises(ValueError, match="class 2 has 1 image"):
        fit_gaussian_mixtures(images, np.array([0, 0, 1, 1, 2]))
    with pytest.raises(ValueError, match=r"labels \[7\]; known are \[0, 1\]"):
        sample_gaussian_mixtures(fit_gaussian_mixtures(images, labels), np.array([0, 7]))
