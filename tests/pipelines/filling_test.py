"""Holes in drawn scenes: where they are, what counts as filled by models whose images are known, what is refused."""

import functools
from types import SimpleNamespace

import ml_collections
import numpy as np
import pytest

from genjax.data import loader
from genjax.data.builders import scenes
from genjax.families.interfaces import ImageSampler
from genjax.generate import Drawn
from genjax.metrics import scene_reader
from genjax.pipelines import filling
from genjax.pipelines import sampling as sampling_lib
from genjax.stages import Stage

SIZE, COUNT = 32, 4
SCENES = [scenes.make_scene("test", number) for number in range(40)]


def stage(guidable=True):
    config = SimpleNamespace(
        family="glide", data=ml_collections.ConfigDict({"name": "captioned_shapes/32", "eval_split": "test"})
    )
    interface = ImageSampler(None, (SIZE, SIZE, 3), 0, guidable=guidable or None)
    return Stage(SimpleNamespace(interface=interface), SimpleNamespace(frozen={}, guides=()), config, None, 0)


READ = scene_reader.read


@functools.cache
def read(shape, content):
    return READ(np.frombuffer(content, np.uint8).reshape(shape))


@pytest.fixture(autouse=True)
def read_once(monkeypatch):
    """Reading a scene takes long, and the tests read the same ones again and again."""
    monkeypatch.setattr(scene_reader, "read", lambda image: read(image.shape, image.tobytes()))


@pytest.fixture(autouse=True)
def held_out(monkeypatch):
    arrays = {
        "image": np.stack([scenes.render(scene, SIZE) for scene in SCENES]),
        "text": np.array([scene.caption for scene in SCENES], object),
    }
    monkeypatch.setattr(loader, "Data", lambda settings: SimpleNamespace(load_arrays=lambda: arrays))
    return arrays


def test_one_of_two_objects_is_erased_and_the_other_left():
    requested = filling.make_holes(stage(), COUNT)
    chosen = [scene for scene in SCENES if len(scene.things) == 2][:COUNT]
    assert requested.captions == tuple(scene.caption for scene in chosen)
    for number, scene in enumerate(chosen):
        gone, left = scene.things[number % 2], scene.things[1 - number % 2]
        white = np.where(requested.kept[number] > 0, requested.images[number], 255).astype(np.uint8)
        (found,) = scene_reader.read(white)
        assert (found.colour, found.shape, found.place) == (left.colour, left.shape, left.place)
        named = requested.erased[number]
        assert named["place"] == gone.place
        assert all(getattr(gone, name) == index for name, index in named.items())
        assert ("size" in named) == ("{size}" in scenes.TEMPLATES[scene.template])


def painter(monkeypatch, paint):
    """What `sampling_lib.draw` gives: `paint` of (originals, known images in 0..255, kept)."""

    def draw(stage, count, *, prompts, options, seed, conditions):
        requested = filling.make_holes(stage, count)
        np.testing.assert_allclose(conditions.known, requested.images / 127.5 - 1, atol=1e-6)
        return Drawn(paint(requested.images, conditions.mask).astype(np.uint8), None, None, prompts)

    monkeypatch.setattr(sampling_lib, "draw", draw)


def test_shares_of_models_that_are_known(monkeypatch):
    painter(monkeypatch, lambda images, kept: images)
    perfect = filling.measure(stage(), COUNT)
    assert perfect == {
        "object in the hole": 1,
        "whole caption": 1,
        "caption before it is filled": 0,
        "kept to the bit": 1,
    }
    painter(monkeypatch, lambda images, kept: np.where(kept > 0, images, 255))
    nothing = filling.measure(stage(), COUNT)
    assert nothing == perfect | {"object in the hole": 0, "whole caption": 0}
    painter(monkeypatch, lambda images, kept: np.where(kept > 0, images, 255 - images))
    assert filling.measure(stage(), COUNT)["object in the hole"] == 0, "another colour on another ground"
    painter(monkeypatch, lambda images, kept: np.where(kept > 0, 255, images))
    moved = filling.measure(stage(), COUNT)
    assert moved == perfect | {"whole caption": 0, "kept to the bit": 0}, "the object is there, the rest is lost"


def test_what_counts_before_it_is_filled_is_what_is_kept_on_white(monkeypatch):
    painter(monkeypatch, lambda images, kept: images)
    judged = []
    monkeypatch.setattr(filling.caption_accuracy, "share_right", lambda images, captions: judged.append(images))
    filling.measure(stage(), COUNT)
    requested = filling.make_holes(stage(), COUNT)
    hole = np.broadcast_to(requested.kept == 0, requested.images.shape)
    assert (judged[1][hole] == 255).all() and (judged[1][~hole] == requested.images[~hole]).all()


def test_refuses(held_out):
    with pytest.raises(ValueError, match="num_samples=0 must be at least 1"):
        filling.make_holes(stage(), 0)
    with pytest.raises(ValueError, match="only .* scenes have two objects"):
        filling.measure(stage(), 1000)
    with pytest.raises(ValueError, match="'glide' can't edit"):
        filling.measure(stage(guidable=False), COUNT)
    del held_out["text"]
    with pytest.raises(ValueError, match="'captioned_shapes/32' has no captions"):
        filling.measure(stage(), COUNT)
