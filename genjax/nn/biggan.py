"""The networks of BigGAN and BigGAN-deep (arXiv:1809.11096, appendix B).

Generator, with the class embedding e(y) that all its norms share, and the latent z:

    BigGAN:       [z_0, .., z_n] = z in n + 1 chunks;   h = dense(z_0);   block i is conditioned on [e(y), z_i]
    BigGAN-deep:  h = dense([z, e(y)]);                 all blocks are conditioned on [z, e(y)]
    plain:        h = dense(z);                         all blocks are conditioned on y alone, by tables of their own
    all:          image = tanh(conv(relu(norm(blocks(h)))))

Discriminator, with projection (arXiv:1802.05637) onto an embedding of the class:

    h = sum over pixels of relu(blocks(x));    logit = dense(h) + <embed(y), h>

Every matrix is spectrally normalised but the generator's class embeddings. Weights start orthogonal. The plain form,
`shared_dim` 0, is that of the authors' PyTorch release for CIFAR-10.

`channel_mult`, times `width`, is the number of channels at the start and after each stage. One stage doubles or halves
the size (the discriminator's last ones may not). Of each image size:

    size   generator                        discriminator                    downsamples
    32     (4, 4, 4, 4)                     (4, 4, 4, 4)                     2              width 64 (CIFAR-10)
    64     (16, 16, 8, 4, 2)                (1, 2, 4, 8, 16)                 4
    128    (16, 16, 8, 4, 2, 1)             (1, 2, 4, 8, 16, 16)             5
    256    (16, 16, 8, 8, 4, 2, 1)          (1, 2, 4, 8, 8, 16, 16)          6
    512    (16, 16, 8, 8, 4, 2, 1, 1)       (1, 1, 2, 4, 8, 8, 16, 16)       7

For BigGAN-deep the generator's are the same; its discriminator starts with a convolution to `width` channels, and its
stages all halve: 128 has (2, 4, 8, 16, 16), 5 downsamples.

Deviations: biases start at zero (PyTorch's layers draw them). BigGAN-deep follows the authors' PyTorch release, whose
last convolution is to 3 channels.
"""

from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp

from genjax.nn.biggan_blocks import (
    BottleneckDiscriminatorBlock,
    BottleneckGeneratorBlock,
    DiscriminatorBlock,
    GeneratorBlock,
    SelfAttention,
)
from genjax.nn.layers import spectral_norm
from genjax.nn.layers.checks import expect_levels
from genjax.nn.layers.conditional_norm import BatchNorm
from genjax.nn.layers.spectral_norm import SpectralConv3x3, SpectralDense, SpectralEmbed
from genjax.typing import Array, Float, Image, Labels, PerExample

LOGICAL_AXES = [*spectral_norm.LOGICAL_AXES, (r"shared/embedding$", ("vocab", "embed"))]


class _Network(nn.Module):
    """What both networks share.

    Attributes:
        num_classes: labels are 0..num_classes - 1.
        width: channels that `channel_mult` multiplies.
        channel_mult: of the start (generator only) and of each stage.
        attention_resolutions: sizes in pixels after whose stages there is self-attention.
        depth: bottleneck blocks a stage, as BigGAN-deep's 2; 0 = one block of BigGAN's own kind.
        remat: recompute blocks in the backward pass, to save memory.
        spectral_eps: of the spectral norms.
        dtype: of the computation. Statistics, spectral norms and results are float32.
        param_dtype: of the parameters.
    """

    num_classes: int
    width: int = 96
    channel_mult: tuple[int, ...] = ()
    attention_resolutions: tuple[int, ...] = (64,)
    depth: int = 0
    remat: bool = False
    spectral_eps: float = 1e-6
    dtype: Any = jnp.float32
    param_dtype: Any = jnp.float32

    def __post_init__(self):
        """Refuse fields that can't be."""
        expect_levels("channel_mult", self.channel_mult)
        super().__post_init__()

    @property
    def _dtypes(self) -> dict[str, Any]:
        return {"dtype": jnp.dtype(self.dtype), "param_dtype": self.param_dtype}

    def _layer(self, kind: type[nn.Module], features: int, name: str, **fields) -> nn.Module:
        return kind(features, eps=self.spectral_eps, name=name, **self._dtypes, **fields)

    def _block(self, kind: type[nn.Module], train_at: int, out_channels: int, resample: bool, name: str, **fields):
        """A block; `train_at` is the place of `train` among its arguments, which remat has to know."""
        kind = nn.remat(kind, static_argnums=(train_at,)) if self.remat else kind
        return kind(out_channels, resample, name=name, spectral_eps=self.spectral_eps, **self._dtypes, **fields)

    def _attend(self, x: Float[Array, "b h w c"], train: bool) -> Float[Array, "b h w c"]:
        if x.shape[1] not in self.attention_resolutions:
            return x
        kind = nn.remat(SelfAttention, static_argnums=(2,)) if self.remat else SelfAttention
        return kind(self.spectral_eps, name=f"attention_{x.shape[1]}", **self._dtypes)(x, train)


class Generator(_Network):
    """(latent, label) -> image; see the module.

    Attributes:
        out_channels: channels of the image.
        z_dim: size of the latent.
        shared_dim: size of the class embedding; 0 = the plain form, with tables in each norm.
        bottom_size: height and width of the first features.
        norm_eps: added to the variances of batch norm.
        others: see `_Network`.
    """

    out_channels: int = 3
    z_dim: int = 120
    shared_dim: int = 128
    bottom_size: int = 4
    norm_eps: float = 1e-5

    @property
    def image_size(self) -> int:
        """Height and width of the images."""
        return self.bottom_size * 2 ** (len(self.channel_mult) - 1)

    def check(self) -> None:
        """Refuse what doesn't fit together.

        Raises:
            ValueError: for a latent that can't be cut into chunks, or attention at a size that no stage has.
        """
        chunks = len(self.channel_mult)
        if self.shared_dim and not self.depth and self.z_dim % chunks:
            below = self.z_dim - self.z_dim % chunks
            raise ValueError(
                f"z_dim={self.z_dim} can't be cut into {chunks} equal chunks, one for the start and for each stage; "
                f"use {below} or {below + chunks}"
            )
        _check_attention(self.attention_resolutions, [self.bottom_size << i for i in range(1, chunks)], "generator")

    @nn.compact
    def __call__(
        self,
        z: Float[Array, "b d"],
        label: Labels,
        *,
        train: bool = False,
        momentum: float | Float[Array, ""] = 0.1,
    ) -> Image:
        """Draw images.

        Args:
            z: latents [b, z_dim], standard normal or truncated.
            label: classes.
            train: batch norm by the batch's own statistics; with the collections mutable, these and the spectral
                vectors are renewed.
            momentum: share of this batch in the stored statistics, see `conditional_norm`.
        """
        self.check()
        first, conditions = self._conditions(z.astype(self.dtype), label)
        start = self.width * self.channel_mult[0]
        h = self._layer(SpectralDense, start * self.bottom_size**2, "dense_in")(first, train)
        h = h.reshape(-1, self.bottom_size, self.bottom_size, start)
        for stage, condition in enumerate(conditions):
            h = self._attend(self._stage(h, stage, condition, train, momentum), train)
        norm = BatchNorm(self.norm_eps, name="norm_out", **self._dtypes)
        h = jax.nn.relu(norm(h, train, momentum))
        return jnp.tanh(self._layer(SpectralConv3x3, self.out_channels, "conv_out")(h, train).astype(jnp.float32))

    def _conditions(self, z, label):
        """(input of the first layer, condition of each stage)."""
        stages = len(self.channel_mult) - 1
        if not self.shared_dim:
            return z, [jax.nn.one_hot(label, self.num_classes, dtype=z.dtype)] * stages
        embedding_init = nn.initializers.orthogonal()
        embed = nn.Embed(
            self.num_classes, self.shared_dim, embedding_init=embedding_init, name="shared", **self._dtypes
        )
        if self.depth:
            everything = jnp.concatenate([z, embed(label)], axis=-1)
            return everything, [everything] * stages
        first, *rest = jnp.split(z, stages + 1, axis=-1)
        return first, [jnp.concatenate([embed(label), chunk], axis=-1) for chunk in rest]

    def _stage(self, h, stage: int, condition, train, momentum):
        """The blocks of one stage; the last of them changes size and channels."""
        out_channels = self.width * self.channel_mult[stage + 1]
        norms = {"spectral_norms": self.shared_dim > 0, "norm_eps": self.norm_eps}
        if not self.depth:
            block = self._block(GeneratorBlock, 3, out_channels, True, f"block_{stage}", **norms)
            return block(h, condition, train, momentum)
        for index in range(self.depth):
            last = index == self.depth - 1
            channels = out_channels if last else h.shape[-1]
            block = self._block(BottleneckGeneratorBlock, 3, channels, last, f"block_{stage}_{index}", **norms)
            h = block(h, condition, train, momentum)
        return h


class Discriminator(_Network):
    """(image, label) -> logit, positive for real; see the module.

    Attributes:
        num_downsamples: the first stages, which halve the size.
        others: see `_Network`.
    """

    num_downsamples: int = 5

    @nn.compact
    def __call__(self, x: Image, label: Labels, *, train: bool = False) -> PerExample:
        """Discriminator logits of images, given the class that they should be of.

        Args:
            x: images.
            label: classes.
            train: with the collection mutable, renew the spectral vectors.

        Raises:
            ValueError: for sizes that can't be halved so often, or attention at a size that no stage has.
        """
        factor = 2**self.num_downsamples
        if x.shape[1] % factor or x.shape[2] % factor:
            raise ValueError(
                f"images of {x.shape[1]}x{x.shape[2]} can't be halved {self.num_downsamples} times; "
                f"choose sizes divisible by {factor} or lower num_downsamples"
            )
        sizes = [x.shape[1] >> min(i + 1, self.num_downsamples) for i in range(len(self.channel_mult))]
        _check_attention(self.attention_resolutions, sizes, "discriminator")
        h = x.astype(self.dtype)
        if self.depth:
            h = self._layer(SpectralConv3x3, self.width, "conv_in")(h, train)
        for stage, mult in enumerate(self.channel_mult):
            h = self._stage(h, stage, self.width * mult, train)
            if sizes[stage] not in sizes[:stage]:
                h = self._attend(h, train)
        h = jax.nn.relu(h).astype(jnp.float32).sum((1, 2))
        wide = {"eps": self.spectral_eps, "param_dtype": self.param_dtype}
        logit = SpectralDense(1, name="dense_out", **wide)(h, train)[:, 0]
        embed = SpectralEmbed(h.shape[-1], num_classes=self.num_classes, name="embed", **wide)
        return logit + jnp.sum(embed(label, train) * h, axis=-1)

    def _stage(self, h, stage: int, channels: int, train: bool):
        """The blocks of one stage; the first of them changes size and channels."""
        halve = stage < self.num_downsamples
        if not self.depth:
            block = self._block(DiscriminatorBlock, 2, channels, halve, f"block_{stage}", preactivation=stage > 0)
            return block(h, train)
        for index in range(self.depth):
            name = f"block_{stage}_{index}"
            h = self._block(BottleneckDiscriminatorBlock, 2, channels, halve and index == 0, name)(h, train)
        return h


def _check_attention(wanted: tuple[int, ...], sizes: list[int], network: str) -> None:
    missing = sorted(set(wanted) - set(sizes))
    if missing:
        raise ValueError(
            f"attention_resolutions has {missing[0]}, but the {network}'s stages end at {sorted(set(sizes))} pixels"
        )
