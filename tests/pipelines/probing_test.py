"""Probes of a stage's features: the rivals, the number of labels, and data without labels."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from ml_collections import ConfigDict

from genjax.data import loader
from genjax.families.base import Family
from genjax.families.interfaces import FeatureExtractor, Tokenizer, Weights
from genjax.pipelines import evaluation, probing
from genjax.pipelines import sampling as sampling_lib
from genjax.stages import Stage
from genjax.typing import DataSpec

SPEC = DataSpec((8, 8, 1), num_classes=10)


def features(weights, images):
    return images.reshape(len(images), -1) @ weights.params["model"]


def init(key, batch):
    """The network ignores all but one pixel until it is trained."""
    return {"model": jnp.zeros((64, 4)).at[20, 0].set(1.0)}, ()


def evaluate(weights, batch, key):
    return {"mean": jnp.mean(batch["image"], axis=(1, 2, 3))}


@pytest.fixture(scope="module")
def stage(data_dir):
    """A stage whose features are 64 random sums of pixels, of a network that starts with one pixel."""
    data = {"name": "digits", "split": "train", "eval_split": "test", "image_size": 8, "channels": 1, "batch_size": 48}
    data["data_dir"] = data_dir
    trained = jax.random.normal(jax.random.key(0), (64, 64))
    interface = FeatureExtractor(features, SPEC.image_shape, 64)
    family = Family(init, (), evaluate, interface)
    config = ConfigDict({"data": data, "family": "sums"})
    return Stage(family, Weights({"model": trained}, (), {}), config, SPEC, 1)


def test_features_beside_random_weights_and_pixels(stage):
    figures = probing.probe_other(stage, "digits@train[:150]")
    assert set(figures) == {f"digits@train[:150]: {name}" for name in ("features", "random weights", "pixels")}
    trained, random, pixels = figures.values()
    assert trained > 0.7 and pixels > 0.7 and random < 0.4
    fewer = probing.probe_other(stage, "digits@train[:30]")
    assert fewer["digits@train[:30]: features"] < trained


def test_own_labels_are_probed_with_noise_and_others_without(stage, tmp_path, monkeypatch):
    monkeypatch.setattr(probing, "NOISES", (0.0, 1.0))
    monkeypatch.setattr(probing, "DRAWS", 1)
    short = stage.config.data.to_dict() | {"split": "train[:150]"}
    stage = stage._replace(config=ConfigDict({"data": short, "family": "sums"}))
    figures = evaluation.evaluate(stage, tmp_path, None, probe_data=["digits@train[:100]"])["linear_probe"]
    assert figures["features, noise 0"] > figures["features, noise 1"] > 0.3
    assert {"random weights, noise 1", "pixels, noise 1, fitted without", "digits@train[:100]: pixels"} <= set(figures)
    unlabelled = stage._replace(spec=SPEC._replace(num_classes=0))
    figures = evaluation.evaluate(unlabelled, tmp_path, None, probe_data=["digits@train[:100]"])["linear_probe"]
    assert len(figures) == 3


def test_own_labels_are_probed_with_every_noise_fitted_with_it_and_without(stage, monkeypatch):
    """Which rival sees which noise, by whose draws, is what its title says."""
    reads = {"features": len, "pixels": abs}  # any functions
    monkeypatch.setattr(probing, "rivals", lambda stage, seed: reads)
    monkeypatch.setattr(probing, "DRAWS", 2)
    seen = []
    monkeypatch.setattr(probing.linear_probe, "probe_noisy", lambda *found: seen.append(found) or len(seen))
    monkeypatch.setattr(probing, "_labelled", lambda settings, split: (split, f"of {split}"))
    figures = probing.probe(stage, seed=5)
    splits, expected = (("train", "of train"), ("test", "of test")), {}
    for sigma in probing.NOISES:
        for fit_clean in (False, True) if sigma else (False,):
            for name, read in reads.items():
                title = f"{name}, noise {sigma:g}{', fitted without' * fit_clean}"
                expected[title] = [(read, *splits, sigma, seed, fit_clean) for seed in ((5, 6) if sigma else (5,))]
    assert seen == [one for draws in expected.values() for one in draws]
    assert list(figures) == list(expected) and figures["features, noise 0"] == 1 and figures["pixels, noise 0"] == 2


def test_other_labels_are_probed_under_the_noise_that_is_requested(stage, monkeypatch):
    monkeypatch.setattr(probing, "DRAWS", 2)
    data = "digits@train[:150]"
    clean, noisy, noisier = (f"{data}{noise}: features" for noise in ("", ", noise 0.5", ", noise 2"))
    figures = probing.probe_other(stage, data, [0.0, 0.5, 2.0])
    assert len(figures) == 9 and figures[clean] == probing.probe_other(stage, data)[clean]
    assert figures[clean] > figures[noisy] > figures[noisier]


def test_features_come_in_batches_of_one_shape(stage, monkeypatch):
    monkeypatch.setattr(probing, "BATCH", 8)
    shapes = set()

    def network(part):
        shapes.add(part.shape)
        return part * 2

    images = np.arange(19.0)[:, None]
    np.testing.assert_array_equal(probing._in_batches(network, images), images * 2)
    assert shapes == {(8, 1)}


def test_refusals(stage, tmp_path, monkeypatch):
    monkeypatch.setattr(loader.Data, "load_arrays", lambda data, split: {"image": np.zeros((2, 8, 8, 1), np.uint8)})
    with pytest.raises(ValueError, match="'scenes' has no labels to probe"):
        probing.probe_other(stage, "scenes")
    drawing = stage._replace(family=stage.family._replace(interface=Tokenizer(None, None, 4, ((2, 2),), (8, 8, 1))))
    with pytest.raises(ValueError, match="family 'sums' gives no features to probe"):
        evaluation.evaluate(drawing, tmp_path, None, probe_data=["digits"])
    with pytest.raises(ValueError, match="family 'sums' draws no images"):
        sampling_lib.draw(stage, 1)
