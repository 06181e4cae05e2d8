"""Images at the edges: uint8 to [-1, 1] and back, resizing, grids, PNG and GIF files."""

import io
import math
import os
from collections.abc import Sequence
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np

from genjax.typing import Array, Float, Key, UInt8

BIN_WIDTH = 2 / 255
"""Of an 8-bit pixel, in [-1, 1]."""
_SHOWN = 240
"""Characters of a caption that are drawn above its images."""


def from_uint8(pixels: UInt8[Array, "..."] | UInt8[np.ndarray, "..."]) -> Float[Array, "..."]:
    """uint8 in [0, 255] to float32 in [-1, 1]: `x / 127.5 - 1`."""
    return jnp.asarray(pixels, jnp.float32) / 127.5 - 1.0


def to_uint8(images: Float[Array, "..."]) -> UInt8[Array, "..."]:
    """float in [-1, 1] to uint8 in [0, 255]: clipped, then rounded to the nearest level."""
    return jnp.clip(jnp.round((images.astype(jnp.float32) + 1.0) * 127.5), 0, 255).astype(jnp.uint8)


def dequantize(images: Float[Array, "b ..."], key: Key, bin_width: float = BIN_WIDTH) -> Float[Array, "b ..."]:
    """8-bit images with uniform noise over their bins, +-1/255 in [-1, 1], for densities of continuous images."""
    return images + jax.random.uniform(key, images.shape, images.dtype, -bin_width / 2, bin_width / 2)


def resize(
    images: Float[Array, "b h w c"], size: tuple[int, ...], method: str = "bilinear", antialias: bool = False
) -> Float[Array, "b h2 w2 c"]:
    """Images at another size, (height, width).

    Args:
        images: float images.
        size: the new (height, width).
        method: "bilinear", "nearest", "cubic", "lanczos3" as in `jax.image.resize`, or "area": the mean over
            whole blocks, for integer factors of reduction.
        antialias: widen the kernel on reduction. Off by default, as in torch's `interpolate`.

    Raises:
        ValueError: "area" with a size that doesn't divide the image's.
    """
    b, h, w, c = images.shape
    if method != "area":
        return jax.image.resize(images, (b, *size, c), method, antialias=antialias)
    if h % size[0] or w % size[1]:
        raise ValueError(f"area resize needs a divisor of {(h, w)}, not {size}; use method='bilinear'")
    return images.reshape(b, size[0], h // size[0], size[1], w // size[1], c).mean(axis=(2, 4))


def make_grid(
    pixels: UInt8[np.ndarray, "n h w c"], columns: int | None = None, pad: int = 1, scale: int | None = None
) -> UInt8[np.ndarray, "H W 3"]:
    """Images side by side in one RGB image, row by row, on white.

    Args:
        pixels: uint8 images with 1 or 3 channels.
        columns: images a row; by default the grid is about square.
        pad: white pixels between images, before scaling.
        scale: whole factor by which each pixel is repeated; by default images under 64 pixels high are
            upsampled to about that, so that a person can see them.
    """
    n, h, w, c = pixels.shape
    columns = columns or math.ceil(math.sqrt(n))
    rows = math.ceil(n / columns)
    grid = np.full((rows * (h + pad) + pad, columns * (w + pad) + pad, 3), 255, np.uint8)
    for index, image in enumerate(pixels):
        y, x = (index // columns) * (h + pad) + pad, (index % columns) * (w + pad) + pad
        grid[y : y + h, x : x + w] = np.broadcast_to(image, (h, w, 3)) if c == 1 else image[..., :3]
    scale = scale or max(1, 48 // h)
    return grid.repeat(scale, axis=0).repeat(scale, axis=1)


def make_captioned_grid(
    pixels: UInt8[np.ndarray, "n h w c"], captions: Sequence[str], columns: int | None = None, width: int = 128
) -> UInt8[np.ndarray, "H W 3"]:
    """Images with their captions, on white: images in a row that have the same caption share it, above them.

    Args:
        pixels: uint8 images with 1 or 3 channels.
        captions: of each.
        columns: strips side by side; by default the grid is about square.
        width: pixels that an image is at least wide, so that a person can read its caption.
    """
    n, h, w, _ = pixels.shape
    starts = [index for index in range(n) if not index or captions[index] != captions[index - 1]]
    strips = [pixels[start:end] for start, end in zip(starts, [*starts[1:], n])]
    longest = max(map(len, strips))
    scale = max(1, -(-width // w))
    columns = columns or max(1, round(math.sqrt(len(strips) / longest)))
    drawn = [make_grid(strip, longest, pad=1, scale=scale) for strip in strips]
    wide, high = drawn[0].shape[1], drawn[0].shape[0]
    titles = [_write(captions[start], wide) for start in starts]
    rows = []
    for start in range(0, len(strips), columns):
        tallest = max(title.shape[0] for title in titles[start : start + columns])
        cells = []
        for title, strip in zip(titles[start : start + columns], drawn[start : start + columns]):
            cell = np.full((tallest + high, wide, 3), 255, np.uint8)
            cell[tallest - title.shape[0] : tallest], cell[tallest:] = title, strip
            cells.append(cell)
        blank = [np.full_like(cells[0], 255)] * (columns - len(cells))
        rows.append(np.concatenate(cells + blank, axis=1))
    return np.concatenate(rows)


def _write(text: str, width: int) -> UInt8[np.ndarray, "h w 3"]:
    """A text in black on white, in as many lines of `width` pixels as its first `_SHOWN` characters need."""
    from PIL import Image, ImageDraw, ImageFont

    font, lines, margin = ImageFont.load_default(13), [""], 3
    text = text if len(text) <= _SHOWN else f"{text[: _SHOWN - 3]}..."
    room = width - 2 * margin
    for word in text.split():
        longer = f"{lines[-1]} {word}".strip()
        if font.getlength(longer) <= room:
            lines[-1] = longer
            continue
        lines += [""] if lines[-1] else []
        for letter in word:  # A word that is wider than a line, or Chinese, is broken anywhere.
            lines += [""] if lines[-1] and font.getlength(lines[-1] + letter) > room else []
            lines[-1] += letter
    line = 16
    canvas = Image.new("RGB", (width, line * len(lines) + margin), "white")
    ImageDraw.Draw(canvas).multiline_text((margin, margin), "\n".join(lines), "black", font, spacing=2)
    return np.asarray(canvas)


def make_film(
    trajectory: UInt8[np.ndarray, "t n h w c"], columns: int | None = None, shown: int = 40
) -> UInt8[np.ndarray, "t H W 3"]:
    """A grid for each step of a trajectory, of the first images only: noise makes large files.

    Args:
        trajectory: uint8 images, step by step.
        columns: images a row; by default the grid is about square.
        shown: images in a frame, at most.
    """
    scale = max(1, 32 // trajectory.shape[2])
    return np.stack([make_grid(frame[:shown], columns, scale=scale) for frame in trajectory])


def save_png(path: str | os.PathLike, image: UInt8[np.ndarray, "H W 3"]) -> None:
    """Write an image as PNG, making its folder; the file appears whole or not at all."""
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(path.name + ".part")
    part.write_bytes(to_png(image))
    os.replace(part, path)


def to_png(image: UInt8[np.ndarray, "H W 3"]) -> bytes:
    """The content of a PNG file."""
    from PIL import Image

    content = io.BytesIO()
    Image.fromarray(image).save(content, format="PNG")
    return content.getvalue()


def save_gif(path: str | os.PathLike, frames: UInt8[np.ndarray, "n H W 3"], fps: float = 10.0) -> None:
    """Write images as a looping GIF that rests for a second and a half on the last frame."""
    from PIL import Image

    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    images = [Image.fromarray(frame) for frame in frames]
    durations = [int(1000 / fps)] * (len(images) - 1) + [1500]
    part = path.with_name(path.name + ".part")
    images[0].save(part, format="GIF", save_all=True, append_images=images[1:], duration=durations, loop=0)
    os.replace(part, path)
