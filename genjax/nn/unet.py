"""The U-Net of DDPM, Improved DDPM and ADM as one module.

    conv - [res blocks (+ attention), down] for each level - res, attention, res - [res blocks (+ attention),
    up] - conv

Each level has `num_res_blocks` blocks on the way down, whose results, with those of the first convolution and
of each downsampling, are concatenated to the inputs of the `num_res_blocks + 1` blocks on the way up. The
embedding of time, plus that of the class, of a text and of the noise on a low-resolution image where there are such,
reaches every residual block; the tokens of a text reach every attention (GLIDE, arXiv:2112.10741).

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

The way down and the middle, with most of the fields, are `genjax.nn.unet_trunk`.

Any image whose height and width are divisible by 2^(levels - 1) goes, square or not.
"""

import flax.linen as nn
import jax.numpy as jnp

from genjax.conditioning.inputs import Context
from genjax.nn import unet_trunk
from genjax.nn.dit import patchify, unpatchify
from genjax.nn.layers.embeddings import LabelEmbedding
from genjax.nn.unet_trunk import NOTHING, Trunk
from genjax.typing import Array, Float, Int

LOGICAL_AXES = unet_trunk.LOGICAL_AXES
AUG_SCALE = 1000.0
"""A level of noise in [0, 1] is embedded as the time of 1000 steps would be."""


class UNet(Trunk):
    """(noisy image, time, label) -> array of the image's size; see the module.

    Attributes:
        num_classes: classes of the label embedding; 0 = no labels.
        null_class: whether label `num_classes` means "no class", for classifier-free guidance.
        aug_embed: whether the level of noise on the low-resolution image among the channels of x; see
            `genjax.conditioning.low_res`.
        patch_size: pixels along a side of the patches that the network takes as pixels of more channels: 1 as in the
            papers; 2 takes a quarter of the work (simple diffusion, arXiv:2301.11093, section 3.3). Sizes of feature
            maps, as in `attention_resolutions`, are then counted in patches.
        others: see `Trunk`; `out_channels` is twice the image's where the variance is learned, and there are
            `num_res_blocks` + 1 residual blocks a level on the way up.
    """

    num_classes: int = 0
    null_class: bool = False
    aug_embed: bool = False
    patch_size: int = 1

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
        """Apply the network.

        Args:
            x: images, already scaled by c_in, with other images as more channels in super-resolution.
            t: time of each, in the schedule's own unit (steps for discrete schedules).
            label: class of each; needed if and only if `num_classes` > 0.
            aug_level: in [0, 1]; needed if and only if `aug_embed`.
            context: what was made of a text; its vector has 4 `width` features.
            train: dropout on; needs the random stream "dropout".

        Raises:
            ValueError: for sizes that the strides don't divide, an `attention_resolutions` entry that no
                level has, an unknown variant, a label or level missing or not requested, or a vector of another size.
        """
        x = self._patches(x)
        self._check(x)
        context = context or NOTHING
        self._check_conditions(label, aug_level, context)
        attention_strides = self._attention_strides(x)
        embedding = self._embedding(t, label, aug_level, context)

        skips = self._way_down(x, embedding, train, context)
        h = self._middle(skips[-1], embedding, train, context)

        for level, channels in reversed(list(enumerate(self._widths))):
            for i in range(self.num_res_blocks + 1):
                h = jnp.concatenate([h, skips.pop()], axis=-1)
                h = self._res_block(channels, f"up_{level}_{i}", train)(h, embedding)
                if 2**level in attention_strides:
                    h = self._attention(channels, f"up_{level}_{i}_attention")(h, context.states, context.mask)
            if level != 0:
                h = self._resample(h, embedding, "up", f"up_{level}_resample", train)

        h = self._norm_out(h, x.dtype)
        h = self._conv(self.patch_size**2 * self.out_channels, "conv_out", x.dtype, zero=True)(h)
        return self._pixels(h)

    @property
    def _pixels_a_side(self) -> int:
        return self.patch_size

    def _patches(self, x) -> Float[Array, "b h w c"]:
        """Each patch as one pixel."""
        if self.patch_size == 1:
            return x
        batch, height, width, _ = x.shape
        if height % self.patch_size or width % self.patch_size:
            raise ValueError(f"patches of {self.patch_size} pixels don't divide images of {height}x{width}")
        return patchify(x, self.patch_size).reshape(batch, height // self.patch_size, width // self.patch_size, -1)

    def _pixels(self, h) -> Float[Array, "b h w c"]:
        """The image of such patches."""
        batch, rows, columns, channels = h.shape
        return unpatchify(h.reshape(batch, rows * columns, channels), rows, columns, self.patch_size)

    def _embedding(self, t, label, aug_level, context) -> Float[Array, "b d"]:
        """The embedding of time, plus those of class, text and noise on a low-resolution image, what there is of
        them.
        """
        embedding = self._embed_time(t)
        if label is not None:
            embedding = embedding + self._embed_label(label)
        if aug_level is not None:
            embedding = embedding + self._embed_sinusoids(AUG_SCALE * aug_level, "aug_level_embed")
        if context.vector is not None:
            embedding = embedding + context.vector.astype(embedding.dtype)
        return embedding

    def _check_conditions(self, label, aug_level, context) -> None:
        if (label is None) == (self.num_classes > 0):
            given = "no labels were" if label is None else "labels were"
            raise ValueError(f"{given} given to a U-Net with num_classes={self.num_classes}")
        if (aug_level is None) == self.aug_embed:
            given = "no aug_level was" if aug_level is None else "an aug_level was"
            raise ValueError(f"{given} given to a U-Net with aug_embed={self.aug_embed}")
        if context.vector is not None and context.vector.shape[-1] != self.embedding_dim:
            raise ValueError(
                f"a vector of {context.vector.shape[-1]} features can't be added to the embedding of time, which "
                f"has {self.embedding_dim}"
            )

    def _embed_label(self, label) -> Float[Array, "b d"]:
        dim = self.embedding_dim
        table = LabelEmbedding(self.num_classes, dim, self.null_class, self.param_dtype, name="label_embed")
        return table(label)
