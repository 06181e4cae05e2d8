"""The Efficient U-Net of Imagen's super-resolution models (arXiv:2205.11487, section 2.3 and appendix B).

    conv - [down by 2, res blocks, attention] for each level
         - [res blocks, attention, up by 2] for each level, from the inside - norm, SiLU, conv

Three things make it cheaper than the U-Net of ADM at the same quality: residual blocks are moved from large sizes to
small ones (the paper's numbers of them are 2, 4, 8, 8); the size changes *before* the residual blocks on the way down,
by a convolution of stride 2, and *after* them on the way up; so that nothing but the first and the last convolution is
done at full size. What the way down hands over to the way up is divided by sqrt(2), which trains faster.

Residual blocks are `genjax.nn.layers.blocks.ResBlock`: norm, swish, convolution, twice, scaled and shifted by the
embedding of time, text and noise. Attention is at the end of the levels that `attention_resolutions` names: of the
pixels to each other and to a text's tokens, as in the U-Net; with `text_only` to the tokens alone, as in the paper's
model for 1024 pixels, which is trained on crops and has no self-attention.

Deviations, where the paper's figures leave it open: one array is handed over a level, and also that of the first
convolution; upsampling is nearest-neighbour doubling and a convolution to the next level's channels.
"""

from collections.abc import Sequence

import flax.linen as nn
import jax.numpy as jnp

from genjax.conditioning.inputs import Context
from genjax.nn import unet
from genjax.nn.layers.attention import CrossAttentionBlock
from genjax.nn.layers.blocks import Downsample, Upsample
from genjax.nn.unet import UNet
from genjax.nn.unet_trunk import NOTHING
from genjax.typing import Array, Float, Int

LOGICAL_AXES = unet.LOGICAL_AXES
HANDED_OVER = 2**-0.5


class EfficientUNet(UNet):
    """(noisy image, time, ...) -> array of the image's size; see the module. Called as the U-Net is.

    Attributes:
        num_res_blocks: residual blocks of each level, on the way down as on the way up.
        attention_resolutions: sizes, in pixels, of the levels that end in attention; the first level has half the
            image's size.
        text_only: attention is to a text's tokens alone.
        others: see `UNet`; of these, `resblock_updown` and `middle_attention` are refused: there is no such thing here.
    """

    num_res_blocks: Sequence[int] = (2, 4, 8, 8)  # type: ignore[assignment]  # a number a level
    middle_attention: bool = False
    text_only: bool = False

    @nn.compact
    def __call__(
        self,
        x: Float[Array, "b h w c"],
        t: Float[Array, " b"],
        label: Int[Array, " b"] | None = None,
        aug_level: Float[Array, " b"] | None = None,
        context: Context | None = None,
        *,
        train: bool = False,
    ) -> Float[Array, "b h w c2"]:
        """Apply the network; arguments and errors as of `UNet`."""
        x = self._patches(x)
        self._check(x)
        context = context or NOTHING
        self._check_conditions(label, aug_level, context)
        strides = self._attention_strides(x)
        embedding = self._embedding(t, label, aug_level, context)

        h = x if self.dtype is None else x.astype(self.dtype)
        h = self._conv(self._widths[0], "conv_in", self.dtype)(h)
        handed = [h]
        for level, channels in enumerate(self._widths):
            h = Downsample(features=channels, name=f"down_{level}_resample", **self._common)(h)
            h = self._level(h, embedding, context, level, "down", strides, train)
            handed.append(h)
        handed.pop()  # The innermost result goes on as it is.
        for level in reversed(range(len(self._widths))):
            if level + 1 < len(self._widths):
                h = self._take(h, handed.pop())
            h = self._level(h, embedding, context, level, "up", strides, train)
            outer = self._widths[max(level - 1, 0)]
            h = Upsample(features=outer, name=f"up_{level}_resample", **self._common)(h)
        h = self._take(h, handed.pop())
        h = self._norm_out(h, x.dtype)
        h = self._conv(self.patch_size**2 * self.out_channels, "conv_out", x.dtype, zero=True)(h)
        return self._pixels(h)

    @property
    def _strides(self) -> list[int]:
        return [2 ** (level + 1) for level in range(len(self.channel_mult))]

    def _check(self, x) -> None:
        super()._check(x)
        for name in ("resblock_updown", "middle_attention"):
            if getattr(self, name):
                raise ValueError(f"an Efficient U-Net has no {name}; leave {name}=False")
        if len(self.num_res_blocks) != len(self.channel_mult):
            raise ValueError(
                f"num_res_blocks={tuple(self.num_res_blocks)} has to name as many levels as channel_mult="
                f"{tuple(self.channel_mult)}"
            )

    def _take(self, h, handed):
        return jnp.concatenate([h, HANDED_OVER * handed], axis=-1)

    def _level(self, h, embedding, context, level, direction, strides, train):
        """Residual blocks, and attention, at one size."""
        channels = self._widths[level]
        for i in range(self.num_res_blocks[level]):
            h = self._res_block(channels, f"{direction}_{level}_{i}", train)(h, embedding)
        if 2 ** (level + 1) not in strides:
            return h
        name = f"{direction}_{level}_attention"
        if not self.text_only:
            return self._attention(channels, name)(h, context.states, context.mask)
        if context.states is None:
            raise ValueError("an Efficient U-Net with text_only=True needs a text's tokens, and none were given")
        block = nn.remat(CrossAttentionBlock) if self.remat else CrossAttentionBlock
        heads = self._num_heads(channels)
        block = block(heads, self.new_attention_order, self.num_groups, self._eps, name=name, **self._common)
        return block(h, context.states, context.mask)
