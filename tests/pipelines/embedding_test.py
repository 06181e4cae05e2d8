"""Images and texts in a CLIP's space, of towers in closed form; tiny trained runs that guide by a text."""

import jax
import numpy as np
import pytest

from genjax import stages
from genjax.configs import cascade_shapes_pipeline as cascade_shapes
from genjax.configs import clip_noisy_shapes, clip_shapes
from genjax.families.interfaces import Conditions
from genjax.metrics.retrieval import Retrieval
from genjax.pipelines import embedding as clip
from genjax.pipelines import evaluation
from genjax.pipelines.guides import registry
from tests.integration.tiny_test import shorten
from tests.pipelines.guides_test import KEY, model
from tests.pipelines.text_guides_test import SCHEDULE, encoder


def grey(*levels, size=8):
    """Images of one level each."""
    return np.stack([np.full((size, size, 1), level, np.uint8) for level in levels])


@pytest.mark.parametrize("schedule", [None, SCHEDULE])
def test_similarity_is_of_each_image_with_its_text(schedule, monkeypatch):
    """The closed tower gives the mean pixel, as a product with the text's sign; batches are filled up and cut."""
    monkeypatch.setattr(clip, "BATCH", 2)
    seer, images = encoder(schedule), grey(0, 255, 255)
    np.testing.assert_allclose(clip.similarity(seer, images, ["dark", "light", "dark"]), [1, 1, -1], rtol=1e-5)
    larger = grey(0, 255, 255, size=16)
    np.testing.assert_allclose(clip.similarity(seer, larger, ["dark", "light", "dark"]), [1, 1, -1], rtol=1e-5)
    assert clip.score(seer, images, ["dark", "light", "dark"]) == pytest.approx(2.5 * 2 / 3)


def test_retrieval_is_among_held_out_images_of_the_data_named_by_the_seed(monkeypatch):
    opened, notes, seer = [], [], encoder(None)
    seer.config.data = {"name": "own", "image_size": 8, "eval_split": "test"}

    class Data:
        def __init__(self, settings):
            opened.append(dict(settings))

        def load_arrays(self, split=""):
            assert not split, "the held-out split is its default"
            return {"image": grey(0, 255), "text": np.array(["dark", "light"], object)}

    def measure(images, texts, captions, seed):
        notes.append((np.sign(images[:, 0] * texts[:, 0]).tolist(), captions, seed))
        return Retrieval(0.0, 1.0)

    monkeypatch.setattr(clip.loader, "Data", Data)
    monkeypatch.setattr(clip, "retrieval", measure)
    assert clip.retrieve(seer, seed=5) == clip.retrieve(seer, "other", 6) == Retrieval(0.0, 1.0)
    assert opened == [{"name": name, "image_size": 8, "eval_split": "test"} for name in ("own", "other")]
    assert notes == [([1.0, 1.0], ["dark", "light"], seed) for seed in (5, 6)]


def test_what_is_no_clip_is_refused():
    with pytest.raises(ValueError, match="family 'diffusion' doesn't read images and texts"):
        clip.embed_images(model(), grey(0))
    with pytest.raises(ValueError, match="1 images and 2 texts"):
        clip.similarity(encoder(), grey(0), ["dark", "light"])


@pytest.mark.slow
def test_trained_runs_guide_and_are_measured(tmp_path):
    """A clean and a noisy CLIP and an unconditional model, two steps each: loaded from their folders by `--guide`."""
    configs = {
        "clip": clip_shapes.get_config("tiny"),
        "noisy": clip_noisy_shapes.get_config("tiny"),
        "model": cascade_shapes.base("tiny"),
    }
    configs["model"].data.image_size = 32
    configs["model"].model.network.attention_resolutions = (16,)
    for name, config in configs.items():
        stages.train(shorten(config, tmp_path / "data"), tmp_path / name)
    drawer, ranker = (stages.load(tmp_path / name) for name in ("model", "clip"))
    found = clip.retrieve(ranker)
    assert 0 <= found.caption <= 1 and 0 <= found.image <= 1
    result = evaluation.evaluate(ranker, tmp_path / "clip", None)
    assert result["retrieval"] == {"captioned_shapes/32": found._asdict()}
    assert "right caption first among 100" in evaluation.format_result(result)
    conditions = (Conditions(), np.arange(2))
    plain = jax.jit(drawer.family.interface.sample)(drawer.weights, *conditions, KEY).images
    for guides in (["text:{clip},a red circle:50"], ["text:{noisy},a red circle:50", "clip:{clip},a red circle:1000"]):
        requested = [text.format(clip=tmp_path / "clip", noisy=tmp_path / "noisy") for text in guides]
        stage = registry.guide(drawer, [registry.make(text, drawer) for text in requested])
        images = jax.jit(stage.family.interface.sample)(stage.weights, *conditions, KEY).images
        assert np.isfinite(images).all() and np.abs(images - plain).max() > 1e-3
