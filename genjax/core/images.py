"""Pictures at the edges: uint8 to [-1, 1] and back, resizing, grids, PNG and GIF files."""

import math
import os
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np

from genjax.typing import Array, Float, UInt8


def from_uint8(pixels: UInt8[Array, "..."] | UInt8[np.ndarray, "..."]) -> Float[Array, "..."]:
    """uint8 in [0, 255] to float32 in [-1, 1]: `x / 127.5 - 1`."""
    return jnp.asarray(pixels, jnp.float32) / 127.5 - 1.0


def to_uint8(images: Float[Array, "..."]) -> UInt8[Array, "..."]:
    """float in [-1, 1] to uint8 in [0, 255]: clipped, then rounded to the nearest level."""
    return jnp.clip(jnp.round((images.astype(jnp.float32) + 1.0) * 127.5), 0, 255).astype(jnp.uint8)


def resize(
    images: Float[Array, "b h w c"], size: tuple[int, int], method: str = "bilinear", antialias: bool = False
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
    """Pictures side by side in one RGB picture, row by row, on white.

    Args:
        pixels: uint8 pictures with 1 or 3 channels.
        columns: pictures a row; by default the grid is about square.
        pad: white pixels between pictures, before scaling.
        scale: whole factor by which each pixel is repeated; by default pictures under 64 pixels high are
            enlarged to about that, so that a person can see them.
    """
    n, h, w, c = pixels.shape
    columns = columns or math.ceil(math.sqrt(n))
    rows = math.ceil(n / columns)
    grid = np.full((rows * (h + pad) + pad, columns * (w + pad) + pad, 3), 255, np.uint8)
    for index, picture in enumerate(pixels):
        y, x = (index // columns) * (h + pad) + pad, (index % columns) * (w + pad) + pad
        grid[y : y + h, x : x + w] = np.broadcast_to(picture, (h, w, 3)) if c == 1 else picture[..., :3]
    scale = scale or max(1, 48 // h)
    return grid.repeat(scale, axis=0).repeat(scale, axis=1)


def make_film(
    trajectory: UInt8[np.ndarray, "t n h w c"], columns: int | None = None, shown: int = 40
) -> UInt8[np.ndarray, "t H W 3"]:
    """A grid for each step of a trajectory, of the first pictures only: noise makes large files.

    Args:
        trajectory: uint8 pictures, step by step.
        columns: pictures a row; by default the grid is about square.
        shown: pictures in a frame, at most.
    """
    scale = max(1, 32 // trajectory.shape[2])
    return np.stack([make_grid(frame[:shown], columns, scale=scale) for frame in trajectory])


def save_png(path: str | os.PathLike, picture: UInt8[np.ndarray, "H W 3"]) -> None:
    """Write a picture as PNG, making its folder; the file appears whole or not at all."""
    from PIL import Image

    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(path.name + ".part")
    Image.fromarray(picture).save(part, format="PNG")
    os.replace(part, path)


def save_gif(path: str | os.PathLike, frames: UInt8[np.ndarray, "n H W 3"], fps: float = 10.0) -> None:
    """Write pictures as a looping GIF that rests for a second and a half on the last frame."""
    from PIL import Image

    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    pictures = [Image.fromarray(frame) for frame in frames]
    durations = [int(1000 / fps)] * (len(pictures) - 1) + [1500]
    part = path.with_name(path.name + ".part")
    pictures[0].save(
        part, format="GIF", save_all=True, append_images=pictures[1:], duration=durations, loop=0
    )
    os.replace(part, path)
