"""Who sees whom in a stream of text and an image's codes: DALL-E's attention (arXiv:2102.12092, appendix B.1).

A stream has `prefix` positions of text, and then the codes of a grid in raster order, code k = width * row + column at
position `prefix + k`. Nobody sees what comes after it. Text sees all text before it; a code sees itself, all of the
text, and of the codes before it (figure 11)

    row      the last `width`: up to the one above it
    column   those of its column
    conv     those in a square of `kernel_size` rows and columns around it, which wraps around at the sides to the row
             above or below, as "row" does: k - (width dr + dc),  0 <= dr <= r,  |dc| <= r,  r = kernel_size // 2
    dense    all

Layer i = 1, 2, .. attends by column if (i - 2) mod 4 = 0, else by row, and the last one by convolution. That is one
block of attention in four which carries what is far above; the text is near in all of them.

Patterns are computed from positions wherever they are needed, and never stored: in the pass over a whole stream, and at
a position of it that is known only when the program runs.

Deviation: the paper's kernels transpose the image for column attention and skip what isn't seen. Here XLA computes the
scores of all pairs and masks them; on TPUs splash attention skips blocks of pairs in which nothing is seen.
"""

from dataclasses import dataclass

import jax.numpy as jnp
import numpy as np

from genjax.typing import Array, Bool, Int

KINDS = ("row", "column", "conv", "dense")


@dataclass(frozen=True)
class Sees:
    """Which positions of a stream see which: a `Pattern` of `genjax.nn.layers.attention`; see the module.

    Attributes:
        kind: one of `KINDS`.
        prefix: positions of text.
        width: codes in a row of the grid.
        kernel_size: rows and columns of "conv"; odd.

    Raises:
        ValueError: for another kind, or an even kernel.
    """

    kind: str
    prefix: int
    width: int
    kernel_size: int

    def __post_init__(self):
        if self.kind not in KINDS:
            raise ValueError(f"unknown kind of attention {self.kind!r}; it is one of {KINDS}")
        if self.kernel_size < 1 or self.kernel_size % 2 == 0:
            raise ValueError(f"kernel_size={self.kernel_size} of convolutional attention has to be odd")

    def __call__(
        self, queries: Int[Array | np.ndarray, " q"], keys: Int[Array | np.ndarray, " k"]
    ) -> Bool[Array | np.ndarray, "q k"]:
        """Whether the positions `queries` see the positions `keys`, which may be traced or NumPy's."""
        lib = np if isinstance(queries, np.ndarray) and isinstance(keys, np.ndarray) else jnp
        queries, keys = queries[:, None], keys[None, :]
        back, width = queries - keys, self.width
        if self.kind == "dense":
            near = back >= 0
        elif self.kind == "row":
            near = back <= width
        elif self.kind == "column":
            near = back % width == 0
        else:
            reach = self.kernel_size // 2
            # The row after which the fewest columns are left.
            rows = lib.clip((2 * back + width) // (2 * width), 0, reach)
            near = lib.abs(back - width * rows) <= reach
        return (back >= 0) & (near | (keys < self.prefix))


def patterns(attention: str, depth: int, prefix: int, width: int, kernel_size: int = 11) -> tuple[Sees, ...]:
    """The pattern of each block of a transformer.

    Args:
        attention: "sparse", in DALL-E's order, or "dense".
        depth: number of blocks.
        prefix, width, kernel_size: see `Sees`.

    Raises:
        ValueError: for another kind of attention, or an even kernel.
    """
    masks = {kind: Sees(kind, prefix, width, kernel_size) for kind in KINDS}
    if attention == "dense":
        return (masks["dense"],) * depth
    if attention != "sparse":
        raise ValueError(f'unknown attention {attention!r}; it is "sparse" or "dense"')
    order = ["column" if (layer - 2) % 4 == 0 else "row" for layer in range(1, depth)]
    return tuple(masks[kind] for kind in (*order, "conv"))
