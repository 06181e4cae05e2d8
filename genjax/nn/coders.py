"""The convolutional coders of VQ-VAE (arXiv:1711.00937, section 4.1), for all families that encode and decode.

    encoder: [conv 4x4 / 2, ReLU] num_downs times, conv 3x3, residual blocks, ReLU (, conv 1x1 to out_channels)
    decoder: conv 3x3, residual blocks, ReLU, [transposed conv 4x4 * 2, ReLU] num_ups times, without the last ReLU
    residual block: x + conv 1x1 (ReLU (conv 3x3 (ReLU x)))

With the details that the paper leaves open as in DeepMind's Sonnet: half the width at the highest resolution, the
3x3 convolution between strides and blocks, ReLU after the last block. Nothing here is stochastic and nothing is
normalised. A coder of no levels (`num_downs=0`) keeps the resolution.

Deviation: Sonnet's example has two levels; coders of more have the full width at all but the highest resolution.
"""

import flax.linen as nn
import jax

from genjax.nn.layers import conv, strided_conv
from genjax.nn.layers.conv import Conv3x3
from genjax.nn.layers.module import Module
from genjax.nn.layers.strided_conv import DownConv, UpConv
from genjax.typing import Array, Float

LOGICAL_AXES = [
    (r"(project|conv_out)/kernel$", ("conv_in", "conv_out")),
    *strided_conv.LOGICAL_AXES,
    *conv.LOGICAL_AXES,
]


class CoderBlock(Module):
    """x + conv1x1(ReLU(conv3x3(ReLU(x)))).

    Attributes:
        res_width: channels between the two convolutions.
    """

    res_width: int

    @nn.compact
    def __call__(self, x: Float[Array, "b h w c"]) -> Float[Array, "b h w c"]:
        """Transform x."""
        h = Conv3x3(self.res_width, name="conv_in", **self.dtypes)(jax.nn.relu(x))
        return x + nn.Dense(x.shape[-1], name="conv_out", **self.dtypes)(jax.nn.relu(h))


class Encoder(Module):
    """Image -> features at 1 / 2**num_downs of its size; see the module.

    Attributes:
        width: channels, but for half of them at the highest resolution.
        num_downs: halvings of height and width.
        num_res_blocks: residual blocks, at the lowest resolution.
        res_width: channels within them.
        out_channels: channels of a last 1x1 convolution; 0 for none, the features being ReLU's.
    """

    width: int = 128
    num_downs: int = 2
    num_res_blocks: int = 2
    res_width: int = 32
    out_channels: int = 0

    @nn.compact
    def __call__(self, x: Float[Array, "b h w c"]) -> Float[Array, "b h2 w2 c2"]:
        """Encode x.

        Raises:
            ValueError: for a height or width that can't be halved so often.
        """
        for level in range(self.num_downs):
            features = self.width // 2 if level == 0 else self.width
            x = jax.nn.relu(DownConv(features, name=f"down_{level}", **self.dtypes)(x))
        x = Conv3x3(self.width, name="conv", **self.dtypes)(x)
        for block in range(self.num_res_blocks):
            x = CoderBlock(self.res_width, name=f"res_{block}", **self.dtypes)(x)
        x = jax.nn.relu(x)
        return nn.Dense(self.out_channels, name="project", **self.dtypes)(x) if self.out_channels else x


class Decoder(Module):
    """Features -> image at 2**num_ups of their size; see the module.

    Attributes:
        out_channels: channels of the result.
        num_ups: doublings of height and width.
        width, num_res_blocks, res_width, dtype, param_dtype: as of `Encoder`.
    """

    out_channels: int
    width: int = 128
    num_ups: int = 2
    num_res_blocks: int = 2
    res_width: int = 32

    @nn.compact
    def __call__(self, z: Float[Array, "b h w c"]) -> Float[Array, "b h2 w2 c2"]:
        """Decode z."""
        x = Conv3x3(self.width, name="conv", **self.dtypes)(z)
        for block in range(self.num_res_blocks):
            x = CoderBlock(self.res_width, name=f"res_{block}", **self.dtypes)(x)
        x = jax.nn.relu(x)
        for level in reversed(range(1, self.num_ups)):
            features = self.width // 2 if level == 1 else self.width
            x = jax.nn.relu(UpConv(features, name=f"up_{level}", **self.dtypes)(x))
        if self.num_ups:
            return UpConv(self.out_channels, name="up_0", **self.dtypes)(x)
        return Conv3x3(self.out_channels, name="conv_image", **self.dtypes)(x)
