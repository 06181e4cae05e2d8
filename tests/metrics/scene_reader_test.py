"""Drawn scenes are read back as they were drawn, and images judged by their captions."""

import numpy as np
import pytest
from PIL import Image

from genjax.data.builders import scenes
from genjax.metrics import caption_accuracy, scene_reader


def upsampled(scene):
    """A scene at 16 pixels, upsampled to 32 and to 64."""
    image = Image.fromarray(scenes.render(scene, 16))
    for size in (32, 64):
        image = image.resize((size, size), Image.Resampling.BILINEAR)
    return np.array(image)


VIEWS = {"32": lambda scene: scenes.render(scene, 32), "64": lambda scene: scenes.render(scene, 64), "16-64": upsampled}


def is_read(image, scene):
    """Whether each object is found with all its attributes."""
    found = sorted((t.colour, t.shape, t.size, t.place) for t in scene_reader.read(image) if t.colour is not None)
    return found == sorted((t.colour, t.shape, t.size, t.place) for t in scene.things)


def share_read(view, split, count):
    drawn = [scenes.make_scene(split, index) for index in range(count)]
    return np.mean([is_read(VIEWS[view](scene), scene) for scene in drawn])


@pytest.mark.parametrize("view", VIEWS)
def test_scenes_are_read_back(view):
    assert share_read(view, "test", 16) == 1


@pytest.mark.slow
@pytest.mark.parametrize("view", VIEWS)
@pytest.mark.parametrize("split", ["test", "compositional"])
def test_whole_splits_are_read_back(view, split):
    assert share_read(view, split, 2000) >= 0.995


def test_nothing_is_found_in_white():
    assert scene_reader.read(np.full((32, 32, 3), 255, np.uint8)) == ()


def test_images_have_to_be_square():
    with pytest.raises(ValueError, match=r"\(32, 16, 3\)"):
        scene_reader.read(np.zeros((32, 16, 3), np.uint8))


def test_every_caption_is_parsed_to_what_it_names():
    for index in range(300):
        scene = scenes.make_scene("test", index)
        requested = caption_accuracy.parse(scene.caption)
        assert requested.relation == scene.relation and len(requested.things) == len(scene.things)
        template = scenes.TEMPLATES[scene.template]
        for wanted, thing in zip(requested.things, scene.things):
            assert all(getattr(thing, name) == value for name, value in wanted.items())
            assert {"colour", "shape"} <= wanted.keys()
            assert ("size" in wanted) == ("{size}" in template) and ("place" in wanted) == ("{place}" in template)


def test_scenes_are_right_by_their_own_captions_and_wrong_by_others():
    drawn = [scenes.make_scene("test", index) for index in range(20)]
    images, captions = np.stack([scenes.render(scene, 32) for scene in drawn]), [scene.caption for scene in drawn]
    assert caption_accuracy.share_right(images, captions) == 1
    assert caption_accuracy.share_right(images, captions[1:] + captions[:1]) < 0.1


def test_kinds_of_captions_are_told_apart():
    drawn = [scenes.make_scene("test", index) for index in range(8)]
    images, captions = np.stack([scenes.render(scene, 32) for scene in drawn]), [scene.caption for scene in drawn]
    wrong = next(index for index, scene in enumerate(drawn) if len(scene.things) == 2)
    images[wrong] = 255
    pairs = sum(len(scene.things) == 2 for scene in drawn)
    shares = caption_accuracy.by_kind(images, captions)
    assert shares == pytest.approx({"one object": 1.0, "two objects": 1 - 1 / pairs})


def test_the_order_of_a_relation_counts():
    scene = next(s for s in (scenes.make_scene("test", i) for i in range(99)) if s.relation == 1 and s.template == 5)
    first, second = scene.caption.split(" left of ")
    image = scenes.render(scene, 32)
    assert caption_accuracy.is_right(image, scene.caption)
    assert not caption_accuracy.is_right(image, f"{second} left of {first}")


@pytest.mark.parametrize("relation, across, down", [("left of", 1, 0), ("above", 0, 1)])
def test_a_relation_holds_along_its_own_axis_and_no_other(relation, across, down):
    """Far enough along it, and less aside: places that miss either are no "left of" and no "above"."""
    caption = f"a red circle {relation} a blue square"
    requested = caption_accuracy.parse(caption)

    def holds(along, aside):
        moves = {"x": along * across + aside * down, "y": along * down + aside * across}
        first = scene_reader.Found(0, 0, 0, 4, 0.3, 0.3, 0.3, 0.0)
        second = scene_reader.Found(5, 1, 0, 4, 0.3 + moves["x"], 0.3 + moves["y"], 0.3, 0.0)
        return caption_accuracy._fits((first, second), requested)

    assert holds(0.5, 0.0) and holds(0.5, 0.45) and holds(0.5, -0.45)
    assert not holds(0.5, 0.55) and not holds(0.5, -0.55), "more aside than along"
    assert not holds(0.2, 0.0) and not holds(-0.5, 0.0), "too near, or the other way round"


def test_other_texts_are_refused():
    with pytest.raises(ValueError, match="a red dog"):
        caption_accuracy.parse("a red dog")
