"""Coders of one layer, in place of `genjax.nn.coders`: the loss is known in closed form, and compiles fast."""

from typing import Any

import flax.linen as nn


class Encoder(nn.Module):
    """2x2 pixels to a vector; the fields are those of the real one."""

    width: int = 0
    num_downs: int = 1
    num_res_blocks: int = 0
    res_width: int = 0
    out_channels: int = 0
    dtype: Any = None
    param_dtype: Any = None

    @nn.compact
    def __call__(self, x):
        b, h, w, c = x.shape
        patches = x.reshape(b, h // 2, 2, w // 2, 2, c).swapaxes(2, 3).reshape(b, h // 2, w // 2, 4 * c)
        return nn.Dense(self.out_channels or self.width, use_bias=False, name="layer")(patches)


class Decoder(nn.Module):
    """A vector to 2x2 pixels; the fields are those of the real one."""

    out_channels: int
    width: int = 0
    num_ups: int = 1
    num_res_blocks: int = 0
    res_width: int = 0
    dtype: Any = None
    param_dtype: Any = None

    @nn.compact
    def __call__(self, z):
        b, h, w, _ = z.shape
        out = nn.Dense(4 * self.out_channels, use_bias=False, name="layer")(z)
        return out.reshape(b, h, w, 2, 2, self.out_channels).swapaxes(2, 3).reshape(b, 2 * h, 2 * w, self.out_channels)
