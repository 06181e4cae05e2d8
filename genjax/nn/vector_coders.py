"""Coders between images and vectors: convolutional ones, and the table of all kinds.

The convolutional coders are those of `genjax.nn.coders` with a linear layer between their grid and the vector:

    encoder: convolutions, residual blocks, ReLU - flatten - linear
    decoder: linear - reshape, ReLU - 3x3 convolution, residual blocks, transposed convolutions
"""

from collections.abc import Mapping
from typing import Any

import flax.linen as nn
import jax

from genjax.core.arguments import ArgumentError, arg
from genjax.nn import coders, mlp
from genjax.nn.layers.module import Module
from genjax.nn.mlp import MLPDecoder, MLPEncoder
from genjax.typing import Array, Float

LOGICAL_AXES = [
    (r"to_vector/kernel$", ("embed", "mlp")),
    (r"to_grid/kernel$", ("mlp", "embed")),
    *coders.LOGICAL_AXES,
    *mlp.LOGICAL_AXES,
]


class ConvEncoder(Module):
    """Image -> vector.

    Attributes:
        out_dim: of the vector.
        width, num_downs, num_res_blocks, res_width: as of `genjax.nn.coders.Encoder`.
    """

    out_dim: int
    width: int = 64
    num_downs: int = 2
    num_res_blocks: int = 2
    res_width: int = 32

    @nn.compact
    def __call__(self, x: Float[Array, "b h w c"]) -> Float[Array, "b d"]:
        """Encode images, whose height and width 2**num_downs divides."""
        encoder = coders.Encoder(
            self.width, self.num_downs, self.num_res_blocks, self.res_width, name="grid", **self.dtypes
        )
        return nn.Dense(self.out_dim, name="to_vector", **self.dtypes)(encoder(x).reshape(x.shape[0], -1))


class ConvDecoder(Module):
    """Vector -> image.

    Attributes:
        image_shape: (height, width, channels) of the result.
        width, num_ups, num_res_blocks, res_width: as of `genjax.nn.coders.Decoder`.
    """

    image_shape: tuple[int, int, int]
    width: int = 64
    num_ups: int = 2
    num_res_blocks: int = 2
    res_width: int = 32

    @nn.compact
    def __call__(self, z: Float[Array, "b d"]) -> Float[Array, "b h w c"]:
        """Decode vectors.

        Raises:
            ValueError: for an image size that 2**num_ups doesn't divide.
        """
        height, width, channels = self.image_shape
        factor = 2**self.num_ups
        if height % factor or width % factor:
            raise ValueError(
                f"images of {height}x{width} can't be reached by {self.num_ups} doublings; "
                f"choose a size that {factor} divides, or fewer"
            )
        grid = (height // factor, width // factor, self.width)
        h = nn.Dense(grid[0] * grid[1] * grid[2], name="to_grid", **self.dtypes)(z)
        decoder = coders.Decoder(
            channels, self.width, self.num_ups, self.num_res_blocks, self.res_width, name="grid", **self.dtypes
        )
        return decoder(jax.nn.relu(h).reshape(-1, *grid))


def make(
    settings: Mapping[str, Any], out_dim: int, image_shape: tuple[int, int, int], dtype: Any = None
) -> tuple[nn.Module, nn.Module]:
    """(encoder, decoder) of one kind.

    Args:
        settings: "name": "mlp" with `hidden` and `activation`, or "conv" with `width`, `num_downs`,
            `num_res_blocks` and `res_width`.
        out_dim: of the encoder's vector.
        image_shape: of the decoder's images.
        dtype: of the computation.

    Raises:
        ValueError: for an unknown name.
    """
    fields = {**settings, "dtype": dtype}
    name = fields.pop("name")
    if name == "mlp":
        return MLPEncoder(out_dim, **fields), MLPDecoder(image_shape, **fields)
    if name == "conv":
        num_downs = fields.pop("num_downs")
        return (
            ConvEncoder(out_dim, num_downs=num_downs, **fields),
            ConvDecoder(image_shape, num_ups=num_downs, **fields),
        )
    raise ArgumentError(f"unknown network {name!r}; {arg('network')}.name is one of ['conv', 'mlp']")
