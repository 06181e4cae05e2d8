"""The report: order of the rows, equal counts, shares, the receipt, its file and table."""

import json

import numpy as np
import pytest

from genjax.metrics import feature_net, fid, report


@pytest.fixture(scope="module")
def noise():
    return np.random.default_rng(0).integers(0, 256, (1000, 8, 8, 1), np.uint8)


@pytest.fixture(scope="module")
def noise_report(noise, net, digits):
    return report.evaluate_samples(noise, np.arange(1000) % 10, *digits, net, seed=0)


def test_floor_mixture_noise(noise_report):
    """The metrics tell real images from the classical rival, and both from noise."""
    rows = noise_report["rows"]
    floor, mixture, samples = rows["real_train"], rows["gaussian_mixture"], rows["samples"]
    assert 0.15 < floor["frechet"] < 0.4
    assert floor["frechet_ratio"] == 1.0
    assert 1.8 < mixture["frechet_ratio"] < 4.0
    assert samples["frechet_ratio"] > 100
    assert floor["precision"] > 0.88 and floor["recall"] > 0.85
    assert mixture["precision"] > 0.9 and 0.65 < mixture["recall"] < 0.85
    assert samples["precision"] == 0.0
    assert floor["class_accuracy"] > 0.99 and mixture["class_accuracy"] > 0.98
    assert samples["class_accuracy"] < 0.2
    assert floor["novelty"] == 0.0
    assert mixture["novelty"] == pytest.approx(1.0, abs=0.1)
    assert samples["novelty"] > 2.0
    for row in rows.values():
        assert row["count"] == 1000
        assert sum(row["class_shares"]) == pytest.approx(1.0)


def test_the_floor_has_the_shares_of_the_training_split(noise_report, net, digits):
    """With labels its subsets are stratified: a subset by chance would be .01 off in some class or other."""
    of_all = np.bincount(feature_net.read(net, digits[0][0]).probabilities.argmax(1), minlength=10) / len(digits[0][0])
    assert np.abs(np.array(noise_report["rows"]["real_train"]["class_shares"]) - of_all).max() < 0.003


def test_the_floor_is_the_mean_over_ten_subsets_of_the_training_split(noise_report, net, digits):
    (images, labels), rng = digits[0], np.random.default_rng(0)
    features, reference = (feature_net.read(net, part).features for part in (images, digits[1][0]))
    report._subset(1000, 1000, np.arange(1000) % 10, rng)  # the samples' own subset is drawn first
    draws = [report._subset(len(images), 1000, labels, rng) for _ in range(10)]
    floor = np.mean([fid.frechet_from_features(features[draw], reference) for draw in draws])
    assert noise_report["rows"]["real_train"]["frechet"] == pytest.approx(floor, rel=1e-9)


def test_receipt(noise_report, net, digits):
    receipt = noise_report["receipt"]
    assert receipt["feature_net"]["hash"] == feature_net.weights_hash(net)
    assert receipt["feature_net"]["test_accuracy"] == feature_net.accuracy(net, *digits[1])
    assert receipt["counts"] == {"samples": 1000, "train": 1343, "test": 454, "each_row": 1000}
    assert receipt["seed"] == 0
    assert {"genjax", "jax", "flax", "numpy", "scikit-learn"} <= set(receipt["versions"])


def test_repeats_exactly(noise_report, noise, net, digits):
    assert report.evaluate_samples(noise, np.arange(1000) % 10, *digits, net, seed=0) == noise_report


@pytest.mark.slow
def test_the_floor_hardly_depends_on_the_seed(net, digits):
    """Ten subsets: the divisor of all ratios is steady."""
    images, labels = digits[0][0][:400], digits[0][1][:400]
    floors = [
        report.evaluate_samples(images, labels, *digits, net, seed)["rows"]["real_train"]["frechet"]
        for seed in range(2)
    ]
    assert max(floors) / min(floors) < 1.15


def test_samples_without_labels(net, digits):
    images = digits[1][0][:200]
    rows = report.evaluate_samples(images, None, *digits, net, seed=0)["rows"]
    assert rows["samples"]["class_accuracy"] is None
    assert rows["gaussian_mixture"]["class_accuracy"] > 0.95
    assert {row["count"] for row in rows.values()} == {200}
    assert rows["samples"]["novelty"] == pytest.approx(1.0, abs=0.15)


def test_without_labels_the_rival_has_the_training_split_s_shares_of_classes(net, digits):
    """Seven threes to one seven, as in the data, and not one to one."""
    images, labels = digits[0]
    chosen = np.concatenate([np.flatnonzero(labels == 3)[:105], np.flatnonzero(labels == 7)[:15]])
    train = images[chosen], labels[chosen]
    shares = report.evaluate_samples(digits[1][0][:120], None, train, digits[1], net)["rows"]["gaussian_mixture"]
    assert 0.8 < shares["class_shares"][3] < 0.95


def test_one_requested_class(net, digits):
    """The rival is requested the same labels."""
    threes = digits[0][0][digits[0][1] == 3]
    rows = report.evaluate_samples(threes, np.full(len(threes), 3), *digits, net)["rows"]
    assert rows["gaussian_mixture"]["class_shares"][3] > 0.9
    assert rows["samples"]["class_accuracy"] == 1.0


def test_a_subset_keeps_each_image_with_its_label():
    images, labels = np.arange(5, dtype=np.uint8)[:, None, None, None], np.array([3, 1, 4, 1, 5])
    chosen = report._pick(images, labels, np.array([1, 4]))
    images, labels = chosen
    assert images.ravel().tolist() == [1, 4] and labels.tolist() == [1, 5]
    assert report._pick(images, None, np.array([1]))[1] is None


def test_stratified_subset_keeps_shares():
    labels = np.repeat([0, 1, 2], [600, 300, 100])
    rng = np.random.default_rng(0)
    chosen = report._subset(1000, 100, labels, rng)
    np.testing.assert_array_equal(np.bincount(labels[chosen]), [60, 30, 10])
    by_chance = report._subset(1000, 100, None, rng)
    assert len(set(by_chance.tolist())) == 100
    np.testing.assert_array_equal(report._subset(1000, 1000, labels, rng), np.arange(1000))


def test_file_and_table(noise_report, tmp_path):
    path = tmp_path / "new" / "evaluation.json"
    report.write_report(path, noise_report)
    assert json.loads(path.read_text()) == noise_report
    assert [entry.name for entry in path.parent.iterdir()] == ["evaluation.json"]
    table = report.format_table(noise_report).splitlines()
    assert len(table) == 5
    assert table[3].startswith("gaussian mixture")
    assert "1000 images a row against 454" in table[-1]
    assert noise_report["receipt"]["feature_net"]["hash"][:12] in table[-1]


def test_table_without_labels(noise_report):
    rows = {name: {**row, "class_accuracy": None} for name, row in noise_report["rows"].items()}
    assert " - " in report.format_table({**noise_report, "rows": rows}).splitlines()[1]


def test_refusals(net, digits):
    images = digits[1][0]
    with pytest.raises(ValueError, match="need as many labels, not 3"):
        report.evaluate_samples(images, np.zeros(3, int), *digits, net)
    with pytest.raises(ValueError, match="3 samples are too few"):
        report.evaluate_samples(images[:3], None, *digits, net)
