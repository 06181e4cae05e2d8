"""The digits dataset: real scans, kept exactly, split as its docstring says."""

import numpy as np
from sklearn.datasets import load_digits

from genjax.data import sources
from genjax.data.builders import digits


def test_pixels_are_the_scans_and_can_be_turned_back():
    images, labels = digits.read_scans()
    scans = load_digits()
    assert images.shape == (1797, 8, 8) and images.dtype == np.uint8
    assert images.min() == 0 and images.max() == 255
    np.testing.assert_array_equal(np.round(images * (16 / 255)), scans.images)
    np.testing.assert_array_equal(labels, scans.target)


def test_every_fourth_scan_of_a_class_is_held_out():
    labels = np.array([7, 3, 7, 7, 7, 3, 3, 7, 3, 3])
    np.testing.assert_array_equal(digits.is_test(labels), [0, 0, 0, 0, 1, 0, 0, 0, 1, 0])


def test_splits_share_nothing_and_have_all_classes_in_equal_measure():
    _, labels = digits.read_scans()
    held_out = digits.is_test(labels)
    counts, held = np.bincount(labels), np.bincount(labels[held_out])
    np.testing.assert_array_equal(held, counts // 4)
    assert held_out.sum() == 445


def test_prepared_dataset_holds_the_scans_in_order(data_dir):
    images, labels = digits.read_scans()
    seen = []
    for split, count in (("train", 1352), ("test", 445)):
        source = sources.open_source("digits", split, data_dir)
        assert len(source.records) == count == source.spec.num_examples
        assert source.spec.image_shape == (8, 8, 1)
        assert source.spec.class_names == tuple("0123456789")
        for position in range(count):
            record = source.records[position]
            index = int(record["index"])
            seen.append(index)
            assert record["label"] == labels[index] and type(record["label"]) is int
            np.testing.assert_array_equal(record["image"][..., 0], images[index])
    assert sorted(seen) == list(range(1797))
    assert seen[:1352] == sorted(seen[:1352]) and seen[1352:] == sorted(seen[1352:])
