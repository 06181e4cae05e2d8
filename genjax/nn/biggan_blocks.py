"""The blocks of BigGAN and BigGAN-deep (arXiv:1809.11096, appendix B), every matrix spectrally normalised.

Generator (c: class embedding and latent, `up`: nearest-neighbour doubling, or nothing):

    plain:       y = conv(relu(norm(conv(up(relu(norm(x, c)))), c))) + up(skip(x))
    bottleneck:  h = up(relu(norm(dense(relu(norm(x, c))), c)))              to a quarter of the channels
                 y = dense(relu(norm(conv(relu(norm(conv(h), c))), c))) + up(first channels of x)

Discriminator (`down`: 2x2 averaging, or nothing; no norms):

    plain:       y = down(conv(relu(conv(relu(x))))) + skip(down(x))         the first block without the outer relu
    bottleneck:  h = down(relu(conv(relu(conv(relu(dense(relu(x))))))))
                 y = dense(h) + [down(x), skip(down(x))]                     the skip adds the missing channels

`dense` and `skip` act on each pixel (1x1 convolutions). They commute with `up` and `down`, and are applied where the
image is small.

Self-attention (SAGAN, arXiv:1805.08318) has its keys and values max-pooled 2x2 and its scores unscaled:

    y = x + gamma * dense(softmax(q k^T) v),    q, k of c/8 channels, v of c/2, gamma from 0
"""

import flax.linen as nn
import jax
import jax.numpy as jnp

from genjax.nn.layers.attention import attend
from genjax.nn.layers.blocks import downsample, upsample
from genjax.nn.layers.conditional_norm import ConditionalBatchNorm
from genjax.nn.layers.module import Module
from genjax.nn.layers.spectral_norm import SpectralConv3x3, SpectralDense
from genjax.typing import Array, Float

BOTTLENECK = 4
"""Channels outside a bottleneck block over those inside."""


class _Block(Module):
    """What the blocks share.

    Attributes:
        out_channels: channels of the result.
        resample: whether the size changes: doubled in the generator, halved in the discriminator.
        spectral_norms: whether the norms' matrices are spectrally normalised; see `ConditionalBatchNorm`.
        norm_eps: added to the variances of batch norm.
        spectral_eps: of the spectral norms.
    """

    out_channels: int
    resample: bool = False
    spectral_norms: bool = True
    norm_eps: float = 1e-5
    spectral_eps: float = 1e-6

    def _layer(self, kind: type[nn.Module], features: int, name: str) -> nn.Module:
        return kind(features, eps=self.spectral_eps, **self.dtypes, name=name)

    def _norm(self, name: str) -> ConditionalBatchNorm:
        return ConditionalBatchNorm(self.norm_eps, self.spectral_norms, self.spectral_eps, **self.dtypes, name=name)


class GeneratorBlock(_Block):
    """The generator's block; see the module."""

    @nn.compact
    def __call__(
        self,
        x: Float[Array, "b h w c"],
        condition: Float[Array, "b d"],
        train: bool,
        momentum: float | Float[Array, ""] = 0.1,
    ) -> Float[Array, "b h2 w2 c2"]:
        """Transform x, given the condition; `train` and `momentum` as of `ConditionalBatchNorm`."""
        resize = upsample if self.resample else lambda y: y
        h = resize(jax.nn.relu(self._norm("norm_in")(x, condition, train, momentum)))
        h = self._layer(SpectralConv3x3, self.out_channels, "conv_in")(h, train)
        h = jax.nn.relu(self._norm("norm_out")(h, condition, train, momentum))
        h = self._layer(SpectralConv3x3, self.out_channels, "conv_out")(h, train)
        if self.resample or x.shape[-1] != self.out_channels:
            x = self._layer(SpectralDense, self.out_channels, "skip")(x, train)
        return resize(x) + h


class BottleneckGeneratorBlock(_Block):
    """The generator's block of BigGAN-deep; see the module. It has at least as many channels in as out."""

    @nn.compact
    def __call__(
        self,
        x: Float[Array, "b h w c"],
        condition: Float[Array, "b d"],
        train: bool,
        momentum: float | Float[Array, ""] = 0.1,
    ) -> Float[Array, "b h2 w2 c2"]:
        """Transform x, given the condition; `train` and `momentum` as of `ConditionalBatchNorm`."""
        resize = upsample if self.resample else lambda y: y
        hidden = x.shape[-1] // BOTTLENECK
        h = x
        layers = (
            ("a", SpectralDense, "dense_in", hidden),
            ("b", SpectralConv3x3, "conv_in", hidden),
            ("c", SpectralConv3x3, "conv_out", hidden),
            ("d", SpectralDense, "dense_out", self.out_channels),
        )
        for norm, kind, name, features in layers:
            h = jax.nn.relu(self._norm(f"norm_{norm}")(h, condition, train, momentum))
            h = self._layer(kind, features, name)(resize(h) if name == "conv_in" else h, train)
        return resize(x[..., : self.out_channels]) + h


class DiscriminatorBlock(_Block):
    """The discriminator's block; see the module.

    Attributes:
        preactivation: whether it starts with relu; not so the first, whose input is the image.
        others: see `_Block`; without norms, `norm_eps` isn't used.
    """

    preactivation: bool = True

    @nn.compact
    def __call__(self, x: Float[Array, "b h w c"], train: bool) -> Float[Array, "b h2 w2 c2"]:
        """Transform x; `train`: renew the spectral vectors."""
        resize = downsample if self.resample else lambda y: y
        h = jax.nn.relu(x) if self.preactivation else x
        h = self._layer(SpectralConv3x3, self.out_channels, "conv_in")(h, train)
        h = self._layer(SpectralConv3x3, self.out_channels, "conv_out")(jax.nn.relu(h), train)
        skip = resize(x)
        if self.resample or x.shape[-1] != self.out_channels:
            skip = self._layer(SpectralDense, self.out_channels, "skip")(skip, train)
        return skip + resize(h)


class BottleneckDiscriminatorBlock(_Block):
    """The discriminator's block of BigGAN-deep; see the module. It has at least as many channels out as in."""

    @nn.compact
    def __call__(self, x: Float[Array, "b h w c"], train: bool) -> Float[Array, "b h2 w2 c2"]:
        """Transform x; `train`: renew the spectral vectors."""
        resize = downsample if self.resample else lambda y: y
        hidden = self.out_channels // BOTTLENECK
        h = self._layer(SpectralDense, hidden, "dense_in")(jax.nn.relu(x), train)
        for name in ("conv_in", "conv_out"):
            h = self._layer(SpectralConv3x3, hidden, name)(jax.nn.relu(h), train)
        h = self._layer(SpectralDense, self.out_channels, "dense_out")(resize(jax.nn.relu(h)), train)
        skip = resize(x)
        missing = self.out_channels - x.shape[-1]
        if missing:
            more = self._layer(SpectralDense, missing, "skip")(skip, train)
            skip = jnp.concatenate([skip, more.astype(skip.dtype)], axis=-1)
        return skip + h


class SelfAttention(Module):
    """Self-attention of all pixels to 2x2-pooled ones; see the module. Its gain starts at zero: as identity.

    Attributes:
        spectral_eps, dtype, param_dtype: as of the blocks.
    """

    spectral_eps: float = 1e-6

    @nn.compact
    def __call__(self, x: Float[Array, "b h w c"], train: bool) -> Float[Array, "b h w c"]:
        """x plus what each pixel gathers; height and width are even, channels a multiple of 8."""
        batch, height, width, channels = x.shape

        def dense(y, features, name):
            layer = SpectralDense(features, False, eps=self.spectral_eps, **self.dtypes, name=name)
            return layer(y, train)

        def pooled(y):
            return nn.max_pool(y, (2, 2), (2, 2)).reshape(batch, -1, y.shape[-1])

        q = dense(x, channels // 8, "dense_query").reshape(batch, -1, channels // 8)
        k = pooled(dense(x, channels // 8, "dense_key"))
        v = pooled(dense(x, channels // 2, "dense_value"))
        q, k, v = (part[:, :, None] for part in (q, k, v))  # one head
        gathered = attend(q, k, v, scale=1.0).reshape(batch, height, width, -1)
        gamma = self.param("gamma", nn.initializers.zeros_init(), (), self.param_dtype)
        return x + gamma.astype(x.dtype) * dense(gathered, channels, "dense_out").astype(x.dtype)
