"""Decoding any mode, cropping and resizing: compared with values worked out by hand."""

import errno
import io
import struct
import zlib

import numpy as np
import pytest
from PIL import Image, PngImagePlugin

from genjax.data import transforms


def encoded(image: Image.Image, format: str = "PNG", **options) -> bytes:
    file = io.BytesIO()
    image.save(file, format=format, **options)
    return file.getvalue()


def rgba(*pixel: int) -> Image.Image:
    return Image.new("RGBA", (4, 4), pixel)


@pytest.mark.parametrize(
    ("image", "expected"),
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
def test_png_modes(image, expected):
    pixels = transforms.decode(encoded(image))
    assert pixels.dtype == np.uint8 and pixels.shape == (4, 4, 3 if expected is None else len(expected))
    expected = image.convert("RGB").getpixel((0, 0)) if expected is None else expected
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
    image = Image.new("RGB", (6, 2), (0, 0, 0))
    image.putpixel((0, 0), (255, 255, 255))
    exif = Image.Exif()
    exif[0x0112] = 6  # the camera was turned: show it a quarter turn clockwise
    pixels = transforms.decode(encoded(image, "PNG", exif=exif))
    assert pixels.shape == (6, 2, 3)
    assert pixels[0, 1, 0] == 255 and pixels.sum() == 3 * 255


RAMP = Image.fromarray(np.arange(24, dtype=np.uint8).reshape(4, 6) * 10)
CORNERS = {  # orientation -> what is shown at (top left, top right) of RAMP, whose corners are 0 50 180 230
    1: (0, 50), 2: (50, 0), 3: (230, 180), 4: (180, 230), 5: (0, 180), 6: (180, 0), 7: (230, 50), 8: (50, 230),
}  # fmt: skip


def entries(*tags: tuple) -> bytes:
    """An EXIF block of (tag, type, count, four bytes)."""
    packed = b"".join(struct.pack("<HHI4s", *tag) for tag in tags)
    return b"Exif\0\0II*\0\x08\0\0\0" + struct.pack("<H", len(tags)) + packed + bytes(100)


def shown(image: bytes) -> tuple[int, int]:
    """The upper corners of a RAMP, to the tens."""
    pixels = transforms.decode(image).astype(int)
    return tuple(round(pixels[0, column, 0] / 10) * 10 for column in (0, -1))


@pytest.mark.parametrize("orientation", [0, *CORNERS, 9, 77])
@pytest.mark.parametrize("format", ["JPEG", "PNG", "WEBP", "TIFF"])
def test_every_orientation_and_none_beyond_them(orientation, format):
    exif = Image.Exif()
    exif[0x0112] = orientation
    where = {"tiffinfo": {0x0112: orientation}} if format == "TIFF" else {"exif": exif}
    options = {"JPEG": {"quality": 100}, "WEBP": {"lossless": True}}.get(format, {})
    assert shown(encoded(RAMP, format, **where, **options)) == CORNERS.get(orientation, (0, 50))


@pytest.mark.parametrize(
    ("exif", "orientation"),
    [
        (entries((0x112, 3, 1, b"\6\0\0\0"), (0x11A, 2, 4, b"abc\0")), 6),  # XResolution as text
        (entries((0x100, 9, 1, struct.pack("<i", -5)), (0x112, 3, 1, b"\6\0\0\0")), 6),  # ImageWidth -5
        (entries((0x112, 3, 1, b"\6\0\0\0"), (0x8769, 4, 1, b"\xff\xff\xff\0")), 6),  # a pointer to nowhere
        (entries((0x112, 4, 1, b"\6\0\0\0")), 6),  # as LONG
        (entries((0x112, 2, 2, b"6\0\0\0")), 1),  # as text
        (entries((0x112, 5, 1, b"\xff\xff\0\0")), 1),  # as a rational that isn't there
        (b"Exif\0\0garbage", 1),
        (b"Exif\0\0II*\0\xff\xff\xff\x7f", 1),
        (b"Exif\0\0", 1),
    ],
)
@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("format", ["JPEG", "PNG"])
def test_only_the_orientation_is_read_and_unreadable_metadata_means_upright(exif, orientation, format):
    assert shown(encoded(RAMP, format, exif=exif)) == CORNERS[orientation]


def test_orientation_of_xmp_and_of_a_raw_profile_that_cannot_be_read():
    text = PngImagePlugin.PngInfo()
    text.add_itxt("XML:com.adobe.xmp", '<x:xmpmeta tiff:Orientation="6">')
    assert shown(encoded(RAMP, pnginfo=text)) == CORNERS[6]
    text = PngImagePlugin.PngInfo()
    text.add_text("Raw profile type exif", "\nexif\n9\nno hex")
    assert shown(encoded(RAMP, pnginfo=text)) == CORNERS[1]


@pytest.mark.parametrize("size", [(1, 1), (1, 9), (7, 3), (8, 8)])
@pytest.mark.parametrize("progressive", [False, True])
def test_a_jpeg_of_any_size(size, progressive):
    pixels = transforms.decode(encoded(Image.new("RGB", size, (200, 10, 10)), "JPEG", progressive=progressive))
    assert pixels.shape == (size[1], size[0], 3)
    np.testing.assert_allclose(pixels, np.broadcast_to([200, 10, 10], pixels.shape), atol=3)


def png(colour: int, bits: int, row: bytes, key: bytes = b"", width: int = 2) -> bytes:
    """One row of a PNG, with a transparent value."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    head = chunk(b"IHDR", struct.pack(">IIBBBBB", width, 1, bits, colour, 0, 0, 0))
    body = (chunk(b"tRNS", key) if key else b"") + chunk(b"IDAT", zlib.compress(b"\0" + row)) + chunk(b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + head + body


@pytest.mark.parametrize(
    ("colour", "bits", "row", "key", "expected"),
    [
        (0, 1, b"\x40", b"\0\0", [[255], [255]]),
        (0, 2, b"\x60", b"\0\1", [[255], [170]]),
        (0, 4, b"\x31", b"\0\3", [[255], [17]]),
        (0, 8, b"\x09\x07", b"\0\x09", [[255], [7]]),
        (0, 16, b"\0\0\x12\x34", b"\0\0", [[255], [0x12]]),
        (0, 16, b"\x12\x35\x12\x34", b"\x12\x34", [[0x12], [255]]),
        (2, 8, b"\1\2\3\4\5\6", b"\0\1\0\2\0\3", [[255] * 3, [4, 5, 6]]),
        (2, 16, b"\1\0\2\0\3\0\4\0\5\0\6\0", b"\1\0\2\0\3\0", [[255] * 3, [4, 5, 6]]),
    ],
)
def test_the_transparent_value_of_a_png_is_white_in_every_depth(colour, bits, row, key, expected):
    np.testing.assert_array_equal(transforms.decode(png(colour, bits, row, key))[0], expected)


def test_sixteen_bits_of_either_byte_order():
    for mode in ("I;16", "I;16B"):
        image = Image.frombytes(mode, (2, 1), struct.pack(">2H" if mode == "I;16B" else "<2H", 0x80FF, 0x0100))
        np.testing.assert_array_equal(transforms.decode(image)[0, :, 0], [0x80, 0x01])


@pytest.mark.parametrize("format", ["GIF", "WEBP", "PNG", "TIFF"])
def test_an_animation_is_its_first_frame(format):
    frames = [Image.new("RGB", (4, 4), colour) for colour in ((250, 0, 0), (0, 250, 0))]
    animated = encoded(frames[0], format, save_all=True, append_images=frames[1:])
    np.testing.assert_allclose(transforms.decode(animated)[0, 0], (250, 0, 0), atol=5)


def broken_files() -> dict[str, tuple[bytes, str]]:
    noise = Image.effect_noise((64, 64), 50)
    jpeg = encoded(noise, "JPEG")
    frame = jpeg.index(b"\xff\xc0") + 4
    files = {f"cut.{format}": (encoded(noise, format)[:900], "") for format in ("JPEG", "GIF", "TIFF", "BMP", "PNG")}
    return files | {
        "cut.webp": (encoded(noise, "WEBP")[:900], "can't be decoded"),
        "twelve.jpg": (jpeg[:frame] + b"\x0c" + jpeg[frame + 1 :], "is a JPEG of 12 bits"),
        "empty.png": (b"", "is an empty file"),
        "page.png": (b"\n <!DOCTYPE html><html>404", "is a web page"),
        "lfs.png": (b"version https://git-lfs.github.com/spec/v1\noid", "run `git lfs pull`"),
        "photo.jpg": (b"\0\0\0\x18ftypheic" + bytes(40), "is an image of HEIC, which Pillow can't read: save it as"),
        "cut.avif": (b"\0\0\0\x20ftypavif" + bytes(40), "is an image of AVIF that is cut short or damaged"),
        "film.png": (b"\0\0\0\x18ftypisom" + bytes(40), "is a video or an image of a kind that Pillow can't read"),
        "drawing.png": (b"<?xml version='1.0'?>\n<svg/>", "is a drawing of SVG, which has no pixels: save it as PNG"),
        "archive.png": (b"PK\x03\x04rest", "is an archive and no image: unpack it"),
        "array.png": (b"\x93NUMPY\x01", "is an array of numpy and no image: save it as PNG"),
        "paper.png": (b"%PDF-1.4", "is a PDF and no image: save it as PNG"),
        "text.png": (b"a cat", "is no image that Pillow can read"),
        "huge.png": (png(0, 8, b"", width=2**30), "more than 178 million pixels: make it smaller"),
        "nan.tiff": (encoded(Image.fromarray(np.float32([[np.nan, 1]])), "TIFF"), "grey values from nan to nan"),
        "two\nlines\udcff.png": (b"a cat", "is no image that Pillow can read"),
    }


@pytest.mark.parametrize("name", broken_files())
def test_every_error_is_an_oserror_that_names_the_file(name, tmp_path):
    contents, message = broken_files()[name]
    path = tmp_path / name
    path.write_bytes(contents)
    with pytest.raises(OSError) as error:
        transforms.decode(path)
    said = str(error.value)
    assert name.splitlines()[0].strip("\udcff") in said and message in said and len(said.splitlines()) == 1
    said.encode()


def test_the_system_s_own_errors_keep_their_kind(tmp_path, monkeypatch):
    with pytest.raises(FileNotFoundError, match="none.png"):
        transforms.decode(tmp_path / "none.png")
    with pytest.raises(IsADirectoryError):
        transforms.decode(tmp_path)
    RAMP.save(tmp_path / "far.png")

    def fail(self):
        raise OSError(5, "Input/output error")

    monkeypatch.setattr(Image.Image, "load", fail)
    monkeypatch.setattr(PngImagePlugin.PngImageFile, "load", fail)
    with pytest.raises(OSError, match="far.png") as error:
        transforms.decode(tmp_path / "far.png")
    assert error.value.errno == 5


@pytest.mark.filterwarnings("ignore")
def test_a_large_image_is_told_of_once_by_name(tmp_path, monkeypatch, caplog):
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 20)
    RAMP.save(tmp_path / "large.png")
    for _ in range(3):
        assert transforms.decode(tmp_path / "large.png").shape == (4, 6, 1)
    assert len(caplog.records) == 1 and "large.png has 6x4 pixels" in caplog.text


def test_too_little_memory_is_named_and_passes(tmp_path, monkeypatch):
    """It isn't the file's fault: the error has the system's number."""

    def fail(self):
        raise MemoryError

    RAMP.save(tmp_path / "far.png")
    monkeypatch.setattr(PngImagePlugin.PngImageFile, "load", fail)
    with pytest.raises(OSError, match="not enough memory to read it.*far.png") as error:
        transforms.decode(tmp_path / "far.png")
    assert error.value.errno == errno.ENOMEM


def test_decode_takes_paths_and_open_images(tmp_path):
    Image.new("L", (3, 5), 9).save(tmp_path / "a.png")
    assert transforms.decode(str(tmp_path / "a.png")).shape == (5, 3, 1)
    assert transforms.decode(Image.new("L", (3, 5))).shape == (5, 3, 1)


@pytest.mark.parametrize("broken", [b"", b"no image", encoded(Image.effect_noise((64, 64), 50))[:500]])
def test_broken_bytes_are_an_oserror(broken):
    with pytest.raises(OSError):
        transforms.decode(broken)


def test_arrays_of_others():
    assert transforms.from_array(np.zeros((4, 5), np.uint8)).shape == (4, 5, 1)
    assert transforms.from_array(np.full((2, 2, 1), 65535, np.uint16)).max() == 255
    np.testing.assert_array_equal(transforms.from_array(np.full((2, 2, 3), 0.5, np.float32)), 128)
    np.testing.assert_array_equal(transforms.from_array(np.full((2, 2, 1), True)), 255)
    np.testing.assert_array_equal(transforms.from_array(np.zeros((2, 2, 4), np.uint8)), np.full((2, 2, 3), 255))
    np.testing.assert_array_equal(transforms.from_array(np.zeros((2, 2, 2), np.uint8)), np.full((2, 2, 1), 255))
    for shape, dtype in (((4,), np.uint8), ((0, 4, 3), np.uint8), ((4, 4, 5), np.uint8), ((4, 4, 3), np.int64)):
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
@pytest.mark.parametrize(("height", "width"), [(7, 90), (301, 40), (33, 31), (1, 1), (16, 17), (15, 16), (64, 64)])
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
    image = Image.fromarray(pixels)
    while min(*image.size) >= 2 * 32:
        image = image.resize(tuple(x // 2 for x in image.size), resample=Image.BOX)
    scale = 32 / min(*image.size)
    array = np.array(image.resize(tuple(round(x * scale) for x in image.size), resample=Image.BICUBIC))
    top, left = (array.shape[0] - 32) // 2, (array.shape[1] - 32) // 2
    np.testing.assert_array_equal(transforms.center_crop(pixels, 32), array[top : top + 32, left : left + 32])


@pytest.mark.parametrize("shape", [(2, 20_000), (20_000, 2), (1, 60_000), (300, 20_000)])
def test_of_a_very_long_image_only_a_stretch_is_resized(shape, monkeypatch):
    """Its middle, or a place anywhere along it; whole it would be gigabytes."""
    along = np.linspace(0, 255, max(shape)).astype(np.uint8)
    pixels = np.broadcast_to(along if shape[1] > shape[0] else along[:, None], shape)[..., None].copy()
    sizes, resize = [], transforms._resize_shorter

    def spy(pixels, shorter):
        resized = resize(pixels, shorter)
        sizes.append(resized.size)
        return resized

    monkeypatch.setattr(transforms, "_resize_shorter", spy)
    np.testing.assert_allclose(transforms.center_crop(pixels, 32), 127, atol=2)
    rng = np.random.default_rng(0)
    seen = [float(transforms.random_crop(pixels, 32, rng).mean()) for _ in range(60)]
    assert min(seen) < 25 and max(seen) > 230 and 90 < np.mean(seen) < 165
    assert max(sizes) <= transforms.LONG * 40 * 40


def test_where_the_stretch_of_a_long_image_lies():
    """Steps of one grey a pixel: the square is the one that is cut out of the whole image."""
    long = np.repeat(np.arange(200, dtype=np.uint8)[None], 2, axis=0)[..., None]
    whole = transforms._resize_shorter(long, 16)
    np.testing.assert_array_equal(transforms.center_crop(long, 16), whole[:, 792:808])
    for seed in range(8):
        rng = np.random.default_rng(seed)
        shorter = int(rng.integers(16, 21))
        top, left = int(rng.integers(shorter - 15)), int(rng.integers(100 * shorter - 15))
        expected = transforms._resize_shorter(long, shorter)[top : top + 16, left : left + 16]
        found = transforms.random_crop(long, 16, np.random.default_rng(seed))
        np.testing.assert_allclose(found.astype(int), expected, atol=1)


def test_random_crops_differ_and_follow_the_generator():
    pixels = np.random.default_rng(0).integers(0, 256, (40, 60, 3), np.uint8)
    crops = [transforms.random_crop(pixels, 16, np.random.default_rng(seed)) for seed in (0, 0, 1, 2)]
    np.testing.assert_array_equal(crops[0], crops[1])
    assert not np.array_equal(crops[0], crops[2]) and not np.array_equal(crops[2], crops[3])


@pytest.mark.parametrize("axis", [0, 1])
def test_random_crops_begin_anywhere_from_the_first_row_and_column_to_the_last(axis):
    """All places of a square of 4 pixels in 4 x 7, none more often than twice a seventh and the last as the others."""
    pixels = np.broadcast_to(np.arange(7, dtype=np.uint8)[None, :, None], (4, 7, 1))
    pixels = np.moveaxis(pixels, 1, axis) if axis == 0 else pixels
    rng = np.random.default_rng(0)
    crops = [transforms.random_crop(pixels, 4, rng, smallest=1.0)[0, 0, 0] for _ in range(400)]
    assert all(70 < crops.count(place) < 130 for place in range(4)) and set(crops) == {0, 1, 2, 3}


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
