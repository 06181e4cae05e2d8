"""The U-Net of DDPM, Improved DDPM and ADM as one module.

    conv - [res blocks (+ attention), down] for each level - res, attention, res - [res blocks (+ attention),
    up] - conv

Each level has `num_res_blocks` blocks on the way down, whose results, with those of the first convolution and
of each downsampling, are concatenated to the inputs of the `num_res_blocks + 1` blocks on the way up. The
embedding of time, plus that of the class, reaches every residual block.

What the papers differ in, and the fields that say it:

| | DDPM 2006.11239 | Improved DDPM 2102.09672 | ADM 2105.05233 |
|---|---|---|---|
| `variant` | "ddpm" | "adm" | "adm" |
| `adaptive_norm` | False | True | True |
| `resblock_updown` | False (strided convolution) | False | True |
| heads | `num_heads=1` | `num_heads=4` | `head_channels=64` (128 pixels: `num_heads=4`) |
| `new_attention_order` | - | False | True for 64 pixels, else False |

`variant` is what was never a choice in either line of code: "ddpm" has sinusoids [sin, cos] with exponents
i / (half - 1), group norms with eps 1e-6, and strided convolutions padded at the end only; "adm" has [cos,
sin] with i / half, eps 1e-5, and symmetric padding. They also initialise differently: "ddpm" uniform with
variance 1 / fan_avg, "adm" uniform with variance 1 / (3 fan_in), PyTorch's default; deviation: biases start
at zero in both, where PyTorch draws them.

Any image whose height and width are divisible by 2^(levels - 1) goes, square or not.
"""

from collections.abc import Sequence
from typing import Any

import flax.linen as nn
import jax.numpy as jnp

from genjax.nn import attention, blocks, embeddings, norm
from genjax.nn.attention import AttentionBlock
from genjax.nn.blocks import Downsample, ResBlock, Upsample
from genjax.nn.embeddings import LabelEmbedding, TimeEmbedding
from genjax.nn.norm import GroupNorm
from genjax.typing import Array, Float, Int

LOGICAL_AXES = embeddings.LOGICAL_AXES + attention.LOGICAL_AXES + norm.LOGICAL_AXES + blocks.LOGICAL_AXES

INITIALIZERS = {
    "ddpm": nn.initializers.variance_scaling(1.0, "fan_avg", "uniform"),
    "adm": nn.initializers.variance_scaling(1 / 3, "fan_in", "uniform"),
}


class UNet(nn.Module):
    """(noisy image, time, label) -> array of the image's size; see the module.

    Attributes:
        out_channels: of the result; twice the image's where the variance is learned.
        width: channels that `channel_mult` multiplies, and features of the time's sinusoids.
        channel_mult: multiplier of each level; each level but the first has half the size of the one before.
        num_res_blocks: residual blocks a level on the way down; one more on the way up.
        attention_resolutions: sizes, in pixels, at which attention follows each residual block.
        num_heads: attention heads.
        head_channels: channels a head; if given (not None or 0), their number is channels / head_channels.
        num_classes: classes of the label embedding; 0 = no labels.
        null_class: whether label `num_classes` means "no class", for classifier-free guidance.
        dropout: rate in the residual blocks.
        adaptive_norm: embedding scales and shifts norms, instead of being added.
        resblock_updown: resolution changes in residual blocks, instead of by a convolution.
        new_attention_order: order of the channels of q, k, v: see `genjax.nn.attention`.
        variant: "ddpm" or "adm".
        num_groups: of all group norms.
        time_scale: the network sees t times this: 1000 / T in the first runs of Improved DDPM, else 1.
        image_size: the size that `attention_resolutions` refer to; None = the shorter side of the image
            given. Say it to apply one set of weights to images of several sizes.
        dtype: of the computation, e.g. "bfloat16"; None for that of the input. Embeddings, statistics of
            norms, softmax, and the last norm and convolution stay in float32.
        param_dtype: of the parameters.
        remat: recompute each block's inner results in the backward pass instead of keeping them in memory.
    """

    out_channels: int
    width: int
    channel_mult: Sequence[int | float] = (1, 2, 2, 2)
    num_res_blocks: int = 2
    attention_resolutions: Sequence[int] = (16,)
    num_heads: int = 1
    head_channels: int | None = None
    num_classes: int = 0
    null_class: bool = False
    dropout: float = 0.0
    adaptive_norm: bool = False
    resblock_updown: bool = False
    new_attention_order: bool = False
    variant: str = "adm"
    num_groups: int = 32
    time_scale: float = 1.0
    image_size: int | None = None
    dtype: Any = None
    param_dtype: Any = jnp.float32
    remat: bool = False

    @nn.compact
    def __call__(
        self,
        x: Float[Array, "b h w c"],
        t: Float[Array, " b"],
        label: Int[Array, " b"] | None = None,
        *,
        train: bool = False,
    ) -> Float[Array, "b h w c2"]:
        """Apply the network.

        Args:
            x: images, already scaled by c_in.
            t: time of each, in the schedule's own unit (steps for discrete schedules).
            label: class of each; needed if and only if `num_classes` > 0.
            train: dropout on; needs the random stream "dropout".

        Raises:
            ValueError: for sizes that the strides don't divide, an `attention_resolutions` entry that no
                level has, an unknown variant, or a label missing or not asked for.
        """
        self._check(x, label)
        attention_strides = self._attention_strides(x)
        embedding = self._embedding(t, label)
        widths = [int(self.width * mult) for mult in self.channel_mult]
        last = len(widths) - 1

        h = x if self.dtype is None else x.astype(self.dtype)
        h = self._conv(widths[0], "conv_in", self.dtype)(h)
        skips = [h]
        for level, channels in enumerate(widths):
            for i in range(self.num_res_blocks):
                h = self._res_block(channels, f"down_{level}_{i}", train)(h, embedding)
                if 2**level in attention_strides:
                    h = self._attention(channels, f"down_{level}_{i}_attention")(h)
                skips.append(h)
            if level != last:
                h = self._resample(h, embedding, "down", f"down_{level}_resample", train)
                skips.append(h)

        h = self._res_block(widths[-1], "middle_0", train)(h, embedding)
        h = self._attention(widths[-1], "middle_attention")(h)
        h = self._res_block(widths[-1], "middle_1", train)(h, embedding)

        for level, channels in reversed(list(enumerate(widths))):
            for i in range(self.num_res_blocks + 1):
                h = jnp.concatenate([h, skips.pop()], axis=-1)
                h = self._res_block(channels, f"up_{level}_{i}", train)(h, embedding)
                if 2**level in attention_strides:
                    h = self._attention(channels, f"up_{level}_{i}_attention")(h)
            if level != 0:
                h = self._resample(h, embedding, "up", f"up_{level}_resample", train)

        h = GroupNorm(self.num_groups, self._eps, True, x.dtype, self.param_dtype, name="norm_out")(h)
        return self._conv(self.out_channels, "conv_out", x.dtype, zero=True)(h)

    def _check(self, x, label) -> None:
        if self.variant not in INITIALIZERS:
            raise ValueError(f"unknown variant {self.variant!r} of a U-Net; known: {', '.join(INITIALIZERS)}")
        divisor = 2 ** (len(self.channel_mult) - 1)
        if x.shape[1] % divisor or x.shape[2] % divisor:
            raise ValueError(
                f"a U-Net of {len(self.channel_mult)} levels can't take images of {x.shape[1]}x{x.shape[2]} "
                f"pixels: height and width must be divisible by {divisor}; set image_size so, or shorten "
                "channel_mult"
            )
        if (label is None) == (self.num_classes > 0):
            given = "no labels were" if label is None else "labels were"
            raise ValueError(f"{given} given to a U-Net with num_classes={self.num_classes}")

    def _attention_strides(self, x) -> set[int]:
        """The strides at which attention is asked for."""
        size = self.image_size or min(x.shape[1:3])
        strides = {size // 2**level: 2**level for level in range(len(self.channel_mult))}
        missing = [resolution for resolution in self.attention_resolutions if resolution not in strides]
        if missing:
            raise ValueError(
                f"attention_resolutions has {missing}, but the levels of a U-Net for {size} pixels have the "
                f"sizes {list(strides)}; name some of these, or say image_size if the weights are for another"
            )
        return {strides[resolution] for resolution in self.attention_resolutions}

    def _embedding(self, t, label) -> Float[Array, "b d"]:
        """What every residual block is told: of time, plus of class."""
        init, dim = INITIALIZERS[self.variant], 4 * self.width
        time_embed = TimeEmbedding(self.width, dim, self.variant, init, self.param_dtype, name="time_embed")
        embedding = time_embed(self.time_scale * t)
        if label is not None:
            table = LabelEmbedding(
                self.num_classes, dim, self.null_class, self.param_dtype, name="label_embed"
            )
            embedding = embedding + table(label)
        return embedding

    @property
    def _eps(self) -> float:
        return 1e-6 if self.variant == "ddpm" else 1e-5

    @property
    def _common(self) -> dict[str, Any]:
        init = INITIALIZERS[self.variant]
        return {"kernel_init": init, "dtype": self.dtype, "param_dtype": self.param_dtype}

    def _conv(self, channels, name, dtype, zero=False):
        init = nn.initializers.zeros_init() if zero else INITIALIZERS[self.variant]
        return nn.Conv(
            channels, (3, 3), kernel_init=init, dtype=dtype, param_dtype=self.param_dtype, name=name
        )

    def _res_block(self, channels, name, train, resample="none"):
        block = nn.remat(ResBlock) if self.remat else ResBlock
        return block(channels, self.dropout, self.adaptive_norm, resample, self.num_groups, self._eps,
                     deterministic=not train, name=name, **self._common)

    def _attention(self, channels, name):
        block = nn.remat(AttentionBlock) if self.remat else AttentionBlock
        heads = channels // self.head_channels if self.head_channels else self.num_heads
        return block(heads, self.new_attention_order, self.num_groups, self._eps, name=name, **self._common)

    def _resample(self, h, embedding, direction, name, train):
        if self.resblock_updown:
            return self._res_block(h.shape[-1], name, train, direction)(h, embedding)
        if direction == "up":
            return Upsample(name=name, **self._common)(h)
        return Downsample(pad_end_only=self.variant == "ddpm", name=name, **self._common)(h)
