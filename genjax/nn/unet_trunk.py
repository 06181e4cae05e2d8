"""The downward half of the U-Nets of diffusion, shared by the U-Net and by the classifier of noisy images.

    conv - [res blocks (+ attention), down] for each level - res, attention, res

The embedding of time reaches every residual block. `genjax.nn.unet` adds the way up, and says which fields the
papers differ in; `genjax.nn.encoder_unet` ends here, in a pool.

A module that extends `Trunk` keeps its parameters in its own scope, so the names (`down_0_1`, `middle_attention`)
are the same in both networks.
"""

from collections.abc import Sequence
from typing import Any

import flax.linen as nn

from genjax.conditioning.inputs import Context
from genjax.nn.layers import attention, blocks, conv, embeddings, norm
from genjax.nn.layers.attention import AttentionBlock
from genjax.nn.layers.blocks import Downsample, ResBlock, Upsample
from genjax.nn.layers.checks import expect_groups, expect_levels
from genjax.nn.layers.conv import Conv3x3
from genjax.nn.layers.embeddings import TimeEmbedding
from genjax.nn.layers.module import Module
from genjax.nn.layers.norm import GroupNorm
from genjax.typing import Array, Float

LOGICAL_AXES = (
    embeddings.LOGICAL_AXES + attention.LOGICAL_AXES + norm.LOGICAL_AXES + blocks.LOGICAL_AXES + conv.LOGICAL_AXES
)

INITIALIZERS = {
    "ddpm": nn.initializers.variance_scaling(1.0, "fan_avg", "uniform"),
    "adm": nn.initializers.variance_scaling(1 / 3, "fan_in", "uniform"),
}

Features = Float[Array, "b _h _w _c"]
Embedding = Float[Array, "b d"]
NOTHING = Context()


class Trunk(Module):
    """Fields and layers of the downward half; abstract.

    Attributes:
        out_channels: of the result.
        width: channels that `channel_mult` multiplies, and features of the time's sinusoids.
        channel_mult: multiplier of each level; each level but the first has half the size of the one before.
        num_res_blocks: residual blocks a level on the way down.
        attention_resolutions: sizes, in pixels, at which attention follows each residual block.
        num_heads: attention heads.
        head_channels: channels a head; if given (not None or 0), their number is channels / head_channels.
        dropout: rate in the residual blocks.
        adaptive_norm: embedding scales and shifts norms, instead of being added.
        resblock_updown: resolution changes in residual blocks, instead of by a convolution.
        new_attention_order: order of the channels of q, k, v: see `genjax.nn.layers.attention`.
        variant: "ddpm" or "adm", see `genjax.nn.unet`.
        num_groups: of all group norms.
        time_scale: the network sees t times this: 1000 / T in the first runs of Improved DDPM, else 1.
        image_size: the size that `attention_resolutions` refer to; None = the shorter side of the image
            given. Say it to apply one set of weights to images of several sizes.
        dtype: of the computation, e.g. "bfloat16"; None for that of the input. Embeddings, statistics of
            norms, softmax, and the layers after the last residual block stay in float32.
        remat: recompute each block's inner results in the backward pass instead of keeping them in memory.
        middle_attention: whether there is attention at the least size; not in unCLIP's upsamplers, which have none.
    """

    out_channels: int
    width: int
    channel_mult: Sequence[int | float] = (1, 2, 2, 2)
    num_res_blocks: int = 2
    attention_resolutions: Sequence[int] = (16,)
    num_heads: int = 1
    head_channels: int | None = None
    dropout: float = 0.0
    adaptive_norm: bool = False
    resblock_updown: bool = False
    new_attention_order: bool = False
    variant: str = "adm"
    num_groups: int = 32
    time_scale: float = 1.0
    image_size: int | None = None
    remat: bool = False
    middle_attention: bool = True

    def __post_init__(self):
        """Refuse fields that can't be."""
        expect_levels("channel_mult", self.channel_mult)
        for channels in self._widths:
            expect_groups(channels, self.num_groups)
        super().__post_init__()

    def _check(self, x: Features) -> None:
        """Refuses sizes that the strides don't divide, and unknown variants."""
        if self.variant not in INITIALIZERS:
            raise ValueError(f"unknown variant {self.variant!r} of a U-Net; known: {', '.join(INITIALIZERS)}")
        divisor = self._strides[-1]
        if x.shape[1] % divisor or x.shape[2] % divisor:
            raise ValueError(
                f"a U-Net of {len(self.channel_mult)} levels can't take images of {x.shape[1]}x{x.shape[2]} "
                f"pixels: height and width must be divisible by {divisor}; set image_size so, or shorten "
                "channel_mult"
            )

    @property
    def _widths(self) -> list[int]:
        """Channels of each level."""
        return [int(self.width * mult) for mult in self.channel_mult]

    @property
    def _pixels_a_side(self) -> int:
        """Pixels of the image along a side of what the network takes as one."""
        return 1

    @property
    def _strides(self) -> list[int]:
        """How many times smaller than the image each level is."""
        return [2**level for level in range(len(self.channel_mult))]

    def _attention_strides(self, x: Features) -> set[int]:
        """The strides at which attention is requested."""
        size = self.image_size // self._pixels_a_side if self.image_size else min(x.shape[1:3])
        strides = {size // stride: stride for stride in self._strides}
        missing = [resolution for resolution in self.attention_resolutions if resolution not in strides]
        if missing:
            raise ValueError(
                f"attention_resolutions has {missing}, but the levels of a U-Net for {size} pixels have the "
                f"sizes {list(strides)}; name some of these, or say image_size if the weights are for another"
            )
        return {strides[resolution] for resolution in self.attention_resolutions}

    @property
    def embedding_dim(self) -> int:
        """Features of the embedding of time, and of what is added to it."""
        return 4 * self.width

    def _embed_time(self, t: Float[Array, " b"]) -> Embedding:
        return self._embed_sinusoids(self.time_scale * t, "time_embed")

    def _embed_sinusoids(self, values: Float[Array, " b"], name: str) -> Embedding:
        init, dim = INITIALIZERS[self.variant], self.embedding_dim
        return TimeEmbedding(self.width, dim, self.variant, init, self.param_dtype, name=name)(values)

    def _way_down(self, x: Features, embedding: Embedding, train: bool, context: Context = NOTHING) -> list[Features]:
        """The results of the first convolution, of each residual block and of each change of resolution."""
        attention_strides = self._attention_strides(x)
        h = x if self.dtype is None else x.astype(self.dtype)
        h = self._conv(self._widths[0], "conv_in", self.dtype)(h)
        results = [h]
        for level, channels in enumerate(self._widths):
            if level:
                h = self._resample(h, embedding, "down", f"down_{level - 1}_resample", train)
                results.append(h)
            for i in range(self.num_res_blocks):
                h = self._res_block(channels, f"down_{level}_{i}", train)(h, embedding)
                if 2**level in attention_strides:
                    h = self._attention(channels, f"down_{level}_{i}_attention")(h, context.states, context.mask)
                results.append(h)
        return results

    def _middle(self, h: Features, embedding: Embedding, train: bool, context: Context = NOTHING) -> Features:
        """Residual block, attention unless there is none, residual block, at the least size."""
        h = self._res_block(self._widths[-1], "middle_0", train)(h, embedding)
        if self.middle_attention:
            h = self._attention(self._widths[-1], "middle_attention")(h, context.states, context.mask)
        return self._res_block(self._widths[-1], "middle_1", train)(h, embedding)

    @property
    def _eps(self) -> float:
        return 1e-6 if self.variant == "ddpm" else 1e-5

    @property
    def _common(self) -> dict[str, Any]:
        init = INITIALIZERS[self.variant]
        return {"kernel_init": init, **self.dtypes}

    def _num_heads(self, channels: int) -> int:
        return channels // self.head_channels if self.head_channels else self.num_heads

    def _conv(self, channels, name, dtype, zero=False):
        init = nn.initializers.zeros_init() if zero else INITIALIZERS[self.variant]
        return Conv3x3(channels, init, dtype=dtype, param_dtype=self.param_dtype, name=name)

    def _norm_out(self, h: Features, dtype) -> Features:
        norm = GroupNorm(
            self.num_groups, self._eps, silu=True, dtype=dtype, param_dtype=self.param_dtype, name="norm_out"
        )
        return norm(h)

    def _res_block(self, channels, name, train, resample="none"):
        block = nn.remat(ResBlock) if self.remat else ResBlock
        return block(
            channels,
            self.dropout,
            self.adaptive_norm,
            resample,
            self.num_groups,
            self._eps,
            deterministic=not train,
            name=name,
            **self._common,
        )

    def _attention(self, channels, name):
        block = nn.remat(AttentionBlock) if self.remat else AttentionBlock
        heads = self._num_heads(channels)
        return block(heads, self.new_attention_order, self.num_groups, self._eps, name=name, **self._common)

    def _resample(self, h, embedding, direction, name, train):
        if self.resblock_updown:
            return self._res_block(h.shape[-1], name, train, direction)(h, embedding)
        if direction == "up":
            return Upsample(name=name, **self._common)(h)
        return Downsample(pad_end_only=self.variant == "ddpm", name=name, **self._common)(h)
