"""Convolutions that see no later pixel, with weight normalisation, on whole maps or step by step.

Pixels are ordered row by row. Shifting replaces the masks of PixelCNN (PixelCNN++, arXiv:1701.05517, section 2.4): the
kernel is moved so that it ends at the pixel that it is for.

    down-shifted         kernel (kh, kw): rows i - kh + 1 .. i, columns j - (kw - 1) / 2 .. j + (kw - 1) / 2
    down-right-shifted   kernel (kh, kw): rows i - kh + 1 .. i, columns j - kw + 1 .. j

The output at row i of a down-shifted convolution depends on whole rows, and may go into what pixels of the row i know
only if its input at row i knows nothing of that row: `FirstConv` moves the image down by one row, or right by one
column, at the bottom of the network.

**Weight normalisation** (arXiv:1602.07868): W = gain * V / |V| with one norm for each output channel, V ~ N(0, .05^2).
The first batch sets gain and bias so that each output channel has mean 0 and standard deviation `init_scale` on it.
With `from_data=False` gains are `init_scale` and biases 0 at first: about the same, for inputs of unit variance.

**Step by step** (Fast PixelCNN++, arXiv:1704.06001). Given a place `At`, a layer takes the newest row of its input
[b, 1, w, c], or the newest pixel [b, 1, 1, c], and returns the same of its output. In the collection "cache" it keeps
the last kh rows of its input, no more: `rows` [b, kh, w + padding, c], row i in slot i mod kh. A layer of stride 2 has
a new output at every other place only, and holds it until then: `held`. Asking for one place twice is harmless, so a
network may compute its layers of low resolution at every pixel. `empty_cache` makes the cache.

Deviation: the arrays that a step needs are kept in a ring, not moved.
"""

from collections.abc import Callable
from typing import NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp

from genjax.nn.layers.module import Module
from genjax.typing import Array, Float, Int, Params, PyTree

LOGICAL_AXES = [
    (r"(conv_in|conv_out|first[^/]*|downsize_\d+|upsize_\d+)/kernel$", (None, None, "conv_in", "conv_out")),
    (r"(skip|out)/kernel$", ("conv_in", "conv_out")),
]

Features = Float[Array, "b _h _w _c"]


class At(NamedTuple):
    """A place in decoding: the row, and the column; a column of None means the whole row."""

    row: Int[Array, ""]
    column: Int[Array, ""] | None = None

    def coarser(self, level: int) -> "At":
        """The place in a map whose sides are 2^level times as short."""
        return At(self.row >> level, None if self.column is None else self.column >> level)


def empty_cache(network: nn.Module, params: Params, *args) -> PyTree:
    """The collection "cache" before the first step, all zeros: its shapes are those of a call on whole maps."""

    def declare(params, args):
        return network.apply({"params": params}, *args, mutable=["cache"])[1]["cache"]

    return jax.tree.map(lambda leaf: jnp.zeros(leaf.shape, leaf.dtype), jax.eval_shape(declare, params, args))


def concat_elu(x: Float[Array, "*b c"]) -> Float[Array, "*b 2*c"]:
    """[ELU(x), ELU(-x)] (arXiv:1701.05517's code): twice the channels."""
    return jax.nn.elu(jnp.concatenate([x, -x], axis=-1))


class WeightNorm(Module):
    """Base of the layers here: a weight-normalised linear map whose gain and bias the first batch sets. Abstract.

    Attributes:
        features: channels of the result.
        init_scale: standard deviation of each output channel on the first batch.
        from_data: whether the first batch sets gain and bias; not where parameters are made without data.
    """

    features: int
    init_scale: float = 1.0
    from_data: bool = True

    def _weights(self, shape: tuple[int, ...], x: Features, linear: Callable) -> tuple[Array, Array, Array]:
        """(x, kernel, bias) in the dtype of the computation; `linear` (x, kernel) is the map, for the first batch."""
        v = self.param("kernel", nn.initializers.normal(0.05), shape, self.param_dtype)
        unit = v / jnp.sqrt(jnp.sum(jnp.square(v), axis=tuple(range(v.ndim - 1))) + 1e-12)
        gain = jnp.full(shape[-1:], self.init_scale, self.param_dtype)
        bias = jnp.zeros(shape[-1:], self.param_dtype)
        if self.from_data and self.is_initializing():
            fresh = linear(x, unit.astype(x.dtype)).astype(self.param_dtype)
            mean, var = jnp.mean(fresh, axis=(0, 1, 2)), jnp.var(fresh, axis=(0, 1, 2))
            gain = self.init_scale * jax.lax.rsqrt(var + 1e-10)
            bias = -mean * gain
        gain = self.param("gain", lambda _: gain)
        bias = self.param("bias", lambda _: bias)
        return tuple(nn.dtypes.promote_dtype(x, unit * gain, bias, dtype=self.dtype))


class Pointwise(WeightNorm):
    """A weight-normalised dense layer of each pixel: the "network in network" of PixelCNN++."""

    @nn.compact
    def __call__(self, x: Features) -> Features:
        """The layer on a map, a row or a pixel."""
        x, kernel, bias = self._weights((x.shape[-1], self.features), x, jnp.matmul)
        return x @ kernel + bias


class ShiftedConv(WeightNorm):
    """A shifted convolution; see the module.

    Attributes:
        kernel_size: (kh, kw).
        right: down-right-shifted instead of down-shifted. A down-shifted one knows later columns of its last row, so
            it goes by rows only.
        stride: 1 or 2, in both directions.
        others: see `WeightNorm`.
    """

    kernel_size: tuple[int, int] = (2, 3)
    right: bool = False
    stride: int = 1

    @nn.compact
    def __call__(self, x: Features, at: At | None = None) -> Features:
        """Convolve a map [b, h, w, c]; or, given its place, the newest row or pixel, from the cache.

        Args:
            x: the map, row or pixel.
            at: the place of x in its map.

        Raises:
            ValueError: for a pixel of a down-shifted convolution.
        """
        if at is not None and at.column is not None and not self.right:
            raise ValueError(
                "a down-shifted convolution needs whole rows; only a down-right-shifted one goes by pixels"
            )
        height, width = self.kernel_size
        left = width - 1 if self.right else (width - 1) // 2
        pad = (left, width - 1 - left)
        if at is None:
            if self.is_mutable_collection("cache"):
                self._declare(x, sum(pad))
            window = jnp.pad(x, ((0, 0), (height - 1, 0), pad, (0, 0)))
        else:
            window = self._remember(x, at, left)
        shape = (*self.kernel_size, x.shape[-1], self.features)
        window, kernel, bias = self._weights(shape, window, self._convolve)
        y = self._convolve(window, kernel) + bias
        return y if at is None or self.stride == 1 else self._hold(y, at)

    def _convolve(self, window, kernel):
        return _valid_conv(window, kernel, self.stride)

    def _declare(self, x, padding):
        batch, _, width, channels = x.shape
        self.variable("cache", "rows", jnp.zeros, (batch, self.kernel_size[0], width + padding, channels), x.dtype)
        if self.stride > 1:
            dtype = self.dtype or jnp.promote_types(x.dtype, self.param_dtype)
            self.variable("cache", "held", jnp.zeros, (batch, 1, width // self.stride, self.features), dtype)

    def _remember(self, x, at, left):
        """What the kernel sees at a place, the newest row or pixel put into the cache."""
        rows, height = self.variable("cache", "rows"), self.kernel_size[0]
        column = 0 if at.column is None else at.column
        place = (0, at.row % height, left + column, 0)
        rows.value = jax.lax.dynamic_update_slice(rows.value, x.astype(rows.value.dtype), place)
        window = rows.value
        if at.column is not None:
            window = jax.lax.dynamic_slice_in_dim(window, at.column, self.kernel_size[1], axis=2)
        return window[:, (at.row + 1 + jnp.arange(height)) % height]

    def _hold(self, y, at):
        """The newest output of a layer of stride 2: y where it is due, else what was held."""
        held = self.variable("cache", "held")
        column = 0 if at.column is None else at.column
        due = (at.row % self.stride == 0) & (column % self.stride == 0)
        kept = jax.lax.dynamic_slice_in_dim(held.value, column // self.stride, y.shape[2], axis=2)
        y = jnp.where(due, y.astype(kept.dtype), kept)
        held.value = jax.lax.dynamic_update_slice_in_dim(held.value, y, column // self.stride, axis=2)
        return y


class FirstConv(WeightNorm):
    """The convolution that moves an image, so that each pixel sees earlier ones only.

        shift "down":   rows i - kh .. i - 1, columns j - (kw - 1) / 2 .. j + (kw - 1) / 2
        shift "right":  rows i - kh + 1 .. i, columns j - kw .. j - 1

    Where there is no row above, or no column to the left, the result is 0, without the bias.

    Attributes:
        kernel_size: (kh, kw).
        shift: "down" or "right".
        others: see `WeightNorm`.
    """

    kernel_size: tuple[int, int] = (2, 3)
    shift: str = "down"

    @nn.compact
    def __call__(self, x: Features, at: At | None = None) -> Features:
        """Convolve an image [b, h, w, c], at all places or at one. Pixels not yet known may hold anything."""
        (height, width), down = self.kernel_size, self.shift == "down"
        rows, columns = (height, 0), ((width - 1) // 2, width // 2)
        if not down:
            rows, columns = (height - 1, 0), (width, 0)
        window = jnp.pad(x, ((0, 0), rows, columns, (0, 0)))[:, : -1 if down else None, : None if down else -1]
        row, column = jnp.arange(x.shape[1])[:, None, None], jnp.arange(x.shape[2])[:, None]
        if at is not None:
            window = jax.lax.dynamic_slice_in_dim(window, at.row, height, axis=1)
            row = at.row
            if at.column is not None:
                window = jax.lax.dynamic_slice_in_dim(window, at.column, width, axis=2)
                column = at.column
        shape = (height, width, x.shape[-1], self.features)
        window, kernel, bias = self._weights(shape, window, _valid_conv)
        y = _valid_conv(window, kernel) + bias
        return jnp.where((row if down else column) > 0, y, 0)


class ShiftedUpsize(WeightNorm):
    """Twice the size by a shifted transposed convolution of stride 2.

        down-shifted, kernel (2, 3):        y[2 i + k, 2 j + m - 1] += x[i, j] W[k, m]
        down-right-shifted, kernel (2, 2):  y[2 i + k, 2 j + m]      = x[i, j] W[k, m]

    so the row 2 i + k knows what x knows at the row i, which is no more than what row 2 i may know.

    Attributes:
        right: down-right-shifted instead of down-shifted.
        others: see `WeightNorm`.
    """

    right: bool = False

    @nn.compact
    def __call__(self, x: Features, at: At | None = None) -> Features:
        """The map at twice its size; or the row or pixel at a place of the result, of the one in x that it lies in."""
        shape = (2, 2 if self.right else 3, x.shape[-1], self.features)
        x, kernel, bias = self._weights(shape, x, self._upsize)
        if at is not None:
            kernel = jax.lax.dynamic_slice_in_dim(kernel, at.row % 2, 1)
            if at.column is not None:
                kernel = jax.lax.dynamic_slice_in_dim(kernel, at.column % 2, 1, axis=1)
        return self._upsize(x, kernel) + bias

    def _upsize(self, x, kernel):
        batch, height, width, _ = x.shape
        rows, columns = kernel.shape[0], kernel.shape[1]
        y = jnp.einsum("bhwc,kmcd->bhkwmd", x, kernel)
        if not self.right:  # the kernel's first column goes to the odd pixels of the neighbour to the left
            left = jnp.pad(y[:, :, :, 1:, 0], ((0, 0), (0, 0), (0, 0), (0, 1), (0, 0)))
            y, columns = jnp.stack([y[:, :, :, :, 1], y[:, :, :, :, 2] + left], axis=4), 2
        return y.reshape(batch, height * rows, width * columns, -1)


def _valid_conv(x, kernel, stride=1):
    return jax.lax.conv_general_dilated(
        x, kernel, (stride, stride), "VALID", dimension_numbers=("NHWC", "HWIO", "NHWC")
    )
