"""Drawn scenes: what the words say is there, can be told apart, and keeps to its split."""

import itertools
import re

import numpy as np
import pytest
from PIL import Image

from genjax.data import sources
from genjax.data.builders import captioned_shapes, scenes

SMALL = {"train": 60, "test": 20, "compositional": 20}
COLOURS, SHAPES, SIZES = list(scenes.COLOURS), list(scenes.SHAPES), list(scenes.SIZES)


def one(shape: int, size: int, dx=0.0, dy=0.0, grow=0.0, colour=9, place=4) -> scenes.Scene:
    diameter = scenes.SIZES[SIZES[size]] * (1 + grow)
    return scenes.Scene((scenes.Thing(colour, shape, size, place, 0.5 + dx, 0.5 + dy, diameter),), 0, 0, "")


def cover(scene: scenes.Scene, pixels: int) -> np.ndarray:
    """How much of each pixel a black scene covers, seen at 32 pixels or more."""
    image = Image.fromarray(scenes.render(scene, pixels))
    if pixels < 32:
        image = image.resize((32, 32), Image.Resampling.BICUBIC)
    return (255.0 - np.asarray(image, np.float64)[..., 0]) / 235.0


def test_the_spec_is_as_rich_as_it_says():
    assert (len(COLOURS), len(SHAPES), len(SIZES), len(scenes.PLACES)) == (10, 8, 2, 9)
    assert captioned_shapes.SPLITS == {"train": 20_000, "test": 2_000, "compositional": 2_000}
    for word in [*COLOURS, *SHAPES, *SIZES, *scenes.PLACES, *scenes.RELATIONS[1:]]:
        assert word in " ".join(captioned_shapes.__doc__.split()), word
    written = captioned_shapes.__doc__.replace("_colour", "").replace("2}", "}")
    for template in scenes.TEMPLATES:
        assert template.replace("{a_colour", "a {colour").replace("2}", "}") in written, template


def test_colours_are_far_apart():
    values = [*scenes.COLOURS.values(), scenes.BACKGROUND]
    assert min(np.linalg.norm(np.subtract(a, b)) for a, b in itertools.combinations(values, 2)) >= 90


@pytest.mark.parametrize("pixels", [64, 32, 16])
def test_shapes_and_sizes_can_be_told_apart_in_noise(pixels):
    """Nearest of jittered patterns, in noise of 0.2 of full contrast; 16 pixels are upsampled to 32 first."""
    kinds = list(itertools.product(range(len(SHAPES)), range(len(SIZES))))
    offsets, grows = (-0.014, 0.0, 0.014), (-0.02, 0.02)
    jitters = list(itertools.product(offsets, offsets, grows))
    patterns = np.array([[cover(one(*kind, *jitter), pixels) for jitter in jitters] for kind in kinds])
    rng = np.random.default_rng(0)
    for kind in kinds:
        for _ in range(5):
            jitter = (*rng.uniform(-0.02, 0.02, 2), rng.uniform(-0.04, 0.04))
            seen = cover(one(*kind, *jitter), pixels)
            seen += 0.2 * rng.normal(size=seen.shape)
            nearest = ((patterns - seen) ** 2).sum(axis=(2, 3)).min(axis=1).argmin()
            assert kinds[nearest] == kind


def test_scenes_are_the_same_on_every_machine():
    scene = scenes.make_scene("train", 6)
    assert scene.caption == "a small cyan triangle left of a large orange diamond"
    assert scene == scenes.make_scene("train", 6)
    assert scene != scenes.make_scene("test", 6)
    assert scene.things[0]._replace(x=0, y=0, diameter=0) == scenes.Thing(4, 2, 0, 0, 0, 0, 0)
    assert (scene.things[0].x, scene.things[0].diameter) == pytest.approx(
        (0.237611440532898, 0.2867571397449331), abs=1e-12
    )


def test_objects_keep_to_the_canvas_their_places_and_apart():
    for index in range(1500):
        scene = scenes.make_scene("train", index)
        assert len(scene.things) == (1 if scene.relation == 0 else 2)
        for thing in scene.things:
            row, column = divmod(thing.place, 3)
            assert round(thing.x * 4) == column + 1 and round(thing.y * 4) == row + 1
        inside = [covered(thing) for thing in scene.things]
        for points in inside:
            assert points.any()
            assert not (points[0].any() or points[-1].any() or points[:, 0].any() or points[:, -1].any())
        if len(inside) == 2:
            assert not (inside[0] & inside[1]).any()


def covered(thing: scenes.Thing) -> np.ndarray:
    """Which points of a fine grid, edges of the canvas included, lie inside an object."""
    grid, radius = np.linspace(0, 1, 129), thing.diameter / 2
    distance = scenes.SHAPES[SHAPES[thing.shape]]
    return distance((grid - thing.x)[None, :] / radius, (grid - thing.y)[:, None] / radius) < 0


def test_relations_hold_and_only_one_of_them():
    seen = set()
    for index in range(1000):
        scene = scenes.make_scene("test", index)
        seen.add(scene.relation)
        if scene.relation:
            first, second = scene.things
            right, down = second.x - first.x, second.y - first.y
            along, across = (right, down) if scenes.RELATIONS[scene.relation] == "left of" else (down, right)
            assert along > 0.45 and abs(across) < 0.30
            assert (first.colour, first.shape) != (second.colour, second.shape)
    assert seen == {0, 1, 2}


def test_captions_name_what_is_there():
    thing = re.compile(rf"(?:(small|large) )?({'|'.join(COLOURS)}) ({'|'.join(SHAPES)})")
    used = set()
    for split in captioned_shapes.SPLITS:
        for index in range(600):
            scene = scenes.make_scene(split, index)
            used.add(scene.template)
            found = thing.findall(scene.caption)
            assert [(colour, shape) for _, colour, shape in found] == [
                (COLOURS[one.colour], SHAPES[one.shape]) for one in scene.things
            ]
            for (size, _, _), one_thing in zip(found, scene.things):
                assert size in ("", SIZES[one_thing.size])
            places = [place for place in scenes.PLACES if re.search(rf"{place}\b", scene.caption)]
            assert set(places) <= {max((scenes.PLACES[t.place] for t in scene.things), key=len)}
            for name in scenes.RELATIONS[1:]:
                assert (f" {name} " in scene.caption) == (name == scenes.RELATIONS[scene.relation])
            assert " a orange" not in scene.caption and "{" not in scene.caption
    assert used == set(range(len(scenes.TEMPLATES)))


def test_held_out_pairs_appear_in_the_compositional_split_alone():
    held = {(c, s) for c in range(10) for s in range(8) if scenes.is_held_out(c, s)}
    assert len(held) == 16
    assert {sum(s == shape for _, s in held) for shape in range(8)} == {2}
    assert {sum(c == colour for c, _ in held) for colour in range(10)} == {1, 2}
    pairs = {}
    for split in captioned_shapes.SPLITS:
        things = itertools.chain(*(scenes.make_scene(split, index).things for index in range(2000)))
        pairs[split] = {(thing.colour, thing.shape) for thing in things}
    assert pairs["compositional"] == held
    assert pairs["train"] == pairs["test"] == {(c, s) for c in range(10) for s in range(8)} - held


@pytest.fixture(scope="module")
def small_data_dir(tmp_path_factory):
    """Configurations prepared with few scenes."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(captioned_shapes, "SPLITS", SMALL)
        folder = str(tmp_path_factory.mktemp("shapes"))
        for name in ("32", "64", "32_shape", "64_colour", "32_first_colour", "64_first_shape"):
            sources.open_source(f"captioned_shapes/{name}", "train", folder)
    return folder


def test_prepared_dataset_keeps_images_words_and_annotation(small_data_dir):
    for size, split in itertools.product((32, 64), captioned_shapes.SPLITS):
        source = sources.open_source(f"captioned_shapes/{size}", split, small_data_dir)
        assert source.spec.image_shape == (size, size, 3)
        assert source.spec.has_text and source.spec.num_classes == 0
        captions = source.records.captions(range(len(source.records)))
        assert captions == [(scenes.make_scene(split, index).caption,) for index in range(len(captions))]
        for index in range(len(source.records)):
            record, scene = source.records[index], scenes.make_scene(split, index)
            assert record["text"] == scene.caption and type(record["text"]) is str
            assert record["relation"] == scene.relation and record["template"] == scene.template
            objects = record["objects"]
            for field in ("colour", "shape", "size", "place"):
                assert [int(value) for value in objects[field]] == [getattr(t, field) for t in scene.things]
            np.testing.assert_allclose(objects["center"], [(t.x, t.y) for t in scene.things], rtol=1e-6)
            np.testing.assert_array_equal(record["image"], scenes.render(scene, size))


LABELLED = [("32_shape", SHAPES, 1), ("64_colour", COLOURS, 1)]
LABELLED += [("32_first_colour", COLOURS, 2), ("64_first_shape", SHAPES, 2)]


@pytest.mark.parametrize(("name", "names", "objects"), LABELLED)
def test_scenes_of_one_object_or_of_two_have_labels(small_data_dir, name, names, objects):
    size, label = int(name[:2]), name.split("_")[-1]
    for split, count in SMALL.items():
        source = sources.open_source(f"captioned_shapes/{name}", split, small_data_dir)
        assert list(source.spec.class_names) == names and source.spec.num_classes == len(names)
        numbers = [index for index in range(count) if len(scenes.make_scene(split, index).things) == objects]
        assert [int(source.records[at]["index"]) for at in range(len(source.records))] == numbers
        for at, index in enumerate(numbers):
            scene = scenes.make_scene(split, index)
            assert source.records[at]["label"] == getattr(scene.things[0], label)
            np.testing.assert_array_equal(source.records[at]["image"], scenes.render(scene, size))
    assert len(sources.open_source(f"captioned_shapes/{name}", "train[:7]", small_data_dir).records) == 7


def test_the_first_of_two_is_on_the_left_or_above():
    for index in range(300):
        scene = scenes.make_scene("test", index)
        if scene.relation:
            along = {"left of": "x", "above": "y"}[scenes.RELATIONS[scene.relation]]
            assert getattr(scene.things[0], along) < getattr(scene.things[1], along) - 0.4


@pytest.mark.parametrize("shape", range(len(scenes.SHAPES)))
def test_an_object_in_the_middle_is_as_far_from_every_side(shape):
    """A pixel's colour is that of its centre: all shapes are the same to the left and to the right of theirs, and
    those without an up and a down above and below it."""
    thing = scenes.Thing(0, shape, 1, 4, 0.5, 0.5, 0.4)
    drawn = scenes.render(scenes.Scene((thing,), 0, 0, ""), 32)
    np.testing.assert_array_equal(drawn, drawn[:, ::-1])
    if list(scenes.SHAPES)[shape] in ("circle", "square", "diamond", "cross", "ring"):
        np.testing.assert_array_equal(drawn, drawn[::-1])


def test_a_small_image_is_the_mean_of_the_large_one():
    for index in range(100):
        scene = scenes.make_scene("train", index)
        large = scenes.render(scene, 64).astype(float)
        for size in (32, 16):
            means = large.reshape(size, 64 // size, size, 64 // size, 3).mean(axis=(1, 3))
            np.testing.assert_allclose(scenes.render(scene, size), means, atol=1.0)


@pytest.mark.parametrize("size", [8, 28, 48, 64, 128])
def test_any_size_can_be_drawn(size):
    scene = scenes.make_scene("train", 6)
    image = scenes.render(scene, size)
    assert image.shape == (size, size, 3)
    # The share of the canvas that isn't white hardly depends on the size.
    share = 1 - image[..., 0].mean() / 255
    assert share == pytest.approx(1 - scenes.render(scene, 256)[..., 0].mean() / 255, abs=0.004)


def test_a_size_must_be_named(data_dir):
    with pytest.raises(ValueError, match="captioned_shapes/32', 'captioned_shapes/64"):
        sources.open_source("captioned_shapes", "train", data_dir)
    with pytest.raises(ValueError, match="'128'"):
        sources.open_source("captioned_shapes/128", "train", data_dir)


@pytest.mark.slow
@pytest.mark.parametrize("size", ["32", "64"])
def test_the_whole_is_prepared_in_seconds(size, tmp_path):
    source = sources.open_source(f"captioned_shapes/{size}", "train", str(tmp_path))
    assert len(source.records) == 20_000
    captions = {source.records[index]["text"] for index in range(20_000)}
    assert len(captions) > 5_000
