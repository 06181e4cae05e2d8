"""From a file's bytes to the float image that a network sees, in numpy and PIL.

Images are uint8 [h, w, c] with c = 1 (grey) or 3 (RGB) until the last step, and float32 in [-1, 1] after
it.

Cropping and resizing follow the preprocessing of ADM (arXiv 2105.05233, `center_crop_arr` and
`random_crop_arr`): the shorter side is halved by 2x2 box averages while it is at least twice the target, then
brought to the target by one antialiased bicubic resize, and the square is cut out of the result. One
difference: bicubic resizing is skipped when nothing is left to do, so that images of the right size pass
through unchanged.
"""

import math
import os
from typing import Any

import numpy as np
from PIL import Image

from genjax.data import opening
from genjax.typing import Float, UInt8

CROPS = ("center", "random")

LONG = 8
"""Of an image that is more than so many times as long as wide, only a stretch of this proportion is resized."""

WIDE_MODES = ("I", "F")
"""Modes of 32 bits a pixel, which PIL cannot turn into 8 bits faithfully."""

_DIRECT = ("L", "RGB")


def decode(image: bytes | str | os.PathLike | Image.Image, name: str = "") -> UInt8[np.ndarray, "h w c"]:
    """An image in any mode as grey or RGB, upright; of an animation the first frame.

    The camera's orientation (EXIF, else XMP) is applied; metadata that can't be read means upright. Transparency is
    laid on white, palettes and CMYK become RGB, and 16-bit grey keeps its upper 8 bits.

    Args:
        image: encoded bytes, a path, or an open PIL image.
        name: what errors call it; by default its path.

    Raises:
        OSError: bytes that are no image, or one that is broken or cut short; names it, in one line.
    """
    with opening.upright(image, name) as opened:
        return _pixels(opened)


def _pixels(image: Image.Image) -> UInt8[np.ndarray, "h w c"]:
    """A loaded image in any mode as grey or RGB."""
    if image.mode in opening.SIXTEEN_BIT:
        values = np.asarray(image).astype(np.uint16)
        transparent = values == image.info.get("transparency", -1)
        return np.where(transparent, 255, values >> 8).astype(np.uint8)[..., None]
    if image.mode in WIDE_MODES:
        return _wide_grey(np.asarray(image))[..., None]
    if image.has_transparency_data:
        grey = image.mode in ("1", "L", "LA", "La")
        image = _on_white(image.convert("RGBA")).convert("L" if grey else "RGB")
    elif image.mode == "1":
        image = image.convert("L")
    elif image.mode not in _DIRECT:
        image = image.convert("RGB")
    pixels = np.array(image)
    return pixels[..., None] if pixels.ndim == 2 else pixels


def _on_white(image: Image.Image) -> Image.Image:
    """An RGBA image laid on white."""
    return Image.alpha_composite(Image.new("RGBA", image.size, (255, 255, 255, 255)), image)


def _wide_grey(values: np.ndarray) -> UInt8[np.ndarray, "h w"]:
    """32-bit grey as uint8: white is the smallest of 1 (floats only), 255, 65535 that bounds the values."""
    top = values.max(initial=0)
    whites = (1.0, 255.0, 65535.0) if values.dtype.kind == "f" else (255.0, 65535.0)
    white = next((w for w in whites if top <= w), None)
    if white is None or values.min(initial=0) < 0:
        raise OSError(f"grey values from {values.min()} to {top}: only 0..1, 0..255 and 0..65535 are understood")
    return np.round(values * (255.0 / white)).astype(np.uint8)


def from_array(pixels: np.ndarray) -> UInt8[np.ndarray, "h w c"]:
    """Pixels that somebody else decoded as grey or RGB uint8 [h, w, c].

    Args:
        pixels: [h, w] or [h, w, c] with c in 1 (grey), 2 (grey and alpha), 3 (RGB), 4 (RGB and alpha), as bool, uint8,
            uint16 (upper 8 bits are kept) or float in 0..1.

    Raises:
        ValueError: another number of channels, or another dtype.
    """
    pixels = np.asarray(pixels)
    if pixels.ndim == 2:
        pixels = pixels[..., None]
    if pixels.ndim != 3 or not 1 <= pixels.shape[-1] <= 4 or not pixels.size:
        raise ValueError(f"an image must be [h, w] or [h, w, 1 to 4] with pixels in it, not {pixels.shape}")
    if pixels.dtype == np.uint16:
        pixels = (pixels >> 8).astype(np.uint8)
    elif pixels.dtype == bool or pixels.dtype.kind == "f":
        pixels = np.round(np.clip(pixels, 0, 1) * 255.0).astype(np.uint8)
    elif pixels.dtype != np.uint8:
        raise ValueError(f"an image must be bool, uint8, uint16 or float in 0..1, not {pixels.dtype}")
    if pixels.shape[-1] in (2, 4):
        alpha = pixels[..., -1:].astype(np.float32) / 255.0
        pixels = np.round(pixels[..., :-1] * alpha + 255.0 * (1.0 - alpha)).astype(np.uint8)
    return pixels


def to_channels(pixels: UInt8[np.ndarray, "h w c"], channels: int) -> UInt8[np.ndarray, "h w d"]:
    """Grey to RGB by repetition, RGB to grey by luma (ITU-R 601); unchanged where `channels` fits already."""
    if pixels.shape[-1] == channels:
        return pixels
    if channels == 3:
        return np.repeat(pixels, 3, axis=-1)
    return np.array(Image.fromarray(pixels).convert("L"))[..., None]


def center_crop(pixels: UInt8[np.ndarray, "h w c"], size: int) -> UInt8[np.ndarray, "s s c"]:
    """The middle square at `size` pixels: shorter side resized to `size`, the longer one cut at both ends."""
    height, width = _resized(pixels.shape, size)
    return _square(pixels, size, size, (height - size) // 2, (width - size) // 2)


def random_crop(
    pixels: UInt8[np.ndarray, "h w c"], size: int, rng: np.random.Generator, smallest: float = 0.8
) -> UInt8[np.ndarray, "s s c"]:
    """A random square at `size` pixels, whose side is `smallest` to 1 of the image's shorter side."""
    shorter = int(rng.integers(size, math.ceil(size / smallest) + 1))
    height, width = _resized(pixels.shape, shorter)
    top = int(rng.integers(height - size + 1))
    left = int(rng.integers(width - size + 1))
    return _square(pixels, size, shorter, top, left)


def _halved(shape: tuple[int, ...], shorter: int) -> tuple[int, int]:
    """(height, width) after the box averages of an image whose shorter side is to become `shorter`."""
    height, width = shape[:2]
    while min(height, width) >= 2 * shorter:
        height, width = height // 2, width // 2
    return height, width


def _resized(shape: tuple[int, ...], shorter: int) -> tuple[int, int]:
    """(height, width) of an image brought to a shorter side of `shorter`."""
    if min(shape[:2]) == shorter:
        return shape[0], shape[1]
    height, width = _halved(shape, shorter)
    scale = shorter / min(height, width)
    return max(shorter, round(height * scale)), max(shorter, round(width * scale))


def _square(pixels: np.ndarray, size: int, shorter: int, top: int, left: int) -> np.ndarray:
    """The square of `size` at (top, left) of an image brought to a shorter side of `shorter`.

    Of an image that is very long, only a stretch about the square is resized: 2x20,000 pixels would be 256x2,560,000.
    """
    long = int(np.argmax(pixels.shape[:2]))
    if pixels.shape[long] > LONG * pixels.shape[1 - long]:
        scale = _resized(pixels.shape, shorter)[long] / pixels.shape[long]
        middle = round(((top, left)[long] + size / 2) / scale)
        reach = LONG * pixels.shape[1 - long] // 2
        first = min(max(middle - reach, 0), pixels.shape[long] - 2 * reach)
        stretch = slice(first, first + 2 * reach)
        pixels = pixels[:, stretch] if long else pixels[stretch]
        offset = (top, left)[long] - round(first * scale)
        offset = min(max(offset, 0), _resized(pixels.shape, shorter)[long] - size)
        top, left = (top, offset) if long else (offset, left)
    return _resize_shorter(pixels, shorter)[top : top + size, left : left + size]


def _resize_shorter(pixels: np.ndarray, shorter: int) -> np.ndarray:
    """Bring the shorter side to `shorter`, proportions kept: box halvings, then one antialiased bicubic."""
    height, width, channels = pixels.shape
    if min(height, width) == shorter:
        return pixels
    image = Image.fromarray(pixels[..., 0] if channels == 1 else pixels)
    while min(image.size) >= 2 * shorter:
        image = image.resize((image.width // 2, image.height // 2), Image.Resampling.BOX)
    target = _resized(pixels.shape, shorter)[::-1]
    if target != image.size:
        image = image.resize(target, Image.Resampling.BICUBIC)
    resized = np.array(image)
    return resized[..., None] if channels == 1 else resized


def random_flip(pixels: UInt8[np.ndarray, "h w c"], rng: np.random.Generator) -> UInt8[np.ndarray, "h w c"]:
    """Mirror left and right with probability one half."""
    return pixels[:, ::-1] if rng.integers(2) else pixels


def to_float(pixels: UInt8[np.ndarray, "..."]) -> Float[np.ndarray, "..."]:
    """uint8 0..255 to float32 in [-1, 1]: `x / 127.5 - 1`."""
    return pixels.astype(np.float32) / np.float32(127.5) - np.float32(1.0)


def as_text(value: Any) -> str:
    """A caption as `str`, whether it came as bytes (as TFDS gives it) or text."""
    return value.decode("utf-8", errors="replace") if isinstance(value, bytes) else str(value)
