"""Masks as programs write them: which pixels they keep, in every mode."""

import numpy as np
import pytest
from PIL import Image

from genjax.pipelines import masks

KEPT = np.zeros((6, 8), bool)
KEPT[:, :5] = True


def grey(low, high, dtype=np.uint8):
    return Image.fromarray(np.where(KEPT, dtype(high), dtype(low)))


def with_alpha(colours, alpha=KEPT):
    image = Image.fromarray(colours)
    image.putalpha(Image.fromarray(np.where(alpha, np.uint8(255), np.uint8(0))))
    return image


def palette(low, high, **info):
    image = Image.new("P", (8, 6))
    image.putdata(KEPT.astype(np.uint8).ravel().tolist())
    image.putpalette([*low, *high])
    image.info.update(info)
    return image


NOISE = np.random.default_rng(0).integers(0, 256, (6, 8, 3)).astype(np.uint8)
FILES = {
    "black_white.png": grey(0, 255),
    "zero_one.png": grey(0, 1),
    "zero_one_rgb.png": grey(0, 1).convert("RGB"),
    "one_bit.png": Image.fromarray(KEPT),
    "one_bit.bmp": Image.fromarray(KEPT),
    "grey_levels.png": Image.fromarray(np.where(KEPT, NOISE[..., 0] // 2 + 128, NOISE[..., 0] // 2)),
    "sixteen.png": grey(0, 65535, np.uint16),
    "sixteen_zero_one.png": grey(0, 1, np.uint16),
    "sixteen_of_eight.png": grey(0, 255, np.uint16),
    "float.tiff": grey(0, 1, np.float32),
    "wide.tiff": grey(0, 1, np.int32),
    "indices.png": palette((0, 0, 0), (1, 1, 1)),
    "colours.png": palette((0, 0, 0), (128, 0, 0)),
    "palette_alpha.png": palette((9, 9, 9), (200, 0, 0), transparency=0),
    "cut_out.png": with_alpha(NOISE),  # the photo itself with a transparent hole, as OpenAI's API takes it
    "black_with_hole.png": with_alpha(np.zeros((6, 8, 3), np.uint8)),
    "white_with_hole.png": with_alpha(np.full((6, 8), 255, np.uint8)),
    "zeros_with_hole.webp": with_alpha(np.zeros((6, 8, 3), np.uint8)),
    "opaque.png": Image.merge("LA", (grey(0, 255), Image.new("L", (8, 6), 255))),
    "opaque_rgba.png": grey(0, 255).convert("RGBA"),
    "nearly_opaque.png": Image.merge("LA", (grey(0, 255), Image.new("L", (8, 6), 254))),
    "twelve_bits.png": grey(0, 4095, np.uint16),
    "grey_white.png": grey(200, 255),
}


@pytest.mark.parametrize("name", FILES)
def test_every_program_s_mask_keeps_the_same(name, tmp_path):
    options = {"lossless": True} if name.endswith("webp") else {}
    FILES[name].save(tmp_path / name, **options)
    np.testing.assert_array_equal(masks.read(tmp_path / name), KEPT)


@pytest.mark.parametrize(("value", "kept"), [(0, False), (1, True), (100, False), (128, True), (255, True)])
def test_masks_of_one_value(value, kept, tmp_path):
    Image.new("L", (4, 4), value).save(tmp_path / "mask.png")
    np.testing.assert_array_equal(masks.read(tmp_path / "mask.png"), np.full((4, 4), kept))
    Image.new("LA", (4, 4), (255 - value, 0)).save(tmp_path / "mask.png")
    assert not masks.read(tmp_path / "mask.png").any(), "all of it is transparent"


def test_two_values_that_are_nearly_the_same_are_one(tmp_path):
    for low, high, kept in ((254, 255, True), (60, 62, False)):
        grey(low, high).save(tmp_path / "mask.png")
        np.testing.assert_array_equal(masks.read(tmp_path / "mask.png"), np.full((6, 8), kept))


def test_what_is_no_mask_is_named(tmp_path):
    Image.fromarray(np.float32([[np.nan, 1]])).save(tmp_path / "nan.tiff")
    (tmp_path / "text.png").write_text("a mask")
    for name in ("nan.tiff", "text.png", "none.png"):
        with pytest.raises(OSError, match=name) as error:
            masks.read(tmp_path / name)
        assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("mask", "image", "fits"),
    [
        ((6, 8), (6, 8), True),
        ((6, 8), (8, 6), False),
        ((6, 8), (600, 800), True),
        ((334, 500), (667, 1000), True),  # rounded up
        ((333, 500), (667, 1000), True),  # rounded down
        ((300, 500), (667, 1000), False),
        ((200, 301), (667, 1000), True),  # cut off
        ((8, 8), (8, 9), False),
        ((9, 8), (8, 8), False),
        ((512, 512), (1024, 1030), False),
        ((1, 1), (1000, 1100), True),  # nothing is known of so small a one
    ],
)
def test_proportions(mask, image, fits):
    kept, pixels = np.zeros(mask, bool), np.zeros((*image, 3), np.uint8)
    if fits:
        masks.check_proportions("m.png", kept, "i.png", pixels)
        return
    sizes = f"m.png has {mask[1]}x{mask[0]} pixels and i.png {image[1]}x{image[0]}: they need the same proportions"
    with pytest.raises(ValueError, match=sizes):
        masks.check_proportions("m.png", kept, "i.png", pixels)


def test_a_mask_is_brought_to_the_model_as_its_image_is():
    kept = np.zeros((40, 60), bool)
    kept[:, 10:30] = True  # the left half of the middle square
    found = masks.fit(kept, 8)
    assert found.shape == (8, 8, 1) and found.dtype == np.float32
    np.testing.assert_array_equal(found[:, :4], 1)
    np.testing.assert_array_equal(found[:, 4:], 0)
