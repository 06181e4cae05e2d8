"""Gated PixelCNN over a grid of codes (arXiv:1606.05328), and the same sampled with a cache of rows.

Two stacks of convolutions without a blind spot (section 2.2 and figure 2): the vertical one sees rows above, the
horizontal one the row itself, left of the pixel, and the vertical one. With gate(y) = tanh(y_1) sigmoid(y_2),

    u   = conv_{rows i-r..i, columns j-r..j+r}(v)               v' = gate(u + V_v s)
    h'  = h + W gate(conv_{columns j-r..j}(h) + A u + V_h s)    r = kernel_size // 2

where s is the condition: an embedding of the class, and a map of features of the context at the pixel (equations 3 and
4 there). The first layer excludes row i and column j themselves, so that a logit never sees its own code, and has no
residual connection. Masks aren't needed: the kernels have no entries where a mask would be zero.

After L layers the logits at (i, j) depend on all codes of rows i-R..i-1 and columns j-R..j+R, and on (i, j-R..j-1),
with R = first_kernel // 2 + (L - 1) (kernel // 2), and on no others.

**Cache of rows.** The vertical stack at row i depends on rows above only: it is computed once a row, from r remembered
rows of each layer. The horizontal stack at (i, j) needs r remembered pixels of each layer. So drawing all codes costs
as much work in convolutions as one forward pass, whatever the number of rows; by whole passes it costs h w of them.

Deviations: codes are embedded, since they have no order, where the paper's pixels have 256 intensities; class and
context are added by one matrix of each layer to both stacks, after the vertical stack has been handed to the
horizontal one; dropout after the gates.
"""

from typing import NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp

from genjax.nn.code_networks import CodeNetwork
from genjax.nn.layers.embeddings import LabelEmbedding
from genjax.nn.layers.module import Module
from genjax.typing import Array, Float, Int, Labels

Features = Float[Array, "b _ _ _"]

LOGICAL_AXES = [
    (r"(vertical|horizontal)/kernel$", (None, None, "conv_in", "conv_out")),
    (r"(across|condition|out|head_in|context_proj)/kernel$", ("conv_in", "conv_out")),
    (r"embed/embedding$", ("vocab", "embed")),
    (r"head/kernel$", ("embed", "vocab")),
]


def gate(y: Float[Array, "*b c"]) -> Float[Array, "*b c2"]:
    """`tanh(y_1) sigmoid(y_2)` of the two halves of the channels."""
    first, second = jnp.split(y, 2, axis=-1)
    return jnp.tanh(first) * jax.nn.sigmoid(second)


class GatedLayer(Module):
    """One layer of both stacks; see the module.

    Attributes:
        width: channels.
        kernel_size: odd, 3 at least.
        first: excludes the pixel itself, and has no residual connection.
        dropout: rate, after the gates.
    """

    width: int
    kernel_size: int
    first: bool = False
    dropout: float = 0.0

    @property
    def reach(self) -> int:
        """r: rows above, and columns to either side."""
        return self.kernel_size // 2

    def setup(self):
        """The modules."""
        if self.kernel_size < 3 or self.kernel_size % 2 == 0:
            raise ValueError(f"kernel_size={self.kernel_size} of a Gated PixelCNN must be odd, and 3 at least")
        extent = self.reach if self.first else self.reach + 1
        sides = ((0, 0), (self.reach, self.reach))
        self.vertical = nn.Conv(2 * self.width, (extent, self.kernel_size), padding=sides, **self.dtypes)
        self.horizontal = nn.Conv(2 * self.width, (1, extent), padding="VALID", **self.dtypes)
        self.across = nn.Dense(2 * self.width, use_bias=False, **self.dtypes)
        self.condition = nn.Dense(4 * self.width, use_bias=False, **self.dtypes)
        self.out = nn.Dense(self.width, **self.dtypes)
        self.drop = nn.Dropout(self.dropout)

    def __call__(
        self, v: Features, h: Features, condition: Features | None = None, train: bool = False
    ) -> tuple[Features, Features]:
        """Both stacks' features after the layer, of whole grids."""
        last = -1 if self.first else None
        above = jnp.pad(v[:, :last], ((0, 0), (self.reach, 0), (0, 0), (0, 0)))
        left = jnp.pad(h[:, :, :last], ((0, 0), (0, 0), (self.reach, 0), (0, 0)))
        v, added = self.look_up(above, condition, train)
        return v, self.look_left(left, h, added, train)

    def look_up(self, above: Features, condition: Features | None, train: bool = False) -> tuple[Features, Features]:
        """(vertical features of each row, what is added to the horizontal stack's there).

        Args:
            above: `reach` more rows than are requested, the first layer's without the last of them.
            condition: of these rows, or of all alike.
            train: dropout is on.
        """
        y = self.vertical(above)
        added = self.across(y)
        if condition is not None:
            of_vertical, of_horizontal = jnp.split(self.condition(condition), 2, axis=-1)
            y, added = y + of_vertical, added + of_horizontal
        return self.drop(gate(y), deterministic=not train), added

    def look_left(self, left: Features, h: Features | None, added: Features, train: bool = False) -> Features:
        """Horizontal features of each column.

        Args:
            left: `reach` more columns than are requested, the first layer's without the last of them.
            h: the columns themselves; not read in the first layer.
            added: from `look_up`, at these columns.
            train: dropout is on.
        """
        y = self.drop(gate(self.horizontal(left) + added), deterministic=not train)
        return self.out(y) if self.first else h + self.out(y)


class Cache(NamedTuple):
    """What is remembered between two codes.

    Attributes:
        condition: of every pixel, or of all alike; None if there is none.
        row: embedded codes of the row at hand.
        above: of each layer, its input in the `reach` rows above.
        added: of each layer, what `look_up` adds to the row at hand.
        left: of each layer, its input in the `reach` columns to the left.
    """

    condition: Features | None
    row: Float[Array, "b w c"]
    above: tuple[Features, ...]
    added: tuple[Features, ...]
    left: tuple[Features, ...]


class GatedPixelCNN(CodeNetwork):
    """The network of codes (`genjax.nn.code_networks`).

    Attributes:
        width: channels of both stacks.
        depth: number of layers.
        kernel_size: of all layers but the first.
        first_kernel: of the first layer.
        head_width: channels between the last layer and the logits.
        dropout: rate, after the gates.
        remat: recompute each layer in the backward pass.
    """

    width: int = 128
    depth: int = 12
    kernel_size: int = 3
    first_kernel: int = 7
    head_width: int = 256
    dropout: float = 0.0
    remat: bool = False

    def setup(self):
        """The modules."""
        self.embed = nn.Embed(self.num_codes, self.width, **self.dtypes)
        if self.num_classes:
            self.label_embed = LabelEmbedding(self.num_classes, self.width, self.null_class, self.param_dtype)
        self.context_proj = nn.Dense(self.width, **self.dtypes)
        layer = nn.remat(GatedLayer, static_argnums=(4,)) if self.remat else GatedLayer
        kernels = [self.first_kernel] + [self.kernel_size] * (self.depth - 1)
        self.layers = [
            layer(self.width, kernel, i == 0, self.dropout, **self.dtypes, name=f"layer_{i}")
            for i, kernel in enumerate(kernels)
        ]
        self.head_in = nn.Dense(self.head_width, **self.dtypes)
        self.head = nn.Dense(self.num_codes, **self.dtypes)

    def __call__(
        self,
        codes: Int[Array, "b h w"],
        label: Labels | None = None,
        context: Features | None = None,
        train: bool = False,
    ) -> Float[Array, "b h w k"]:
        """Logits of each code, given those before it."""
        v = h = self.embed(codes)
        condition = self.condition(label, context)
        for layer in self.layers:
            v, h = layer(v, h, condition, train)
        return self._logits(h)

    def _logits(self, h: Features) -> Float[Array, "b h w k"]:
        return self.head(jax.nn.relu(self.head_in(jax.nn.relu(h)))).astype(jnp.float32)

    def start(self, batch: int, label: Labels | None = None, context: Features | None = None) -> Cache:
        """The cache before the first code."""
        columns, dtype = self.grid[1], self.dtype or jnp.float32

        def empty(*shape):
            return jnp.zeros((batch, *shape), dtype)

        return Cache(
            self.condition(label, context),
            empty(columns, self.width),
            tuple(empty(layer.reach, columns, self.width) for layer in self.layers),
            tuple(empty(1, columns, 2 * self.width) for layer in self.layers),
            tuple(empty(1, layer.reach, self.width) for layer in self.layers),
        )

    def step(self, cache: Cache, code: Int[Array, " b"], position: Int[Array, ""]) -> tuple[Float[Array, "b k"], Cache]:
        """(logits at `position`, cache), given the code before it."""
        row, column = position // self.grid[1], position % self.grid[1]
        x = self.embed(code)
        written = jax.lax.dynamic_update_slice_in_dim(cache.row, x[:, None], (position - 1) % self.grid[1], axis=1)
        cache = cache._replace(row=jnp.where(position > 0, written, cache.row))
        cache = nn.cond(column == 0, GatedPixelCNN._next_row, lambda _, cache, row: cache, self, cache, row)
        h, left = self._next_pixel(cache, x[:, None, None], column)
        return self._logits(h)[:, 0, 0], cache._replace(left=left)

    def _next_row(self, cache: Cache, row: Int[Array, ""]) -> Cache:
        """The vertical stack of a new row; nothing is left of its first pixel."""
        condition = cache.condition
        if condition is not None and condition.shape[1] > 1:
            condition = jax.lax.dynamic_slice_in_dim(condition, row, 1, axis=1)
        v, above, added = cache.row[:, None], [], []
        for layer, past in zip(self.layers, cache.above, strict=True):
            rows = jnp.concatenate([past, v], axis=1)
            above.append(rows[:, 1:])
            # The first layer's input is of the row above, all others' of the row itself.
            v, more = layer.look_up(rows[:, 1:] if layer.first else rows, condition)
            added.append(more)
        left = tuple(jnp.zeros_like(columns) for columns in cache.left)
        return cache._replace(above=tuple(above), added=tuple(added), left=left)

    def _next_pixel(self, cache: Cache, x: Features, column: Int[Array, ""]) -> tuple[Features, tuple[Features, ...]]:
        """(horizontal features of the pixel, what is left of the next one)."""
        h, left = jnp.where(column > 0, x, 0), []
        for layer, past, added in zip(self.layers, cache.left, cache.added, strict=True):
            columns = jnp.concatenate([past, h], axis=2)
            left.append(columns[:, :, 1:])
            added = jax.lax.dynamic_slice_in_dim(added, column, 1, axis=2)
            h = layer.look_left(columns[:, :, 1:] if layer.first else columns, h, added)
        return h, tuple(left)
