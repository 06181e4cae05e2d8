"""Images as arrays that show themselves."""

import io

import numpy as np
import pytest
from PIL import Image

from genjax.core import images as images_lib
from genjax.generate import Drawn
from genjax.pipelines.shown import Evaluation, Images


def drawn(count=5, channels=3):
    pixels = np.random.default_rng(0).integers(0, 256, (count, 6, 6, channels), np.uint8)
    return Drawn(pixels, np.arange(count, dtype=np.int32), None, tuple(f"text {number}" for number in range(count)))


def shown(images):
    return np.asarray(Image.open(io.BytesIO(images._repr_png_())))


def test_a_part_keeps_what_belongs_to_it():
    images = Images.of(drawn())
    for index in (slice(1, 3), [1, 2], np.array([False, True, True, False, False])):
        part = images[index]
        assert isinstance(part, Images) and list(part.labels) == [1, 2] and part.captions == ("text 1", "text 2")
    assert images[1].labels is None and images[1:3, :4].captions is None
    assert images[::-1].captions[0] == "text 4"


def test_what_is_computed_is_a_plain_array():
    images = Images.of(drawn())
    assert type(images / 255) is np.ndarray and type(images + images) is np.ndarray
    assert isinstance(images.mean(), np.floating) and isinstance(images.max(), np.uint8)


def test_grids_with_captions_in_columns_or_beside_originals():
    batch = drawn()
    np.testing.assert_array_equal(shown(Images.of(batch)), images_lib.make_captioned_grid(batch.images, batch.prompts))
    plain = batch._replace(prompts=None)
    np.testing.assert_array_equal(shown(Images.of(plain, 5)), images_lib.make_grid(batch.images, 5))
    np.testing.assert_array_equal(shown(Images.of(plain)[2]), images_lib.make_grid(batch.images[2:3]))
    pairs = Images(batch.images[:2])
    pairs.originals = batch.images[2:4]
    order = batch.images[[2, 0, 3, 1]]
    np.testing.assert_array_equal(shown(pairs), images_lib.make_grid(order, 2))


def test_what_is_no_image_is_not_shown(tmp_path):
    for pixels in (np.zeros((2, 4, 4, 2), np.uint8), np.zeros((2, 4), np.uint8), np.zeros((0, 4, 4, 3), np.uint8)):
        assert Images(pixels)._repr_png_() is None
    with pytest.raises(ValueError, match=r"uint8 \(2, 4\) holds no images"):
        Images(np.zeros((2, 4), np.uint8)).save(tmp_path / "x.png")


def test_an_evaluation_is_read_as_words():
    found = Evaluation({"step": 2, "held_out": {"bits_per_dim": 3.25}, "omitted": {}, "notes": []})
    assert found["held_out"]["bits_per_dim"] == 3.25 and "bits_per_dim 3.25" in repr(found) == str(found)
