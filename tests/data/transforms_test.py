"""Decoding any mode, cropping and resizing: compared with values worked out by hand."""

import io

import numpy as np
import pytest
from PIL import Image

from genjax.data import transforms


def encoded(picture: Image.Image, format: str = "PNG", **options) -> bytes:
    file = io.BytesIO()
    picture.save(file, format=format, **options)
    return file.getvalue()


def rgba(*pixel: int) -> Image.Image:
    return Image.new("RGBA", (4, 4), pixel)


@pytest.mark.parametrize(
    ("picture", "expected"),
    [
        (Image.new("1", (4, 4), 1), [255]),
        (Image.new("L", (4, 4), 77), [77]),
        (Image.new("LA", (4, 4), (0, 0)), [255]),
        (Image.new("LA", (4, 4), (100, 255)), [100]),
        (Image.new("I;16", (4, 4), 0x8001), [0x80]),
        (Image.new("RGB", (4, 4), (1, 2, 3)), [1, 2, 3]),
        (rgba(10, 20, 30, 255), [10, 20, 30]),
        (rgba(10, 20, 30, 0), [255, 255, 255]),
        (rgba(0, 0, 0, 127), [128, 128, 128]),
        (rgba(200, 10, 10, 255).convert("P"), None),
    ],
)
def test_png_modes(picture, expected):
    pixels = transforms.decode(encoded(picture))
    assert pixels.dtype == np.uint8 and pixels.shape == (4, 4, 3 if expected is None else len(expected))
    expected = picture.convert("RGB").getpixel((0, 0)) if expected is None else expected
    np.testing.assert_array_equal(pixels, np.broadcast_to(expected, pixels.shape))


def test_transparent_palettes_and_keys_are_laid_on_white():
    palette = Image.new("P", (2, 2), 1)
    palette.putpalette([0, 0, 0, 9, 9, 9])
    np.testing.assert_array_equal(transforms.decode(encoded(palette, transparency=1)), 255)
    np.testing.assert_array_equal(transforms.decode(encoded(palette, transparency=0)), 9)
    grey = transforms.decode(encoded(Image.new("L", (2, 2), 50), transparency=50))
    np.testing.assert_array_equal(grey, np.full((2, 2, 1), 255))


@pytest.mark.parametrize("mode", ["CMYK", "YCbCr"])
def test_jpeg_in_other_colour_spaces_becomes_rgb(mode):
    red = Image.new("RGB", (16, 16), (250, 10, 10))
    pixels = transforms.decode(encoded(red.convert(mode), "JPEG", quality=95))
    assert pixels.shape == (16, 16, 3)
    np.testing.assert_allclose(pixels[8, 8], (250, 10, 10), atol=6)


@pytest.mark.parametrize(
    ("values", "expected"),
    [(np.float32([[0, 0.5, 1.0]]), [0, 128, 255]), (np.int32([[0, 128, 255]]), [0, 128, 255])],
)
def test_wide_greys_are_scaled_to_white(values, expected):
    pixels = transforms.decode(Image.fromarray(values))
    np.testing.assert_array_equal(pixels[0, :, 0], expected)


def test_grey_values_beyond_understanding_are_refused():
    with pytest.raises(OSError, match="only 0..1"):
        transforms.decode(Image.fromarray(np.float32([[-5.0, 1e9]])))


def test_camera_orientation_is_applied():
    picture = Image.new("RGB", (6, 2), (0, 0, 0))
    picture.putpixel((0, 0), (255, 255, 255))
    exif = Image.Exif()
    exif[0x0112] = 6  # the camera was turned: show it a quarter turn clockwise
    pixels = transforms.decode(encoded(picture, "PNG", exif=exif))
    assert pixels.shape == (6, 2, 3)
    assert pixels[0, 1, 0] == 255 and pixels.sum() == 3 * 255


def test_decode_takes_paths_and_open_pictures(tmp_path):
    Image.new("L", (3, 5), 9).save(tmp_path / "a.png")
    assert transforms.decode(str(tmp_path / "a.png")).shape == (5, 3, 1)
    assert transforms.decode(Image.new("L", (3, 5))).shape == (5, 3, 1)


@pytest.mark.parametrize("broken", [b"", b"no picture", encoded(Image.effect_noise((64, 64), 50))[:500]])
def test_broken_bytes_are_an_oserror(broken):
    with pytest.raises(OSError):
        transforms.decode(broken)


def test_arrays_of_others():
    assert transforms.from_array(np.zeros((4, 5), np.uint8)).shape == (4, 5, 1)
    assert transforms.from_array(np.full((2, 2, 1), 65535, np.uint16)).max() == 255
    np.testing.assert_array_equal(transforms.from_array(np.full((2, 2, 3), 0.5, np.float32)), 128)
    np.testing.assert_array_equal(transforms.from_array(np.full((2, 2, 1), True)), 255)
    np.testing.assert_array_equal(
        transforms.from_array(np.zeros((2, 2, 4), np.uint8)), np.full((2, 2, 3), 255)
    )
    np.testing.assert_array_equal(
        transforms.from_array(np.zeros((2, 2, 2), np.uint8)), np.full((2, 2, 1), 255)
    )
    for shape, dtype in (((4,), np.uint8), ((4, 4, 5), np.uint8), ((4, 4, 3), np.int64)):
        with pytest.raises(ValueError, match="an image must be"):
            transforms.from_array(np.zeros(shape, dtype))


def test_channels():
    grey = np.arange(4, dtype=np.uint8).reshape(2, 2, 1)
    np.testing.assert_array_equal(transforms.to_channels(grey, 3), np.concatenate([grey] * 3, axis=-1))
    assert transforms.to_channels(grey, 1) is grey
    colours = np.uint8([[[255, 0, 0], [0, 255, 0], [0, 0, 255], [80, 80, 80]]])
    luma = transforms.to_channels(colours, 1)[0, :, 0]
    np.testing.assert_allclose(luma, [76, 150, 29, 80], atol=1)


@pytest.mark.parametrize("shape", [(8, 8, 1), (32, 32, 3)])
def test_the_right_size_passes_unchanged(shape):
    pixels = np.random.default_rng(0).integers(0, 256, shape, np.uint8)
    np.testing.assert_array_equal(transforms.center_crop(pixels, shape[0]), pixels)


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize(
    ("height", "width"), [(7, 90), (301, 40), (33, 31), (1, 1), (16, 17), (15, 16), (64, 64)]
)
def test_any_size_becomes_the_square(height, width, channels):
    pixels = np.random.default_rng(0).integers(0, 256, (height, width, channels), np.uint8)
    rng = np.random.default_rng(1)
    for crop in (transforms.center_crop(pixels, 16), transforms.random_crop(pixels, 16, rng)):
        assert crop.shape == (16, 16, channels) and crop.dtype == np.uint8


def test_reduction_by_a_power_of_two_is_the_area_mean():
    pixels = np.random.default_rng(0).integers(0, 256, (64, 64, 3), np.uint8)
    mean = pixels.reshape(16, 4, 16, 4, 3).astype(float).mean(axis=(1, 3))
    np.testing.assert_allclose(transforms.center_crop(pixels, 16), mean, atol=2)


def test_fine_patterns_don_t_alias():
    stripes = np.zeros((96, 96, 1), np.uint8)
    stripes[:, ::2] = 255
    small = transforms.center_crop(stripes, 20)
    assert 120 <= small.min() and small.max() <= 136


def test_center_crop_keeps_the_middle():
    wide = np.zeros((10, 30, 1), np.uint8)
    wide[:, 10:20] = 200
    np.testing.assert_array_equal(transforms.center_crop(wide, 10), 200)
    np.testing.assert_array_equal(transforms.center_crop(wide.transpose(1, 0, 2), 10), 200)


def test_cropping_agrees_with_adm():
    """`center_crop_arr` of guided-diffusion, written out."""
    pixels = np.random.default_rng(0).integers(0, 256, (150, 211, 3), np.uint8)
    picture = Image.fromarray(pixels)
    while min(*picture.size) >= 2 * 32:
        picture = picture.resize(tuple(x // 2 for x in picture.size), resample=Image.BOX)
    scale = 32 / min(*picture.size)
    array = np.array(picture.resize(tuple(round(x * scale) for x in picture.size), resample=Image.BICUBIC))
    top, left = (array.shape[0] - 32) // 2, (array.shape[1] - 32) // 2
    np.testing.assert_array_equal(transforms.center_crop(pixels, 32), array[top : top + 32, left : left + 32])


def test_random_crops_differ_and_follow_the_generator():
    pixels = np.random.default_rng(0).integers(0, 256, (40, 60, 3), np.uint8)
    crops = [transforms.random_crop(pixels, 16, np.random.default_rng(seed)) for seed in (0, 0, 1, 2)]
    np.testing.assert_array_equal(crops[0], crops[1])
    assert not np.array_equal(crops[0], crops[2]) and not np.array_equal(crops[2], crops[3])


def test_flip_mirrors_half_of_the_time():
    pixels = np.arange(6, dtype=np.uint8).reshape(1, 6, 1)
    rng = np.random.default_rng(0)
    flipped = [transforms.random_flip(pixels, rng)[0, 0, 0] for _ in range(400)]
    assert set(flipped) == {0, 5} and 160 < flipped.count(5) < 240


def test_float_range():
    values = transforms.to_float(np.uint8([0, 127, 255]))
    assert values.dtype == np.float32
    np.testing.assert_allclose(values, [-1, -1 / 255, 1], atol=1e-7)


def test_text():
    assert transforms.as_text("Grüße".encode()) == "Grüße"
    assert transforms.as_text(b"\xff broken") == "\ufffd broken"
    assert transforms.as_text("plain") == "plain"
