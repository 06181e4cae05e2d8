"""The linear probe: what is linear it reads, what isn't it doesn't; units don't matter; noise is every rival's own."""

import numpy as np
import pytest

from genjax.metrics.linear_probe import pixels, probe, probe_noisy

RNG = np.random.default_rng(0)


def test_reads_what_is_linear_and_nothing_else():
    points = RNG.normal(size=(400, 2))
    side = (points @ [1.0, -2.0] > 0).astype(int)
    quadrant = (points[:, 0] * points[:, 1] > 0).astype(int)
    assert probe(points[:200], side[:200], points[200:], side[200:]) > 0.95
    assert probe(points[:200], quadrant[:200], points[200:], quadrant[200:]) < 0.65
    product = np.concatenate([points, points[:, :1] * points[:, 1:]], axis=1)
    assert probe(product[:200], quadrant[:200], product[200:], quadrant[200:]) > 0.95


def test_units_and_constants_do_not_matter():
    features, labels = RNG.normal(size=(300, 5)), RNG.integers(0, 3, 300)
    features[:, 0] += labels
    scaled = np.concatenate([features * [1e-3, 1, 50, 1e4, 1] + 7, np.full((300, 1), 3.0)], axis=1)
    scores = [probe(f[:200], labels[:200], f[200:], labels[200:]) for f in (features, scaled)]
    assert scores[0] == pytest.approx(scores[1], abs=0.011)


def test_noise_costs_accuracy_and_is_the_seeds(digits):
    train, test = ((images[::4], labels[::4]) for images, labels in digits)
    clean = probe_noisy(pixels, train, test)
    noisy = [probe_noisy(pixels, train, test, 0.75, seed) for seed in (0, 0, 1)]
    assert clean > 0.9 and noisy[0] == noisy[1] != noisy[2]
    assert max(noisy) < clean - 0.1
    seen = []
    probe_noisy(lambda images: seen.append(images) or pixels(images), train, test, 0.75, 0)
    noise = seen[0] - (train[0].astype(np.float32) / 127.5 - 1)
    assert noise.std() == pytest.approx(0.75, rel=0.02) and seen[0].dtype == np.float32


@pytest.mark.parametrize(("fit_clean", "expected"), [(False, (0.5, 0.5)), (True, (0.0, 0.5))])
def test_both_splits_are_noisy_or_the_test_alone(digits, fit_clean, expected):
    seen = []
    train, test = ((images[:200], labels[:200]) for images, labels in digits)
    probe_noisy(lambda images: seen.append(images) or pixels(images), train, test, 0.5, 3, fit_clean)
    noise = [images - (split[0].astype(np.float32) / 127.5 - 1) for images, split in zip(seen, (train, test))]
    np.testing.assert_allclose([part.std() for part in noise], expected, rtol=0.03)
    assert fit_clean or abs(np.corrcoef(noise[0].ravel(), noise[1].ravel())[0, 1]) < 0.05


def test_it_is_logistic_regression_on_features_in_units_of_the_training_split():
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    rng = np.random.default_rng(5)
    features, labels = rng.normal(size=(900, 6)) * [1, 20, 0.1, 1, 5, 1], rng.integers(0, 3, 900)
    features[:, 0] += 0.8 * labels
    held_out = features[60:] * 3 + 1
    rival = make_pipeline(StandardScaler(), LogisticRegression(max_iter=1000)).fit(features[:60], labels[:60])
    assert probe(features[:60], labels[:60], held_out, labels[60:]) == rival.score(held_out, labels[60:])


def test_refusals():
    x, y = np.zeros((4, 2)), np.array([0, 1, 0, 1])
    with pytest.raises(ValueError, match="2 numbers and test features 3"):
        probe(x, y, np.zeros((4, 3)), y)
    with pytest.raises(ValueError, match="at least 2 classes"):
        probe(x, np.zeros(4, int), x, y)
