"""What a stage is requested when images are drawn from it: a family whose images show their conditions."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from ml_collections import ConfigDict
from PIL import Image

from genjax.data.tokenizers import TextTokenizer
from genjax.families.base import Family
from genjax.families.interfaces import Conditions, ImageSampler, Samples, Weights
from genjax.generate import Drawn
from genjax.pipelines import sampling as sampling_lib
from genjax.stages import Stage
from genjax.typing import DataSpec

FIELDS = ("index", "label", "guidance_scale", "first_token", "known", "seed", "weight")


class Lengths(TextTokenizer):
    """Each token of a text is its length."""

    def __init__(self):
        self.length = 3

    def encode(self, text, rng=None):
        return np.full(3, len(text), np.int32)

    def lost(self, text):
        return ""

    def unknown(self, text):
        return ()


def stage(classes=4, text_length=0, batch_size=16):
    """Pixel i of an image is the i-th of FIELDS, as a level of grey."""

    def sample(weights, conditions, index, key):
        count = len(index)
        values = {
            "index": index,
            "label": 99 if conditions.label is None else conditions.label,
            "guidance_scale": conditions.options.get("guidance_scale", 0),
            "first_token": 99 if conditions.tokens is None else conditions.tokens[:, 0],
            "known": 0 if conditions.known is None else conditions.known,
            "seed": jax.random.key_data(key)[-1].astype(jnp.int32),
            "weight": weights.params["model"],
        }
        pixels = jnp.stack([jnp.broadcast_to(values[name], (count,)) for name in FIELDS], axis=1)
        pixels = pixels.astype(jnp.float32)[:, None, :, None] / 127.5 - 1
        return Samples(pixels, jnp.stack([pixels, pixels]))

    def reconstruct(weights, shown, key):
        return -shown

    interface = ImageSampler(
        sample, (1, 7, 1), classes, {"guidance_scale": 1.0}, text_length=text_length, optional=("known",)
    )
    config = ConfigDict({"family": "toy", "data": {"batch_size": 8}})
    config.sampling = {"guidance_scale": 3.0, "batch_size": batch_size}
    family = Family(None, (), None, interface, reconstruct=reconstruct)
    weights = Weights({"model": jnp.float32(77)}, (), {})
    return Stage(family, weights, config, DataSpec((1, 7, 1), classes), 5, tokenizer=Lengths() if text_length else None)


def shown(drawn):
    return dict(zip(FIELDS, drawn.images[:, 0, :, 0].T.tolist(), strict=True))


def test_all_classes_take_turns_by_the_configs_options():
    drawn = sampling_lib.draw(stage(), 6, seed=5)
    assert shown(drawn) == {
        "index": [0, 1, 2, 3, 4, 5], "label": [0, 1, 2, 3, 0, 1], "guidance_scale": [3] * 6, "first_token": [99] * 6,
        "known": [0] * 6, "seed": [5] * 6, "weight": [77] * 6,
    }  # fmt: skip
    assert drawn.labels.tolist() == [0, 1, 2, 3, 0, 1] and drawn.prompts is None
    np.testing.assert_array_equal(drawn.trajectory[1], drawn.images)


def test_one_class_options_and_other_conditions_as_requested():
    known = np.array([10, 20, 30], np.float32)
    drawn = sampling_lib.draw(stage(), 3, label=2, options={"guidance_scale": 6.0}, conditions=Conditions(known=known))
    found = shown(drawn)
    assert found["label"] == [2, 2, 2] and found["guidance_scale"] == [6] * 3 and found["known"] == [10, 20, 30]
    assert found["seed"] == [0] * 3
    assert shown(sampling_lib.draw(stage(), 2, options={"guidance_scale": 1.0}))["guidance_scale"] == [0, 0], "neutral"
    assert shown(sampling_lib.draw(stage(classes=0), 2))["label"] == [99, 99]


def test_prompts_take_turns_as_tokens():
    drawn = sampling_lib.draw(stage(text_length=3), 3, prompts=["four", "sixsix"])
    assert shown(drawn)["first_token"] == [4, 6, 4] and drawn.prompts == ("four", "sixsix", "four")
    own = Conditions(tokens=np.full((2, 3), 9, np.int32))
    assert shown(sampling_lib.draw(stage(text_length=3), 2, conditions=own))["first_token"] == [9, 9]


def test_an_image_is_the_same_whatever_the_batch():
    """Twenty in batches of 8: on eight devices, three of them."""
    whole, parts = (sampling_lib.draw(stage(batch_size=size), 20, seed=3) for size in (24, 8))
    np.testing.assert_array_equal(whole.images, parts.images)
    np.testing.assert_array_equal(whole.trajectory, parts.trajectory)


@pytest.mark.parametrize(("how", "words"), [
    ({"label": 4}, "no label 4; the labels of this model are 0..3"),
    ({"label": -1}, "no label -1"),
    ({"count": 0}, "num_samples=0 must be at least 1"),
    ({"options": {"eta": 1.0}}, "no option 'eta'"),
    ({"prompts": ["a"]}, "reads no text"),
    ({"seed": -1}, "seed"),
])  # fmt: skip
def test_refusals(how, words):
    with pytest.raises(ValueError, match=words):
        sampling_lib.draw(stage(), **{"count": 2, **how})


def test_reconstructions_follow_their_images():
    pixels = np.arange(10 * 7, dtype=np.uint8).reshape(10, 1, 7, 1)
    made = sampling_lib.reconstruct(stage(), pixels)
    np.testing.assert_array_equal(made, 255 - pixels)
    pairs = sampling_lib.pairs(stage(), pixels)
    np.testing.assert_array_equal(pairs.images[::2], pixels)
    np.testing.assert_array_equal(pairs.images[1::2], made)
    with pytest.raises(ValueError, match="no images of"):
        sampling_lib.reconstruct(stage(), pixels[:, :, :6])


def test_reconstructions_are_drawn_by_the_seed():
    """Of every image, be it alone or in a pair."""

    def reconstruct(weights, shown, key):
        return jnp.zeros_like(shown) + jax.random.key_data(key)[-1] / 127.5 - 1

    seeded, pixels = stage(), np.full((9, 1, 7, 1), 200, np.uint8)
    seeded = seeded._replace(family=seeded.family._replace(reconstruct=reconstruct))
    assert (sampling_lib.reconstruct(seeded, pixels, seed=5) == 5).all() and (
        sampling_lib.reconstruct(seeded, pixels) == 0
    ).all()
    assert (sampling_lib.pairs(seeded, pixels, seed=6).images[1::2] == 6).all()


def test_files_hold_images_labels_and_prompts(tmp_path):
    pixels = np.arange(104, dtype=np.uint8)[:, None, None, None] * np.ones((1, 8, 8, 1), np.uint8)
    labels = np.arange(104, dtype=np.int32) % 4
    path = sampling_lib.save(tmp_path / "a", Drawn(pixels, labels, np.stack([pixels, pixels + 1])), columns=10)
    with np.load(tmp_path / "a" / "samples.npz") as file:
        np.testing.assert_array_equal(file["arr_0"], pixels)
        np.testing.assert_array_equal(file["arr_1"], labels)
        assert "prompts" not in file
    grid = np.asarray(Image.open(path))
    assert grid.max() < 104 or 100 not in grid, "a grid shows the first hundred"
    assert (tmp_path / "a" / "trajectory.gif").is_file()
    texts = tuple(f"text {number}" for number in range(104))
    sampling_lib.save(tmp_path / "b", Drawn(pixels, None, None, texts))
    with np.load(tmp_path / "b" / "samples.npz") as file:
        assert tuple(file["prompts"]) == texts and "arr_1" not in file
    assert not (tmp_path / "b" / "trajectory.gif").exists()
