"""Codes by hand: what is kept of images that are completed, and what their completion is drawn with."""

from types import SimpleNamespace

import jax.numpy as jnp
import numpy as np
import pytest

from genjax.families.interfaces import Conditions, ImageSampler, Tokenizer, Weights
from genjax.generate import Drawn
from genjax.pipelines import sampling as sampling_lib
from genjax.pipelines import vqvae
from genjax.stages import Stage


@pytest.fixture
def stage():
    """A prior over two levels of codes: the brightness of quarters, and of single pixels, of 4x4 images."""

    def encode(weights, images):
        levels = jnp.round((images[..., 0] + 1) * 127.5).astype(jnp.int32)
        return levels.reshape(-1, 2, 2, 2, 2).max((2, 4)), levels

    tokenizer = Tokenizer(encode, None, 256, ((2, 2), (4, 4)), (4, 4, 3))
    interface = ImageSampler(lambda *_: None, (4, 4, 3), 3)
    weights = Weights({}, (), {"tokenizer": Weights({}, (), {})})
    family = SimpleNamespace(interface=interface)
    return Stage(family, weights, None, None, 1, parents={"tokenizer": tokenizer})


def make_images():
    return np.broadcast_to(np.arange(32, dtype=np.uint8).reshape(2, 4, 4, 1), (2, 4, 4, 3))


@pytest.mark.parametrize(("rows", "kept"), [(0, (0, 0)), (1, (0, 1)), (2, (1, 2)), (4, (2, 4))])
def test_the_codes_of_the_uppermost_rows_are_kept_whole_codes_alone(stage, rows, kept):
    given = vqvae.rows_to_keep(stage, make_images(), rows)
    assert len(given.codes) == len(given.codes_mask) == 2
    assert given._replace(codes=None, codes_mask=None) == Conditions()
    np.testing.assert_array_equal(given.codes[1], make_images()[..., 0])
    np.testing.assert_array_equal(given.codes[0][0], [[5, 7], [13, 15]])
    for level, (size, count) in enumerate(zip((2, 4), kept)):
        expected = np.broadcast_to(np.arange(size)[:, None] < count, (2, size, size))
        np.testing.assert_array_equal(given.codes_mask[level], expected)


@pytest.mark.parametrize(("labels", "drawn"), [(None, [0, 1]), (np.array([2, 1]), [2, 1])])
def test_a_completion_is_drawn_by_the_labels_the_seed_and_the_options(stage, monkeypatch, labels, drawn):
    notes = []

    def draw(stage, count, **settings):
        notes.append((count, settings))
        return Drawn(make_images())

    monkeypatch.setattr(sampling_lib, "draw", draw)
    found = vqvae.complete(stage, make_images(), labels, rows=2, seed=5, temperature=0.5, top_k=3.0)
    ((count, settings),) = notes
    assert (count, settings["seed"], settings["options"]) == (2, 5, {"temperature": 0.5, "top_k": 3.0})
    assert settings["prompts"] is None
    assert settings["conditions"].label.tolist() == found.labels.tolist() == drawn
    assert settings["conditions"].codes_mask[0][0].tolist() == [[True, True], [False, False]]


def test_a_completion_of_a_prior_that_reads_is_drawn_by_its_prompts(stage, monkeypatch):
    notes = []

    def draw(stage, count, **settings):
        notes.append(settings)
        return Drawn(make_images())

    monkeypatch.setattr(sampling_lib, "draw", draw)
    reads = stage._replace(family=SimpleNamespace(interface=stage.family.interface._replace(num_classes=0)))
    assert vqvae.complete(reads, make_images(), prompts=["a", "b"], rows=2).labels is None
    assert notes[0]["prompts"] == ["a", "b"] and notes[0]["conditions"].label is None
