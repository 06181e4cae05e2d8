"""What a network that predicts a grid of codes looks like, how it is decoded from, and how coarser grids condition it.

The grid codes [h, w] is read row by row, left to right (raster order). A code network is a Linen module

    Net(num_codes, grid, num_classes, null_class, dtype, ... fields of its own)(codes, label, context, train) -> logits

    codes    int32 [b, h, w], each 0 .. num_codes - 1; (h, w) = grid
    label    int32 [b], 0 .. num_classes - 1, and num_classes for "no class" if null_class; None if num_classes = 0
    context  float [b, h, w, c], known as a whole before the first code is drawn (all of it may be used at every
             position); None if nothing conditions the grid. The module finds out c by itself
    train    dropout is on, from the random stream "dropout"
    logits   float32 [b, h, w, num_codes]; those at (i, j) depend on the codes strictly before (i, j) alone

so that the product over positions of softmax(logits)[code] is a distribution over grids. Its fields `num_codes`,
`grid`, `num_classes`, `null_class` and `dtype` are given by the family; all others have defaults, and are set in the
config.

A network that can remember what it has computed has two more methods, by which `decoder` draws from it:

    start(batch, label, context) -> cache            all that can be computed before the first code
    step(cache, code [b], position []) -> (logits [b, num_codes] at `position`, cache)

where `code` is that at `position - 1` in raster order (anything at position 0), positions come in order 0, 1, ..,
h w - 1, and `cache` is any pytree of arrays of fixed shapes, whose first axes are the batch. From networks without them
codes are drawn by a whole forward pass each.
"""

from collections.abc import Callable, Sequence
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp

from genjax.autoregressive import sample
from genjax.nn.layers.module import Module
from genjax.typing import Array, Float, Int, Labels, Params, PyTree

LOGICAL_AXES = [
    (r"context/embed_\d+/embedding$", ("vocab", "embed")),
    (r"context/.*conv_?[a-z]*/kernel$", (None, None, "conv_in", "conv_out")),
    (r"context/.*proj/kernel$", ("conv_in", "conv_out")),
]


def decoder(
    network: nn.Module,
    params: Params,
    batch: int,
    label: Labels | None = None,
    context: Float[Array, "b h w c"] | None = None,
) -> tuple[PyTree, Callable]:
    """(cache, step) of a code network for `genjax.autoregressive.sample.decode`: its own, or by whole forward passes.

    Args:
        network: a code network; see the module.
        params: its parameters.
        batch: number of grids.
        label, context: what the network is conditioned on, of each grid.
    """
    variables = {"params": params}
    if hasattr(network, "step"):
        cache = network.apply(variables, batch, label, context, method="start")
        return cache, lambda cache, code, position: network.apply(variables, cache, code, position, method="step")
    height, width = network.grid

    def forward(codes: Int[Array, "b n"]) -> Float[Array, "b n k"]:
        logits = network.apply(variables, codes.reshape(batch, height, width), label, context)
        return logits.reshape(batch, height * width, -1)

    return sample.uncached(forward, batch, height * width)


class CodeNetwork(Module):
    """The fields of a code network that the family gives; see the module.

    Attributes:
        num_codes: size of the codebook.
        grid: (height, width) of the codes.
        num_classes: classes it is conditioned on, 0 = none.
        null_class: whether label `num_classes` says "no class".
    """

    num_codes: int
    grid: tuple[int, int]
    num_classes: int = 0
    null_class: bool = False

    def condition(
        self, label: Labels | None, context: Float[Array, "b h w c"] | None
    ) -> Float[Array, "b _ _ w2"] | None:
        """What a network with submodules `context_proj` and `label_embed` adds for its context and class: features
        [b, h, w, width], [b, 1, 1, width] of the class alone, or None.

        Args:
            label: the class of each grid.
            context: features of each position.
        """
        parts = [] if context is None else [self.context_proj(context)]
        if self.num_classes:
            parts.append(self.label_embed(label)[:, None, None])
        return sum(parts).astype(self.dtype or jnp.float32) if parts else None


class CodeContext(Module):
    """Coarser levels' codes as a map of features of a finer grid (VQ-VAE-2, arXiv:1906.00446, section 3.2).

    Each level's codes are embedded, pass residual blocks at their own resolution, and are repeated up to the grid. The
    levels' features are added up.

    Attributes:
        num_codes: size of the codebooks.
        grid: (height, width) of the result; a multiple of every coarser grid.
        width: features of the result.
        num_blocks: residual blocks of each coarser level.
        dropout: rate, in the residual blocks.
    """

    num_codes: int
    grid: tuple[int, int]
    width: int = 64
    num_blocks: int = 2
    dropout: float = 0.0

    @nn.compact
    def __call__(self, coarser: Sequence[Int[Array, "b _ _"]], train: bool = False) -> Float[Array, "b h w c"]:
        """The features.

        Args:
            coarser: codes of the coarser levels, the coarsest first.
            train: dropout is on.

        Raises:
            ValueError: for a coarser grid that doesn't divide the finer one.
        """
        total: Any = 0.0
        for level, codes in enumerate(coarser):
            h = nn.Embed(self.num_codes, self.width, name=f"embed_{level}", **self.dtypes)(codes)
            h = nn.Conv(self.width, (3, 3), name=f"level_{level}_conv_in", **self.dtypes)(h)
            for block in range(self.num_blocks):
                y = nn.Conv(self.width, (3, 3), name=f"level_{level}_{block}_conv", **self.dtypes)(jax.nn.relu(h))
                y = nn.Dropout(self.dropout, deterministic=not train)(jax.nn.relu(y))
                h = h + nn.Dense(self.width, name=f"level_{level}_{block}_proj", **self.dtypes)(y)
            total = total + repeat_to(h, self.grid)
        return total


def repeat_to(x: Float[Array, "b h w c"], grid: tuple[int, int]) -> Float[Array, "b h2 w2 c"]:
    """x at the size of `grid`, by repeating each position.

    Raises:
        ValueError: if the size of x doesn't divide the grid.
    """
    height, width = x.shape[1:3]
    if grid[0] % height or grid[1] % width:
        raise ValueError(f"codes of a grid {height}x{width} can't be repeated to {grid[0]}x{grid[1]}: no multiple")
    return x.repeat(grid[0] // height, axis=1).repeat(grid[1] // width, axis=2)
