"""The network of VQ-VAE-2: images as grids of codes at several scales (arXiv:1906.00446, section 3.1).

Levels are numbered from the finest, 0, to the coarsest, L-1. With E_l encoders, D_l decoders, U_l transposed
convolutions to the next finer grid, and [.,.] channels side by side,

    up:    h_0 = E_0(x),   h_l = E_l(h_{l-1})
    down:  z_{L-1} = proj(h_{L-1}),   q = quantised z,   c_{L-1} = q_{L-1}
           z_l = proj([D_{l+1}(c_{l+1}), h_l]),   c_l = [U_{l+1}(c_{l+1}), q_l]
    out:   x' = D_0(c_0)

so each level is quantised with the coarser ones known, and the last decoder sees all of them, brought to the finest
grid. With two levels these are the modules, sizes and parameter count of the well-known PyTorch implementation
(rosinality's: 1,388,867 parameters at its defaults). It leaves open what the paper does; for more than two levels, the
paper says only that each is conditioned on those above.
"""

import flax.linen as nn
import jax.numpy as jnp

from genjax.nn import coders
from genjax.nn.coders import Decoder, Encoder
from genjax.nn.layers import quantize
from genjax.nn.layers.module import Module
from genjax.nn.layers.quantize import Quantized
from genjax.nn.layers.strided_conv import UpConv
from genjax.typing import Array, Float, Image

LOGICAL_AXES = [
    (r"project_\d+/kernel$", ("conv_in", "conv_out")),
    *coders.LOGICAL_AXES,
]

Vectors = tuple[Float[Array, "k d"], ...]
"""The codebook of each level, coarse to fine."""
Grids = tuple[Float[Array, "b _ _ d"], ...]
"""Code vectors on the grid of each level, coarse to fine."""


class Hierarchy(Module):
    """Encoders, quantisation and decoders of all levels; see the module. Codebooks are given, coarse to fine.

    Attributes:
        out_channels: channels of the images.
        downs: halvings from the image to the finest grid, from there to the next coarser one, ...: one a level.
        dim: channels of code vectors, D.
        width, num_res_blocks, res_width: of every coder; see `genjax.nn.coders`.
    """

    out_channels: int
    downs: tuple[int, ...] = (2, 1)
    dim: int = 64
    width: int = 128
    num_res_blocks: int = 2
    res_width: int = 32

    def setup(self):
        """Make the modules of all levels, finest first."""
        sizes = {name: getattr(self, name) for name in ("width", "num_res_blocks", "res_width")} | self.dtypes
        outputs = [self.out_channels] + [self.dim] * (len(self.downs) - 1)
        self.encoders = [Encoder(num_downs=downs, name=f"encoder_{i}", **sizes) for i, downs in enumerate(self.downs)]
        self.decoders = [
            Decoder(channels, num_ups=ups, name=f"decoder_{i}", **sizes)
            for i, (channels, ups) in enumerate(zip(outputs, self.downs, strict=True))
        ]
        self.projections = [nn.Dense(self.dim, name=f"project_{i}", **self.dtypes) for i in range(len(self.downs))]
        self.upsamplers = [
            [
                UpConv(self._context(level), name=f"level_{level}_up_{i}", **self.dtypes)
                for i in range(self.downs[level])
            ]
            for level in range(1, len(self.downs))
        ]

    def _context(self, level: int) -> int:
        """Channels of c at a level."""
        return self.dim * (len(self.downs) - level)

    def __call__(self, x: Image, vectors: Vectors) -> tuple[Image, tuple[Quantized, ...]]:
        """(reconstruction with gradients straight through, what was quantised at each level, coarse to fine)."""
        quantized = self.encode(x, vectors)
        return self.decode(tuple(level.straight_through() for level in quantized)), quantized

    def encode(self, x: Image, vectors: Vectors) -> tuple[Quantized, ...]:
        """Quantise an image at each level, coarse to fine."""
        features = []
        for encoder in self.encoders:
            x = encoder(x)
            features.append(x)
        found: list[Quantized] = []
        for level in reversed(range(len(features))):
            h = features[level]
            if found:
                coarser = self._gather(tuple(one.straight_through() for one in found))
                h = jnp.concatenate([self.decoders[level + 1](coarser), h], axis=-1)
            found.append(quantize.quantize(self.projections[level](h), vectors[len(found)]))
        return tuple(found)

    def decode(self, z_q: Grids) -> Image:
        """The image of the code vectors of all levels, coarse to fine."""
        return self.decoders[0](self._gather(z_q))

    def _gather(self, z_q: Grids) -> Float[Array, "b h w c"]:
        """c of the finest of the levels given, coarse to fine."""
        context = z_q[0]
        for place, finer in enumerate(z_q[1:]):
            for upsample in self.upsamplers[len(self.downs) - 2 - place]:
                context = upsample(context)
            context = jnp.concatenate([context, finer], axis=-1)
        return context
