"""Residual blocks and changes of resolution for U-Nets of images.

The residual block of DDPM (arXiv:2006.11239, appendix B), with the two changes of ADM (arXiv:2105.05233,
section 3):

    h = conv(resample(SiLU(norm(x))))
    plain:     h = norm(h + Dense(SiLU(e)))
    adaptive:  h = norm(h) * (1 + scale) + shift,   [scale, shift] = Dense(SiLU(e))
    y = skip(resample(x)) + conv(dropout(SiLU(h)))

where e is the embedding of time (and class), `skip` is the identity or, if the channels change, a dense layer
of each pixel, and `resample` is none, 2x2 averaging or nearest-neighbour doubling ("BigGAN up/downsampling").
The last convolution starts at zero, so the block starts as its skip. Deviation: DDPM scales that
initialisation by 1e-10 instead of 0.
"""

from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp

from genjax.nn.layers.conv import Conv3x3
from genjax.nn.layers.module import Module
from genjax.nn.layers.norm import GroupNorm
from genjax.typing import Array, Float

LOGICAL_AXES = [
    (r"skip/kernel$", ("conv_in", "conv_out")),
    (r"embed/kernel$", ("embed", "conv_out")),
]


def upsample(x: Float[Array, "b h w c"]) -> Float[Array, "b 2*h 2*w c"]:
    """Twice the size, by repeating each pixel."""
    b, h, w, c = x.shape
    return jnp.broadcast_to(x[:, :, None, :, None], (b, h, 2, w, 2, c)).reshape(b, 2 * h, 2 * w, c)


def downsample(x: Float[Array, "b h w c"]) -> Float[Array, "b h//2 w//2 c"]:
    """Half the size, by averaging 2x2 pixels; height and width are even."""
    b, h, w, c = x.shape
    return x.reshape(b, h // 2, 2, w // 2, 2, c).mean((2, 4))


class Upsample(Module):
    """Nearest-neighbour doubling, then a 3x3 convolution.

    Attributes:
        features: channels of the result; None = those of x.
        kernel_init, dtype, param_dtype: of the convolution.
    """

    features: int | None = None
    kernel_init: Any = nn.initializers.lecun_normal()

    @nn.compact
    def __call__(self, x: Float[Array, "b h w c"]) -> Float[Array, "b 2*h 2*w c2"]:
        """x at twice its size."""
        features = self.features or x.shape[-1]
        conv = Conv3x3(features, self.kernel_init, **self.dtypes, name="conv")
        return conv(upsample(x))


class Downsample(Module):
    """3x3 convolution of stride 2.

    Attributes:
        pad_end_only: pads below and to the right only, as TensorFlow's SAME does in DDPM; ADM pads all sides.
        features: channels of the result; None = those of x.
        kernel_init, dtype, param_dtype: of the convolution.
    """

    pad_end_only: bool = False
    features: int | None = None
    kernel_init: Any = nn.initializers.lecun_normal()

    @nn.compact
    def __call__(self, x: Float[Array, "b h w c"]) -> Float[Array, "b h//2 w//2 c2"]:
        """x at half its size."""
        pad = (0, 1) if self.pad_end_only else (1, 1)
        features = self.features or x.shape[-1]
        conv = nn.Conv(
            features,
            (3, 3),
            strides=(2, 2),
            padding=(pad, pad),
            kernel_init=self.kernel_init,
            name="conv",
            dtype=self.dtype,
            param_dtype=self.param_dtype,
        )
        return conv(x)


class ResBlock(Module):
    """The residual block of DDPM and ADM; see the module for its equations.

    Attributes:
        out_channels: channels of the result.
        dropout: rate, before the last convolution.
        adaptive_norm: whether the embedding scales and shifts the second norm, instead of being added before
            it.
        resample: "none", "up" or "down".
        num_groups, eps: of the group norms.
        kernel_init: of all layers but the last, which starts at zero.
        deterministic: no dropout; else the random stream "dropout" is used.
    """

    out_channels: int
    dropout: float = 0.0
    adaptive_norm: bool = False
    resample: str = "none"
    num_groups: int = 32
    eps: float = 1e-5
    kernel_init: Any = nn.initializers.lecun_normal()
    deterministic: bool = True

    @nn.compact
    def __call__(self, x: Float[Array, "b h w c"], embedding: Float[Array, "b d"]) -> Float[Array, "b h2 w2 c2"]:
        """Transform x, given the embedding of time and condition."""
        norm = {"num_groups": self.num_groups, "eps": self.eps, "silu": True, **self.dtypes}
        resample = {"none": lambda y: y, "up": upsample, "down": downsample}[self.resample]

        h = resample(GroupNorm(name="norm_in", **norm)(x))
        h = Conv3x3(self.out_channels, self.kernel_init, name="conv_in", **self.dtypes)(h)

        features = self.out_channels * (2 if self.adaptive_norm else 1)
        dense = nn.Dense(features, kernel_init=self.kernel_init, param_dtype=self.param_dtype, name="embed")
        modulation = dense(jax.nn.silu(embedding))
        if self.adaptive_norm:
            h = GroupNorm(name="norm_out", **norm)(h, tuple(jnp.split(modulation, 2, axis=-1)))
        else:
            h = GroupNorm(name="norm_out", **norm)(h + modulation[:, None, None].astype(h.dtype))
        h = nn.Dropout(self.dropout, deterministic=self.deterministic)(h)
        h = Conv3x3(self.out_channels, nn.initializers.zeros_init(), name="conv_out", **self.dtypes)(h)

        skip = resample(x)
        if x.shape[-1] != self.out_channels:
            dense = nn.Dense(self.out_channels, kernel_init=self.kernel_init, name="skip", **self.dtypes)
            skip = dense(skip)
        return skip + h
