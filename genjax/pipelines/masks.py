"""Masks of inpainting, as the many programs that draw them write them.

What is kept and what is remade:

    a mask with some transparency   kept where it is opaque, remade where it is transparent, whatever its colours are
    of two values, well apart       kept where it is the brighter: 0 and 1, 0 and 255, 0 and 65535, of a palette
    of more                         kept from half of white on: of 1 (numbers up to 1), of 255, of 65535
    of one value                    the same: 0 remakes everything, 1 and 255 keep it
"""

from pathlib import Path

import numpy as np
from PIL import Image

from genjax.data import opening, transforms
from genjax.typing import Bool, Float, UInt8

_WHITES = (1, 255, 65535)


def read(path: str | Path) -> Bool[np.ndarray, "h w"]:
    """Where a mask's file keeps the image, upright, at its own size.

    Raises:
        OSError: if it is no image or can't be read; names it.
    """
    with opening.upright(path) as image:
        alpha = _alpha(image)
        if alpha is not None and alpha.min() < 128:
            return alpha >= 128
        if image.mode in opening.SIXTEEN_BIT or image.mode in transforms.WIDE_MODES:
            return of_values(np.asarray(image))
        if image.mode == "1":
            return np.array(image)
        return of_values(np.asarray(image.convert("L" if image.mode in ("L", "LA") else "RGB")))


def of_values(values: np.ndarray) -> Bool[np.ndarray, "h w"]:
    """Where the values [h, w] or [h, w, c] of a mask keep the image; of colours their mean counts."""
    if values.ndim == 3:
        values = values.mean(axis=-1)
    if not np.isfinite(values).all() or values.min() < 0:
        raise ValueError("a mask has values that are no numbers from 0 on")
    found = np.unique(values)
    if len(found) == 2 and found[1] - found[0] >= found[1] / 8:  # 254 and 255 are both white.
        return values == found[1]
    white = next((white for white in _WHITES if found[-1] <= white), found[-1])
    return values > white / 2


def _alpha(image: Image.Image) -> UInt8[np.ndarray, "h w"] | None:
    """The opacity of a loaded image, None where it has none."""
    if image.mode in opening.SIXTEEN_BIT:
        key = image.info.get("transparency")
        return None if key is None else np.where(np.asarray(image) == key, 0, 255).astype(np.uint8)
    if not image.has_transparency_data:
        return None
    return np.array(image.convert("RGBA").getchannel("A"))


def check_proportions(
    mask: str | Path, kept: Bool[np.ndarray, "h w"], image: str, pixels: UInt8[np.ndarray, "h2 w2 c"]
) -> None:
    """Refuse a mask of other proportions than the image's, for their middle squares would be cut out apart.

    Raises:
        ValueError: unless one of them is the other, resized to whole pixels.
    """
    small, large = sorted((kept.shape, pixels.shape[:2]), key=np.prod)
    errors = [small[1 - side] - large[1 - side] * small[side] / large[side] for side in (0, 1)]
    if not any(-1 < error <= 0.5 for error in errors):  # Cut off, or rounded.
        sizes = [f"{width}x{height}" for height, width in (kept.shape, pixels.shape[:2])]
        raise ValueError(
            f"the mask {mask} has {sizes[0]} pixels and {image} {sizes[1]}: they need the same proportions"
        )


def fit(kept: Bool[np.ndarray, "h w"], size: int) -> Float[np.ndarray, "s s 1"]:
    """The middle square of a mask at `size` pixels: 1 where at least half of a pixel is kept, else 0."""
    white = np.where(kept, np.uint8(255), np.uint8(0))[..., None]
    return (transforms.center_crop(white, size) >= 128).astype(np.float32)
