"""What `evaluate` makes of people's own runs: what can be measured is there, the rest is left out with the reason."""

import json
import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from PIL import Image

from genjax.configs.recipes import common
from genjax.core.images import from_uint8
from genjax.families.base import Family
from genjax.families.interfaces import (
    FeatureExtractor,
    ImageSampler,
    ImageTextEncoder,
    TextEncoder,
    Tokenizer,
    Weights,
)
from genjax.generate import Drawn
from genjax.metrics import feature_net, report
from genjax.metrics.retrieval import Retrieval
from genjax.pipelines import embedding, evaluation, probing
from genjax.stages import Stage
from genjax.typing import DataSpec

SIZE = 8


@pytest.fixture(autouse=True)
def quick_net(monkeypatch):
    """A feature net of random weights: which figures there are is requested here, not what they are."""

    def train(key, images, labels, num_classes, num_steps):
        return feature_net.Classifier(num_classes).init(key, from_uint8(images[:1]))

    monkeypatch.setattr(feature_net, "_train", train)


def _pixels(count, seed=0):
    return np.random.default_rng(seed).integers(0, 256, (count, SIZE, SIZE, 3), np.uint8)


def _folder(root, train=12, test=8, classes=(), captions=False, seed=1):
    """A folder of images, with classes or captions or without."""
    for split, count in (("train", train), ("test", test)):
        images = _pixels(count * max(1, len(classes)), seed=seed * (split == "test"))
        for number, image in enumerate(images):
            folder = root / split / (classes[number % len(classes)] if classes else "")
            folder.mkdir(parents=True, exist_ok=True)
            Image.fromarray(image).save(folder / f"{number:03}.png")
            if captions:
                (folder / f"{number:03}.txt").write_text(f"my cat, number {number}")
    return f"folder:{root}"


def _mean(weights, batch, key):
    return {"loss": jnp.mean(batch["image"], axis=(1, 2, 3)) + 1.0}


def _stage(name, interface, evaluate=_mean, num_classes=0, reconstruct=None):
    config = common.base()
    config.family, config.data.name, config.data.batch_size = "toy", name, 8
    config.data.image_size, config.data.channels = SIZE, 3
    family = Family(None, (), evaluate, interface, reconstruct=reconstruct)
    return Stage(family, Weights({}, {}, {}), config, DataSpec((SIZE, SIZE, 3), num_classes), 0)


CODES = Tokenizer(None, None, 4, ((2, 2),), (SIZE, SIZE, 3))
SAMPLER = ImageSampler(lambda *_: None, (SIZE, SIZE, 3), 0)


def _read_back(result, tmp_path):
    """As the program does: printed, and written as JSON that any reader takes."""
    report.write_report(tmp_path / "evaluation.json", result)
    assert json.loads((tmp_path / "evaluation.json").read_text())["held_out"] == result["held_out"]
    return evaluation.format_result(result)


def test_held_out_metrics_are_means_over_the_held_out_images_of_the_config(tmp_path):
    """By any of the family's likelihoods, by the seed, and also where the run was trained on codes."""

    def by_seed(weights, batch, key):
        return {"draw": jnp.full(len(batch["image"]), jax.random.uniform(key))}

    interface = SAMPLER._replace(likelihoods={"ode": by_seed})
    stage = _stage(_folder(tmp_path / "pets", train=12, test=11), interface)
    stage.config.data.encoded = str(tmp_path / "codes that nobody reads")
    for split, count, seed in (("test", 11, 1), ("train", 12, 0)):
        stage.config.data.update(eval_split=split, split="train" if split == "test" else "test")
        images = _pixels(count, seed)
        found = evaluation.held_out(stage)["loss"]
        assert found == pytest.approx(images.astype(np.float64).mean() / 127.5, rel=1e-5)
        np.testing.assert_array_equal(evaluation.held_out_images(stage), images)
        np.testing.assert_array_equal(evaluation.held_out_arrays(stage, 5)["image"], images[:5])
    draws = [evaluation.held_out(stage, seed, "ode")["draw"] for seed in (0, 1, 1)]
    assert draws[0] != draws[1] == draws[2]
    result = evaluation.evaluate(stage, tmp_path, None, seed=1, likelihood="ode")
    assert result["held_out"] == {"loss": found, "ode/draw": draws[1]}


def test_what_is_asked_of_an_evaluation_reaches_what_measures_it(tmp_path, monkeypatch):
    notes = []

    def noted(owner, name, found):
        monkeypatch.setattr(owner, name, lambda stage, *given: notes.append((name, *given)) or found)

    noted(probing, "probe", {"features": 0.5})
    noted(probing, "probe_other", {"other": 0.25})
    noted(embedding, "retrieve", Retrieval(0.5, 0.75))
    noted(evaluation, "held_out", {})
    noted(evaluation, "check", None)
    own = _folder(tmp_path / "pets")
    features = FeatureExtractor(lambda *_: None, (SIZE, SIZE, 3), 3)
    result = evaluation.evaluate(_stage(own, features, num_classes=2), tmp_path, None, 7, "ode", ("a", "b"), (0.5, 1.0))
    assert notes == [
        ("check", "ode", ("a", "b")), ("held_out", 7), ("held_out", 7, "ode"),
        ("probe", 7), ("probe_other", "a", (0.5, 1.0), 7), ("probe_other", "b", (0.5, 1.0), 7),
    ]  # fmt: skip
    assert result["linear_probe"] == {"features": 0.5, "other": 0.25}
    notes.clear()
    clip = ImageTextEncoder(lambda *_: None, None, None, None, (SIZE, SIZE, 3), 4)
    result = evaluation.evaluate(_stage(own, clip), tmp_path, None, 7, "", ("a",))
    assert notes[2:] == [("retrieve", own, 7), ("retrieve", "a", 7)]
    assert list(result["retrieval"]) == [own, "a"]


def test_unlabelled_images_have_a_loss_and_a_novelty(tmp_path):
    stage = _stage(_folder(tmp_path / "pets"), SAMPLER)
    copies = evaluation.evaluate(stage, tmp_path, Drawn(_pixels(5)))
    assert copies["novelty"] == 0.0
    result = evaluation.evaluate(stage, tmp_path, Drawn(_pixels(5, seed=9)))
    assert set(result["held_out"]) == {"loss"} and 0.8 < result["novelty"] < 1.2
    assert list(result["omitted"]) == ["comparison with real images"]
    text = _read_back(result, tmp_path)
    assert "omitted: comparison with real images: the data 'folder:" in text and "has no classes" in text
    assert f"held-out images: loss {result['held_out']['loss']:.4g}" in text and "novelty: " in text


def test_captions_of_ones_own_are_told_apart_from_the_datasets(tmp_path):
    stage = _stage(_folder(tmp_path / "pets", captions=True), SAMPLER)
    drawn = Drawn(_pixels(3), None, None, ("my cat", "my dog", "a red star"))
    result = evaluation.evaluate(stage, tmp_path, drawn)
    assert set(result["omitted"]) == {"captions", "comparison with real images"}
    assert "'my cat' is no caption of captioned_shapes" in result["omitted"]["captions"]
    assert "novelty" in result and "captions" not in result
    assert "loss" in _read_back(result, tmp_path)


@pytest.mark.parametrize("labels", [None, np.arange(6) % 2])
def test_samples_are_compared_with_their_labels_and_each_split_with_its_own(tmp_path, monkeypatch, labels):
    stage = _stage(_folder(tmp_path, train=3, test=2, classes=("a", "b")), SAMPLER, num_classes=2)
    stage.config.data.update(split="test", eval_split="train")
    notes = {}
    for owner, name, found in ((feature_net, "load_or_train", "net"), (report, "evaluate_samples", {"rows": {}})):
        monkeypatch.setattr(owner, name, lambda *args, name=name, found=found: notes.update({name: args}) or found)
    drawn = Drawn(_pixels(6), labels, None)
    assert evaluation._compare(stage, tmp_path / "w", drawn, 5) == {"rows": {}}
    folder, images, classes, count, seed = notes["load_or_train"]
    assert (folder, len(images), classes.tolist(), count, seed) == (tmp_path / "w/feature_net", 4, [0, 0, 1, 1], 2, 5)
    samples, requested, train, test, net, seed = notes["evaluate_samples"]
    assert samples is drawn.images and requested is labels and net == "net" and seed == 5
    assert (len(train[0]), train[1].tolist(), len(test[0])) == (4, [0, 0, 1, 1], 6)
    assert test[1].tolist() == [0, 0, 0, 1, 1, 1]


def test_classes_of_few_images_keep_what_can_be_measured(tmp_path):
    stage = _stage(_folder(tmp_path / "pets", train=2, test=2, classes=("cat", "dog", "owl")), SAMPLER, num_classes=3)
    drawn = Drawn(_pixels(6), np.arange(6, dtype=np.int32) % 3, None)
    result = evaluation.evaluate(stage, tmp_path, drawn)
    assert set(result["rows"]) == {"samples", "real_train", "gaussian_mixture"} and not result["omitted"]
    assert any("6 held-out images are too few for a Fréchet distance" in note for note in result["notes"])
    assert "note: 6 held-out images" in _read_back(result, tmp_path)


def test_a_class_of_one_image_has_no_mixture_but_rows(tmp_path):
    stage = _stage(_folder(tmp_path / "pets", train=1, test=2, classes=tuple("abcde")), SAMPLER, num_classes=5)
    result = evaluation.evaluate(stage, tmp_path, Drawn(_pixels(5), np.arange(5, dtype=np.int32), None))
    assert set(result["rows"]) == {"samples", "real_train"}
    assert "a Gaussian needs at least 2" in result["omitted"]["gaussian_mixture"]
    _read_back(result, tmp_path)


def test_three_samples_are_too_few_for_neighbours_and_the_loss_stays(tmp_path):
    stage = _stage(_folder(tmp_path / "pets", classes=("cat", "dog")), SAMPLER, num_classes=2)
    result = evaluation.evaluate(stage, tmp_path, Drawn(_pixels(3), np.zeros(3, np.int32), None))
    assert "3 samples are too few" in result["omitted"]["comparison with real images"]
    assert "loss" in result["held_out"] and "novelty" in result
    _read_back(result, tmp_path)


def test_held_out_copies_of_training_images_leave_novelty_out(tmp_path):
    name = _folder(tmp_path / "pets", train=8, test=8, classes=("cat", "dog"), seed=0)  # the same images
    result = evaluation.evaluate(_stage(name, SAMPLER, num_classes=2), tmp_path, Drawn(_pixels(8, 1)))
    assert "copies of training images" in result["omitted"]["novelty"]
    assert result["rows"]["samples"]["novelty"] is None and result["rows"]["samples"]["frechet"] > 0
    _read_back(result, tmp_path)


def test_an_evaluation_that_is_not_finite_is_told(tmp_path):
    def evaluate(weights, batch, key):
        return {"loss": jnp.full(len(batch["image"]), jnp.nan), "good": jnp.ones(len(batch["image"]))}

    result = evaluation.evaluate(
        _stage(_folder(tmp_path / "pets"), TextEncoder(None, 8, 9, 4, 4), evaluate), tmp_path, None
    )
    assert result["held_out"] == {"loss": None, "good": 1.0}
    assert "held_out/loss is nan" in result["notes"][0]
    assert "good 1, loss not finite" in _read_back(result, tmp_path)


@pytest.mark.parametrize(
    ("interface", "omitted"),
    [
        (TextEncoder(None, 8, 9, 4, 4), set()),
        (Tokenizer(None, None, 4, ((2, 2),), (SIZE, SIZE, 3)), set()),
        (FeatureExtractor(lambda weights, x: x.mean((1, 2)), (SIZE, SIZE, 3), 3), {"linear probe"}),
        (ImageTextEncoder(lambda *_: None, None, None, None, (SIZE, SIZE, 3), 4), {"retrieval in folder"}),
    ],
    ids=lambda value: type(value).__name__,
)
def test_runs_that_draw_nothing_end_with_their_loss(tmp_path, interface, omitted):
    result = evaluation.evaluate(_stage(_folder(tmp_path / "pets"), interface), tmp_path, None)
    assert {what.partition(":")[0] for what in result["omitted"]} == omitted
    assert math.isfinite(result["held_out"]["loss"])
    _read_back(result, tmp_path)


def test_reconstructions_are_of_training_images_drawn_by_the_seed_as_is_what_becomes_of_them(tmp_path, monkeypatch):
    notes = []
    monkeypatch.setattr(evaluation, "COUNT", 4)
    monkeypatch.setattr(
        evaluation.sampling_lib, "reconstruct", lambda stage, images, seed: notes.append((images, seed)) or images
    )
    monkeypatch.setattr(feature_net, "load_or_train", lambda *given: "net")
    monkeypatch.setattr(report, "evaluate_samples", lambda images, labels, *given: notes.append((images, labels)) or {})
    stage = _stage(_folder(tmp_path, train=6, test=6, classes=("a", "b")), CODES, num_classes=2)
    there = {image.tobytes() for image in _pixels(12)}
    for seed in (0, 1):
        evaluation._compare(stage, tmp_path / "w", None, seed)
    (first, zero), (measured, labels), (second, one), _ = notes
    assert (zero, one, labels) == (0, 1, None) and measured is first and len(first) == len(second) == 4
    assert {image.tobytes() for image in (*first, *second)} <= there and not np.array_equal(first, second)


def test_reconstructions_of_unlabelled_images(tmp_path):
    stage = _stage(_folder(tmp_path / "pets"), CODES, reconstruct=lambda weights, images, key: images)
    result = evaluation.evaluate(stage, tmp_path, None)
    assert "has no classes" in result["omitted"]["comparison with real images"] and "novelty" not in result
    assert "loss" in result["held_out"]


def test_what_is_requested_and_is_not_there_is_refused_at_once(tmp_path):
    def evaluate(weights, batch, key):
        raise AssertionError("nothing is computed before")

    name = _folder(tmp_path / "pets")
    plain = _stage(name, SAMPLER, evaluate)
    with pytest.raises(ValueError, match="no likelihood 'exact'; this model has none"):
        evaluation.evaluate(plain, tmp_path, None, likelihood="exact")
    with pytest.raises(ValueError, match=r"samples of \(4, 4, 3\) can't be compared"):
        evaluation.evaluate(plain, tmp_path, Drawn(np.zeros((2, 4, 4, 3), np.uint8)))
    with pytest.raises(ValueError, match="'toy' gives no features to probe"):
        evaluation.evaluate(plain, tmp_path, None, probe_data=(name,))
    features = _stage(name, FeatureExtractor(lambda *_: None, (SIZE, SIZE, 3), 3), evaluate)
    with pytest.raises(ValueError, match="--probe_data=folder:.* has no labels to probe features with"):
        evaluation.evaluate(features, tmp_path, None, probe_data=(name,))
    clip = _stage(name, ImageTextEncoder(lambda *_: None, None, None, None, (SIZE, SIZE, 3), 4), evaluate)
    with pytest.raises(ValueError, match="--probe_data=folder:.* has no captions to find images by"):
        evaluation.evaluate(clip, tmp_path, None, probe_data=(name,))
