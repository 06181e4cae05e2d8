"""PixelCNN++ (arXiv:1701.05517): two streams of shifted convolutions, with short-cuts across resolutions.

    down-shifted stream u        knows the rows above a pixel
    down-right-shifted stream r  knows, beside these, the pixels to the left of it, and takes u at every block

Together they know every earlier pixel within reach: no blind spot. Each stream goes down through `num_levels`
resolutions and up again; the blocks on the way up take, by a short-cut, what the blocks on the way down gave, last
first. A block is a gated residual:

    h = conv(concat_elu(x)) + pointwise(concat_elu(short-cut));   a, g = conv(dropout(concat_elu(h))) + c W
    y = x + a * sigmoid(g)

with c the class, one-hot.

`num_res_blocks` a level on the way down, and one more a level on the way up, for the short-cut around the change of
resolution, but at the lowest. At paper size (5 blocks of 160 features, 3 levels, 10 mixtures) there are 53,659,080
parameters.

Decoding goes pixel by pixel (`decode_row` once a row for u, then `decode_pixel` once a pixel for r), with caches of a
few rows (see `genjax.nn.layers.shifted_conv`): an image costs about two passes of the network instead of one a pixel.
The exact optimum, 1 pass, would skip the low resolutions at the places where they bring nothing new.

Deviations: dropout falls on single features, as in OpenAI's code, not on whole channels, as in the PyTorch port; the
transposed convolutions are normalised for each output channel, as there, and not for each input channel as in the port.
"""

from collections.abc import Sequence
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp

from genjax.nn.layers import shifted_conv
from genjax.nn.layers.module import Module
from genjax.nn.layers.shifted_conv import At, FirstConv, Pointwise, ShiftedConv, ShiftedUpsize, concat_elu
from genjax.typing import Array, Float, Image, Int, Labels

LOGICAL_AXES = shifted_conv.LOGICAL_AXES + [
    (r"condition/kernel$", ("conv_in", "conv_out")),
]

Features = shifted_conv.Features
Scalar = Int[Array, ""] | int


class GatedResNet(Module):
    """The gated residual block; see the module for its equations.

    Attributes:
        kind: "down" or "right", for the kernels (2, 3) and (2, 2) of the two streams, or "pointwise", for none.
        dropout: rate.
        deterministic: no dropout; else the random stream "dropout" is used.
        from_data: see `genjax.nn.layers.shifted_conv.WeightNorm`.
    """

    kind: str
    dropout: float = 0.0
    deterministic: bool = True
    from_data: bool = True

    @nn.compact
    def __call__(
        self, x: Features, skip: Features | None = None, condition: Features | None = None, at: At | None = None
    ) -> Features:
        """The block on a map, or on the newest row or pixel.

        Args:
            x: the map, row or pixel.
            skip: the short-cut, of the same height and width.
            condition: c above, of the same height and width or of 1 x 1.
            at: the place of x in its map.
        """
        width = x.shape[-1]
        h = self._layer(width, "conv_in")(concat_elu(x), at)
        if skip is not None:
            h = h + self._pointwise(width, "skip")(concat_elu(skip))
        h = nn.Dropout(self.dropout, deterministic=self.deterministic)(concat_elu(h))
        h = self._layer(2 * width, "conv_out", 0.1)(h, at)
        if condition is not None:
            init = nn.initializers.normal(0.05)
            h = h + nn.Dense(2 * width, use_bias=False, kernel_init=init, name="condition", **self.dtypes)(condition)
        value, gate = jnp.split(h, 2, axis=-1)
        return x + value * jax.nn.sigmoid(gate)

    def _layer(self, features, name, init_scale=1.0):
        if self.kind == "pointwise":
            layer = self._pointwise(features, name, init_scale)
            return lambda x, at: layer(x)
        fields = {"kernel_size": (2, 3) if self.kind == "down" else (2, 2), "right": self.kind == "right"}
        return ShiftedConv(features, init_scale, self.from_data, **self.dtypes, name=name, **fields)

    def _pointwise(self, features, name, init_scale=1.0):
        return Pointwise(features, init_scale, self.from_data, **self.dtypes, name=name)


class Stream(nn.Module):
    """One of the two streams, down through the resolutions and up again.

    Attributes:
        right: the down-right-shifted stream instead of the down-shifted one.
        others: see `PixelCNNpp`.
    """

    right: bool
    width: int
    num_res_blocks: int
    num_levels: int
    dropout: float
    dtype: Any
    param_dtype: Any
    remat: bool

    @nn.compact
    def __call__(
        self,
        image: Image,
        condition: Features | None = None,
        above: Sequence[Features] = (),
        at: At | None = None,
        train: bool = False,
    ) -> tuple[Features, ...]:
        """The result of each block, in the order of computation.

        Args:
            image: the image with a channel of ones; not yet known pixels may hold anything.
            condition: a vector that conditions every block, [b, 1, 1, k].
            above: what the down-shifted stream gave, for the down-right-shifted one.
            at: the place, to go step by step; `above` is then of that place as well.
            train: dropout on.
        """
        h, above = self._first(image, at), list(above)
        short_cuts, results = [h], []
        for level in range(self.num_levels):
            place = at and at.coarser(level)
            if level:
                h = self._conv(ShiftedConv, f"downsize_{level}", stride=2)(h, at and at.coarser(level - 1))
                short_cuts.append(h)
            for i in range(self.num_res_blocks):
                skip = above.pop(0) if self.right else None
                h = self._block(f"down_{level}_{i}", train)(h, skip, condition, place)
                short_cuts.append(h)
                results.append(h)
        short_cuts.pop()
        for level in reversed(range(self.num_levels)):
            place = at and at.coarser(level)
            lowest = level == self.num_levels - 1
            if not lowest:
                h = self._conv(ShiftedUpsize, f"upsize_{level}")(h, place)
            for i in range(self.num_res_blocks + (not lowest)):
                skip = short_cuts.pop()
                if self.right:
                    skip = jnp.concatenate([above.pop(0), skip], axis=-1)
                h = self._block(f"up_{level}_{i}", train)(h, skip, condition, place)
                results.append(h)
        return tuple(results)

    def _first(self, image, at):
        """The rows above; for the right stream the row above in part, and the column to the left."""
        if not self.right:
            return self._conv(FirstConv, "first", kernel_size=(2, 3), shift="down")(image, at)
        down = self._conv(FirstConv, "first_down", kernel_size=(1, 3), shift="down")(image, at)
        return down + self._conv(FirstConv, "first_right", kernel_size=(2, 1), shift="right")(image, at)

    def _conv(self, kind, name, **fields):
        if kind is not FirstConv:
            fields["right"] = self.right
        if kind is ShiftedConv:
            fields["kernel_size"] = (2, 2) if self.right else (2, 3)
        return kind(self.width, dtype=self.dtype, param_dtype=self.param_dtype, name=name, **fields)

    def _block(self, name, train):
        block = nn.remat(GatedResNet) if self.remat else GatedResNet
        kind, dtypes = "right" if self.right else "down", {"dtype": self.dtype, "param_dtype": self.param_dtype}
        return block(kind, self.dropout, not train, name=name, **dtypes)


class PixelCNNpp(Module):
    """Image -> parameters of each pixel's distribution given the pixels before it; see the module.

    Attributes:
        out_channels: parameters a pixel.
        width: features of each stream.
        num_res_blocks: blocks a level on the way down.
        num_levels: resolutions, each half the one before.
        num_classes: labels, 0 = none.
        dropout: rate in each block.
        dtype: of the computation, e.g. "bfloat16"; None for that of the input. The last layer stays in float32.
        remat: recompute each block's inner results in the backward pass instead of keeping them in memory.
    """

    out_channels: int
    width: int = 160
    num_res_blocks: int = 5
    num_levels: int = 3
    num_classes: int = 0
    dropout: float = 0.5
    remat: bool = False

    def setup(self):
        """The modules."""
        fields = (self.width, self.num_res_blocks, self.num_levels, self.dropout)
        fields = (*fields, self.dtype, self.param_dtype, self.remat)
        self.down, self.down_right = Stream(False, *fields), Stream(True, *fields)
        self.out = Pointwise(self.out_channels, param_dtype=self.param_dtype)

    def __call__(self, x: Image, label: Labels | None = None, *, train: bool = False) -> Float[Array, "b h w p"]:
        """Apply the network to whole images.

        Args:
            x: images in [-1, 1].
            label: their classes, of a conditional network.
            train: dropout on; needs the random stream "dropout".

        Raises:
            ValueError: for sizes that the resolutions don't divide.
        """
        divisor = 2 ** (self.num_levels - 1)
        if x.shape[1] % divisor or x.shape[2] % divisor:
            raise ValueError(
                f"a PixelCNN++ of {self.num_levels} levels can't take images of {x.shape[1]}x{x.shape[2]} pixels: "
                f"height and width must be divisible by {divisor}; set image_size so, or lower num_levels"
            )
        x = _with_ones(x)
        condition = self._condition(label)
        above = self.down(x, condition, train=train)
        return self._out(self.down_right(x, condition, above, train=train), x.dtype)

    def decode_row(self, x: Image, label: Labels | None, row: Scalar) -> tuple[Features, ...]:
        """The down-shifted stream at a row, of images known above it: for `decode_pixel`. Changes the cache."""
        return self.down(_with_ones(x), self._condition(label), at=At(jnp.asarray(row)))

    def decode_pixel(
        self, x: Image, label: Labels | None, above: tuple[Features, ...], row: Scalar, column: Scalar
    ) -> Float[Array, "b p"]:
        """The parameters of one pixel, of images known before it. Changes the cache.

        Args:
            x: images; the pixel and later ones may hold anything.
            label: their classes, of a conditional network.
            above: what `decode_row` gave for this row.
            row, column: the pixel.
        """
        at = At(jnp.asarray(row), jnp.asarray(column))
        width = x.shape[2]
        here = [jax.lax.dynamic_slice_in_dim(f, at.column // (width // f.shape[2]), 1, axis=2) for f in above]
        return self._out(self.down_right(_with_ones(x), self._condition(label), here, at), x.dtype)[:, 0, 0]

    def _condition(self, label):
        """The classes, one-hot, [b, 1, 1, k]; NaN for one that there isn't, so that a mistake shows."""
        if not self.num_classes:
            return None
        one_hot = jnp.take(jnp.eye(self.num_classes), label, axis=0, mode="fill", fill_value=jnp.nan)
        return one_hot[:, None, None]

    def _out(self, results, dtype):
        return self.out(jax.nn.elu(results[-1].astype(dtype)))


def _with_ones(x):
    """The image with a channel of ones, which tells its pixels from the zeros around it."""
    return jnp.concatenate([x, jnp.ones_like(x[..., :1])], axis=-1)
