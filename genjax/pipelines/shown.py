"""Images and figures that show themselves: in Jupyter as a grid, or in words."""

import math
from pathlib import Path
from typing import Any

import numpy as np

from genjax.core import images as images_lib
from genjax.generate import Drawn
from genjax.pipelines import evaluation
from genjax.pipelines.sampling import GRID


class Images(np.ndarray):
    """Images, an array of uint8 [n, h, w, c], which Jupyter shows as a grid; a single one [h, w, c] alone.

    A part of them along the first axis keeps the labels and captions that belong to it; whatever is computed from them
    is a plain array.

    Attributes:
        labels: int32 [n], or None of images without classes.
        captions: the text of each, or None.
        trajectory: uint8 [t, n, h, w, c] from noise to image, or None.
        originals: uint8 [n, h, w, c], what each was made of, or None; each is shown before its image.
        columns: of the grid; None for about a square.
    """

    labels: np.ndarray | None = None
    captions: tuple[str, ...] | None = None
    trajectory: np.ndarray | None = None
    originals: np.ndarray | None = None
    columns: int | None = None

    def __new__(cls, pixels: Any) -> "Images":
        """The array as images; labels and the like are set afterwards."""
        return np.asarray(pixels).view(cls)

    @classmethod
    def of(cls, drawn: Drawn, columns: int | None = None) -> "Images":
        """What was drawn, in a grid of so many columns."""
        found = cls(drawn.images)
        found.labels, found.captions, found.trajectory = drawn.labels, drawn.prompts, drawn.trajectory
        found.columns = columns
        return found

    def __array_wrap__(self, array: np.ndarray, context: Any = None, return_scalar: bool = False) -> Any:
        return array[()] if return_scalar else np.asarray(array)

    def __getitem__(self, index: Any) -> Any:
        found = super().__getitem__(index)
        along = isinstance(index, slice) or (isinstance(index, (list, np.ndarray)) and np.ndim(index) == 1)
        if isinstance(found, Images) and self.ndim == 4 and along:
            places = np.arange(len(self))[index]
            found.labels = None if self.labels is None else self.labels[places]
            found.captions = None if self.captions is None else tuple(self.captions[place] for place in places)
            found.originals = None if self.originals is None else self.originals[places]
        return found

    def grid(self, columns: int | None = None) -> np.ndarray | None:
        """The first of them side by side, uint8 [H, W, 3], with their captions; None of an array that holds none."""
        pixels = np.asarray(self)
        pixels = pixels[None] if pixels.ndim == 3 else pixels
        if pixels.dtype != np.uint8 or pixels.ndim != 4 or pixels.shape[-1] not in (1, 3) or not pixels.size:
            return None
        columns = columns or self.columns
        if self.originals is not None:
            pixels = np.stack([self.originals, pixels], axis=1).reshape(-1, *pixels.shape[1:])
            columns = columns or 2 * math.ceil(math.sqrt(len(self) / 2))
        elif self.captions is not None:
            return images_lib.make_captioned_grid(pixels[:GRID], self.captions[:GRID], columns)
        return images_lib.make_grid(pixels[:GRID], columns)

    def save(self, path: str | Path, columns: int | None = None) -> None:
        """Write the grid as a PNG file.

        Raises:
            ValueError: for an array that holds no images.
        """
        grid = self.grid(columns)
        if grid is None:
            raise ValueError(f"an array of {self.dtype} {self.shape} holds no images of 1 or 3 channels")
        images_lib.save_png(path, grid)

    def _repr_png_(self) -> bytes | None:
        grid = self.grid()
        return None if grid is None else images_lib.to_png(grid)


class Evaluation(dict):
    """What `genjax.pipelines.evaluation.evaluate` found, by name, which is read as a table."""

    def __repr__(self) -> str:
        return evaluation.format_result(self)

    __str__ = __repr__
