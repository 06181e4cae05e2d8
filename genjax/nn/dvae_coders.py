"""DALL-E's convolutional coders between pixels and a grid of codes (arXiv:2102.12092, appendix A.1).

    encoder: conv 7x7 - [blocks, 2x2 max-pooling] for each level, without the last pooling - ReLU, conv 1x1
    decoder: conv 1x1 - [blocks, nearest-neighbour doubling] for each level, without the last - ReLU, conv 1x1
    block:   skip(x) + gain * convs(x),    gain = 1 / blocks in the coder ^ 2

Each of a block's four convolutions follows a ReLU; the first three have a quarter of its channels. In the encoder they
are 3x3, 3x3, 3x3, 1x1, in the decoder 1x1, 3x3, 3x3, 3x3, so that with the 1x1 layers at both ends of the grid few
pixels meet around the relaxation. `skip` is a 1x1 convolution where the channels change. Nothing is normalised: the
small gain keeps the variance. Kernels start as N(0, 1 / fan-in), biases at zero, as in the release.

The published coders have width 256, multipliers 1, 2, 4, 8, 2 blocks a level and 8192 codes: 53,786,240 and 43,829,766
parameters. `tests/parity/dvae_coders_test.py` proves the equality with a PyTorch module.

Deviation: the release computes in float16 but for the two layers of the codes; here `dtype` has the same exceptions.
"""

from collections.abc import Sequence

import flax.linen as nn
import jax

from genjax.core.numerics import largest
from genjax.nn.layers import conv
from genjax.nn.layers.blocks import upsample
from genjax.nn.layers.checks import expect_levels
from genjax.nn.layers.conv import Conv3x3
from genjax.nn.layers.module import Module
from genjax.typing import Array, Float

LOGICAL_AXES = [
    (r"conv_codes/kernel$", ("vocab", "conv_out")),
    (r"conv_logits/kernel$", ("conv_in", "vocab")),
    (r"(skip|conv_\d|conv_out)/kernel$", ("conv_in", "conv_out")),
    *conv.LOGICAL_AXES,
    (r"conv_\d/kernel$", (None, None, "conv_in", "conv_out")),
]

KERNEL_INIT = nn.initializers.variance_scaling(1.0, "fan_in", "normal")


def max_pool(x: Float[Array, "b h w c"]) -> Float[Array, "b h//2 w//2 c"]:
    """Half the size, by the largest of 2x2 pixels; height and width are even."""
    b, h, w, c = x.shape
    blocks = x.reshape(b, h // 2, 2, w // 2, 2, c)
    return largest([blocks[:, :, i, :, j] for i in range(2) for j in range(2)])


class DVAEBlock(Module):
    """The residual block of both coders; see the module.

    Attributes:
        features: channels of the result, a multiple of 4.
        kernel_sizes: of the four convolutions, 1 or 3.
        gain: of the residual path.
        dtype, param_dtype: of computation and parameters.
    """

    features: int
    kernel_sizes: Sequence[int]
    gain: float

    @nn.compact
    def __call__(self, x: Float[Array, "b h w c"]) -> Float[Array, "b h w c2"]:
        """Transform x."""
        layer = {"kernel_init": KERNEL_INIT, **self.dtypes}
        widths = [self.features // 4] * 3 + [self.features]
        h = x
        for i, (size, width) in enumerate(zip(self.kernel_sizes, widths, strict=True), 1):
            make = Conv3x3 if size == 3 else nn.Dense
            h = make(width, name=f"conv_{i}", **layer)(jax.nn.relu(h))
        skip = x if x.shape[-1] == self.features else nn.Dense(self.features, name="skip", **layer)(x)
        return skip + self.gain * h


class _Coder(Module, kw_only=True):  # type: ignore[call-arg]  # a keyword of Linen
    """What both coders share; the layer at the codes' end is in the dtype of the input.

    Attributes:
        width: channels that `channel_mult` multiplies.
        channel_mult: of each level; each but the first has half the size of the one before.
        num_blocks: residual blocks a level.
        remat: recompute each block's inner results in the backward pass instead of keeping them in memory.
    """

    width: int = 256
    channel_mult: Sequence[int] = (1, 2, 4, 8)
    num_blocks: int = 2
    remat: bool = False

    def __post_init__(self):
        """Refuse fields that can't be."""
        expect_levels("channel_mult", self.channel_mult)
        super().__post_init__()

    def _block(self, level: int, index: int, kernels: tuple[int, ...]) -> DVAEBlock:
        block = nn.remat(DVAEBlock) if self.remat else DVAEBlock
        gain = 1 / (len(self.channel_mult) * self.num_blocks) ** 2
        features = self.width * self.channel_mult[level]
        return block(features, kernels, gain, name=f"level_{level}_{index}", **self.dtypes)


class DVAEEncoder(_Coder):
    """Pixels -> logits of the codes; see the module.

    Attributes:
        num_codes: size of the codebook.
    """

    num_codes: int = 8192

    @nn.compact
    def __call__(self, x: Float[Array, "b h w c"]) -> Float[Array, "b h2 w2 k"]:
        """Logits of the codes, at 1 / 2**(levels - 1) of the size of x, in the dtype of x."""
        h = nn.Conv(self.width, (7, 7), kernel_init=KERNEL_INIT, name="conv_in", **self.dtypes)(x)
        for level in range(len(self.channel_mult)):
            h = h if level == 0 else max_pool(h)
            for i in range(self.num_blocks):
                h = self._block(level, i, (3, 3, 3, 1))(h)
        logits = nn.Dense(
            self.num_codes, kernel_init=KERNEL_INIT, dtype=x.dtype, param_dtype=self.param_dtype, name="conv_logits"
        )
        return logits(jax.nn.relu(h))


class DVAEDecoder(_Coder):
    """Codes, one-hot or relaxed -> channels of each pixel, the encoder's levels backwards; see the module.

    Attributes:
        out_channels: of the result: DALL-E has a location and a log-scale for each colour.
        input_width: channels of the codes' embedding.
    """

    out_channels: int = 6
    input_width: int = 128

    @nn.compact
    def __call__(self, codes: Float[Array, "b h w k"]) -> Float[Array, "b h2 w2 c"]:
        """The decoded channels, at 2**(levels - 1) times the size of the grid, in the dtype of `codes`."""
        h = nn.Dense(
            self.input_width,
            kernel_init=KERNEL_INIT,
            dtype=codes.dtype,
            param_dtype=self.param_dtype,
            name="conv_codes",
        )(codes)
        for level in reversed(range(len(self.channel_mult))):
            for i in range(self.num_blocks):
                h = self._block(level, i, (1, 3, 3, 3))(h)
            h = upsample(h) if level else h
        out = nn.Dense(self.out_channels, kernel_init=KERNEL_INIT, name="conv_out", **self.dtypes)
        return out(jax.nn.relu(h)).astype(codes.dtype)
