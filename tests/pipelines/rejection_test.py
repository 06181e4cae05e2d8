"""Rejection by a classifier: which candidates are kept, of how many, and what that does to samples."""

import inspect

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from ml_collections import ConfigDict

from genjax.families.base import Family
from genjax.families.interfaces import ImageSampler, Samples, Weights
from genjax.generate import Drawn
from genjax.metrics import feature_net
from genjax.pipelines import rejection
from genjax.stages import Stage
from genjax.typing import DataSpec


def test_the_best_of_each_class_are_kept_in_order():
    scores = np.array([0.1, 0.9, 0.5, 0.2, 0.8, 0.5], np.float32)
    labels = np.array([0, 1, 0, 1, 0, 1], np.int32)
    wanted = np.array([0, 1, 0, 1], np.int32)
    np.testing.assert_array_equal(rejection.best_of_each_class(scores, labels, wanted), [4, 1, 2, 5])
    ties = rejection.best_of_each_class(np.zeros(6, np.float32), labels, wanted)
    np.testing.assert_array_equal(ties, [0, 1, 2, 3])
    with pytest.raises(ValueError, match="4 images of class 1 are wanted and only 3 drawn"):
        rejection.best_of_each_class(scores, labels, np.ones(4, np.int32))


def test_the_classifier_learns_the_training_split_by_its_own_seed(monkeypatch):
    class Data:
        def __init__(self, settings):
            self.settings = settings

        def load_arrays(self, split=""):
            return {"image": f"{self.settings['name']}, {split}", "label": f"classes of {split}"}

    monkeypatch.setattr(rejection.loader, "Data", Data)
    monkeypatch.setattr(feature_net, "train_feature_net", lambda *given: given)
    config = ConfigDict({"data": {"name": "digits", "split": "train[:90%]", "eval_split": "test"}})
    stage = Stage(None, Weights({}, (), {}), config, DataSpec((8, 8, 1), 3), 0)
    learnt = ("digits, train[:90%]", "classes of train[:90%]", 3)
    train = inspect.unwrap(rejection.train_classifier)  # unchecked: what it returns is a note here
    assert train(stage) == (*learnt, rejection.CLASSIFIER_SEED) and rejection.CLASSIFIER_SEED != 0
    assert train(stage, 7) == (*learnt, 7)


FAULTY = 0.5
"""Share of a faulty generator's images that show another class."""


def make_stage(classes=3):
    """A generator of flat images whose brightness is their class, but for half of them, which are another's."""

    def sample(weights, conditions, index, key):
        keys = jax.vmap(lambda index: jax.random.fold_in(key, index))(index)
        wrong = jax.vmap(jax.random.uniform)(keys) < FAULTY
        shown = jnp.where(wrong, (conditions.label + 1) % classes, conditions.label)
        image = jnp.broadcast_to((shown - 1.0)[:, None, None, None] * 0.8, (len(shown), 4, 4, 1))
        return Samples(image)

    interface = ImageSampler(sample, (4, 4, 1), classes)
    family = Family(lambda *_: ({}, ()), (), lambda *_: {}, interface)
    config = ConfigDict({"family": "fake", "sampling": {"batch_size": 32}})
    return Stage(family, Weights({}, (), {}), config, DataSpec((4, 4, 1), classes), 1)


@pytest.fixture(scope="module")
def classifier():
    rng = np.random.default_rng(0)
    labels = np.arange(300, dtype=np.int32) % 3
    flat = (labels - 1) * 102 + 127.5 + 10 * rng.normal(size=300)
    images = np.broadcast_to(flat[:, None, None, None].astype(np.uint8), (300, 4, 4, 1))
    return feature_net.train_feature_net(np.ascontiguousarray(images), labels, 3, seed=1, num_steps=150)


def right(drawn, classifier):
    return (feature_net.read(classifier, drawn.images).probabilities.argmax(1) == drawn.labels).mean()


def test_faulty_samples_are_rejected_and_the_shares_of_classes_kept(classifier):
    stage = make_stage()
    everything = rejection.draw_best(stage, classifier, 60, 1.0, seed=3)
    assert 0.3 < right(everything, classifier) < 0.7
    best = rejection.draw_best(stage, classifier, 60, 0.25, seed=3)
    assert right(best, classifier) == 1.0 and best.images.shape == (60, 4, 4, 1)
    np.testing.assert_array_equal(best.labels, np.arange(60) % 3)
    one = rejection.draw_best(stage, classifier, 7, 0.25, seed=3, label=2)
    assert right(one, classifier) == 1.0 and (one.labels == 2).all() and len(one.images) == 7


def test_the_way_to_what_is_kept_goes_with_it(classifier, monkeypatch):
    """A trajectory is [steps, images, ...]: of each kept image all steps, in the kept order."""

    def draw(stage, count, **settings):
        labels = np.arange(count, dtype=np.int32) % 3
        ends = np.broadcast_to(np.arange(count, dtype=np.uint8)[:, None, None, None] * 7, (count, 4, 4, 1))
        return Drawn(ends, labels, np.stack([ends + 1, ends]))

    monkeypatch.setattr(rejection.sampling_lib, "draw", draw)
    best = rejection.draw_best(make_stage(), classifier, 7, 0.5)
    assert best.trajectory.shape == (2, 7, 4, 4, 1)
    np.testing.assert_array_equal(best.trajectory, np.stack([best.images + 1, best.images]))


def test_keeping_all_only_sorts(classifier):
    stage = make_stage()
    kept = rejection.draw_best(stage, classifier, 30, 1.0, seed=3)
    plain = rejection.sampling_lib.draw(stage, 30, seed=3)
    for label in range(3):
        ours, theirs = (np.sort(d.images[d.labels == label].ravel()) for d in (kept, plain))
        np.testing.assert_array_equal(ours, theirs)


def test_refusals(classifier):
    for keep in (0.0, 1.5):
        with pytest.raises(ValueError, match=f"keep={keep} is no share"):
            rejection.draw_best(make_stage(), classifier, 4, keep)
    with pytest.raises(ValueError, match="class-conditional models only.*'fake'"):
        rejection.draw_best(make_stage(classes=0), classifier, 4, 0.5)
    for label in (3, -1):
        with pytest.raises(ValueError, match=f"no label {label}"):
            rejection.draw_best(make_stage(), classifier, 4, 0.5, label=label)
