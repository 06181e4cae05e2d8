"""CLIP's residual network: an image to one vector (arXiv:2103.00020, section 2.4).

    stem      three 3x3 convolutions, the first with stride 2, then 2x2 means
    levels    bottleneck blocks of `channels` = width * 2^i inner and 4 * channels outer features,
                  y = relu(norm(conv 1x1)), relu(norm(conv 3x3)), [2x2 means], norm(conv 1x1)
                  x = relu(y + skip(x)),       skip: [2x2 means], norm(conv 1x1) in a level's first block
    pool      attention from the mean of all positions (`genjax.nn.layers.attention.AttentionPool`)

Wherever a residual network has a strided convolution there are means before one of stride 1, which keeps detail from
folding over (arXiv:1904.11486); the first block of every level but the first halves the size. Convolutions have no
bias. The last norm of each block starts at zero, so blocks start at their skip.

RN50 is `width=64, depths=(3, 4, 6, 3), num_heads=32, out_channels=1024` at 224 pixels, RN50x16 `width=96,
depths=(6, 8, 18, 8), num_heads=48, out_channels=768` at 384.

Batch norm keeps running averages in `batch_stats`, `r <- .9 r + .1 batch's`. Deviations: the statistics of a batch are
those of all devices, the release's of each; running variances are of the batch as it is, PyTorch's times n / (n - 1).
"""

from collections.abc import Sequence
from functools import partial

import flax.linen as nn
import jax

from genjax.nn.layers import attention
from genjax.nn.layers.attention import AttentionPool
from genjax.nn.layers.module import Module
from genjax.typing import Array, Float

LOGICAL_AXES = [
    *attention.LOGICAL_AXES,
    (r"(stem|conv)_\w+/kernel$", (None, None, "conv_in", "conv_out")),
    (r"skip/kernel$", (None, None, "conv_in", "conv_out")),
]

EXPANSION = 4
"""Outer features of a block, in inner ones."""

Features = Float[Array, "b _h _w _c"]


def halve(x: Features) -> Features:
    """Means over 2x2 pixels."""
    return nn.avg_pool(x, (2, 2), (2, 2))


class Bottleneck(Module):
    """One residual block; see the module.

    Attributes:
        channels: inner features.
        stride: 2 to halve the size, or 1.
    """

    channels: int
    stride: int = 1

    @nn.compact
    def __call__(self, x: Features, train: bool = False) -> Features:
        """x after the block; `train` as in `ClipResNet`."""
        conv, norm = _layers(self.dtype, self.param_dtype, train)
        shrink = halve if self.stride == 2 else lambda h: h
        h = jax.nn.relu(norm(name="norm_in")(conv(self.channels, (1, 1), name="conv_in")(x)))
        h = jax.nn.relu(norm(name="norm_middle")(conv(self.channels, (3, 3), name="conv_middle")(h)))
        h = conv(EXPANSION * self.channels, (1, 1), name="conv_out")(shrink(h))
        h = norm(scale_init=nn.initializers.zeros_init(), name="norm_out")(h)
        if self.stride == 2 or x.shape[-1] != h.shape[-1]:
            x = norm(name="norm_skip")(conv(h.shape[-1], (1, 1), name="skip")(shrink(x)))
        return jax.nn.relu(h + x)


class ClipResNet(Module):
    """Images -> features [b, out_channels]; see the module.

    Attributes:
        out_channels: of the result.
        width: features of the stem, and inner ones of the first level.
        depths: blocks of each level.
        num_heads: of the attention pool.
    """

    out_channels: int
    width: int = 64
    depths: Sequence[int] = (3, 4, 6, 3)
    num_heads: int = 32

    @nn.compact
    def __call__(self, x: Float[Array, "b h w c"], train: bool = False) -> Float[Array, "b d"]:
        """Features of each image.

        Args:
            x: images of the size of the first call, since each position of the pool has its own vector.
            train: normalise by this batch's statistics and, if `batch_stats` is mutable, update the averages; else
                normalise by the averages.

        Raises:
            ValueError: for a size that can't be halved so often.
        """
        times = 1 + len(self.depths)
        if x.shape[1] % 2**times or x.shape[2] % 2**times:
            raise ValueError(f"images of {x.shape[1]}x{x.shape[2]} can't be halved {times} times; choose a multiple")
        conv, norm = _layers(self.dtype, self.param_dtype, train)
        for i, (features, stride) in enumerate(((self.width // 2, 2), (self.width // 2, 1), (self.width, 1))):
            x = conv(features, (3, 3), stride, padding=1, name=f"stem_{i}")(x)
            x = jax.nn.relu(norm(name=f"norm_stem_{i}")(x))
        x = halve(x)
        for level, depth in enumerate(self.depths):
            for i in range(depth):
                stride = 2 if level and i == 0 else 1
                x = Bottleneck(self.width * 2**level, stride, name=f"level_{level}_{i}", **self.dtypes)(x, train)
        spread = nn.initializers.normal(x.shape[-1] ** -0.5)
        return AttentionPool(self.out_channels, self.num_heads, spread, name="pool", **self.dtypes)(x)


def _layers(dtype, param_dtype, train):
    """(convolution, norm) of this network, as modules that want only their own fields."""
    dtypes = {"dtype": dtype, "param_dtype": param_dtype}
    norm = partial(
        nn.BatchNorm, use_running_average=not train, momentum=0.9, epsilon=1e-5, use_fast_variance=False, **dtypes
    )
    return partial(nn.Conv, use_bias=False, **dtypes), norm
