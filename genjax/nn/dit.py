"""DiT: a transformer over patches in place of the U-Net (arXiv:2212.09748), with the block "adaLN-Zero".

    tokens    each patch of p x p pixels by a Dense layer, plus fixed sines and cosines of its row and column
    c         embedding of time + embedding of the class
    block     x = x + gate_1 * proj_out(attention(modulate(norm x)))        6 vectors = Dense(silu(c)) a block:
              x = x + gate_2 * mlp_out(gelu(mlp_in(modulate(norm x))))      shift, scale, gate of either branch
    end       Dense(modulate(norm x)) to the pixels of each patch           2 vectors = Dense(silu(c))

where modulate(x) = x (1 + scale) + shift, and norms are layer norms without parameters. The layers that make shifts,
scales and gates start at zero, so every block starts at identity, and so does the last layer: the network gives 0.

Published sizes, with patches of 2 pixels of 32 x 32 x 4 latents, 1000 classes and a null class, learned variance:

    S   width 384,  depth 12, 6 heads      32,963,360
    B   width 768,  depth 12, 12 heads    130,512,416
    L   width 1024, depth 24, 16 heads    458,102,816
    XL  width 1152, depth 28, 16 heads    675,129,632

The positions count among these in the original, though they are fixed; here they are constants of the program: XL has
294,912 (256 x 1152) fewer parameters. The time's sinusoids are ADM's (256 features), the MLP's gelu is the tanh one.

Deviations: written from the paper alone. Positions are made for the size of the image given, so the same weights
apply to others, too. There is no dropout, in the paper neither.
"""

from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np

from genjax.conditioning.inputs import Context
from genjax.nn.layers import embeddings
from genjax.nn.layers.attention import attend, split_heads
from genjax.nn.layers.embeddings import LabelEmbedding, TimeEmbedding
from genjax.nn.layers.module import Module
from genjax.typing import Array, Float, Int

LOGICAL_AXES = [
    *embeddings.LOGICAL_AXES,
    (r"patches/kernel$", (None, "embed")),
    (r"modulation/kernel$", ("embed", "mlp")),
    (r"qkv/kernel$", ("embed", "heads")),
    (r"proj_out/kernel$", ("heads", "embed")),
    (r"mlp_in/kernel$", ("embed", "mlp")),
    (r"mlp_out/kernel$", ("mlp", "embed")),
    (r"pixels/kernel$", ("embed", None)),
]

TIME_FEATURES = 256
"""Features of the time's sinusoids, whatever the width."""

Tokens = Float[Array, "b s d"]


class DiTBlock(Module):
    """One block of adaLN-Zero; see the module.

    Attributes:
        num_heads: divides the width.
        mlp_ratio: hidden features of the MLP, in widths.
    """

    num_heads: int
    mlp_ratio: int | float = 4

    @nn.compact
    def __call__(self, x: Tokens, c: Float[Array, "b d"]) -> Tokens:
        """The tokens x after the block, under the condition c."""
        width = x.shape[-1]
        dense = {
            "dtype": self.dtype,
            "param_dtype": self.param_dtype,
            "kernel_init": nn.initializers.xavier_uniform(),
        }
        shift1, scale1, gate1, shift2, scale2, gate2 = _vectors(c, 6, self.dtype, self.param_dtype)
        qkv = nn.Dense(3 * width, name="qkv", **dense)(_modulate(x, shift1, scale1, self.dtype))
        h = attend(*split_heads(qkv, self.num_heads, new_order=True)).reshape(x.shape)
        x = x + gate1 * nn.Dense(width, name="proj_out", **dense)(h)
        h = nn.Dense(int(self.mlp_ratio * width), name="mlp_in", **dense)(_modulate(x, shift2, scale2, self.dtype))
        return x + gate2 * nn.Dense(width, name="mlp_out", **dense)(jax.nn.gelu(h))


class DiT(Module):
    """(noisy image, time, label) -> array of the image's size; see the module.

    Attributes:
        out_channels: of the result; twice the image's where the variance is learned.
        width: features of a token; divisible by 4.
        depth: number of blocks.
        num_heads: attention heads.
        patch_size: pixels along a side of a patch.
        mlp_ratio: hidden features of the MLPs, in widths.
        num_classes: classes of the label embedding; 0 = no labels.
        null_class: whether label `num_classes` means "no class", for classifier-free guidance.
        time_scale: the network sees t times this.
        dtype: of the computation, e.g. "bfloat16"; None for that of the input. Embeddings, statistics of norms, softmax
            and the last layer stay in float32.
        remat: recompute each block's inner results in the backward pass instead of keeping them in memory.
    """

    out_channels: int
    width: int
    depth: int
    num_heads: int
    patch_size: int = 2
    mlp_ratio: int | float = 4
    num_classes: int = 0
    null_class: bool = False
    time_scale: float = 1.0
    remat: bool = False

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
            x: images, already scaled by c_in.
            t: time of each, in the schedule's own unit (steps for discrete schedules).
            label: class of each; needed if and only if `num_classes` > 0.
            aug_level, context: not known here, as the U-Net does; None.
            train: without effect, for there is no dropout.

        Raises:
            ValueError: for sizes that the patches don't divide, a width that the heads or 4 don't, or a label missing
                or not requested, or a conditioning input that only the U-Net has.
        """
        self._check(x, label, aug_level, context)
        small = nn.initializers.normal(0.02)
        c = TimeEmbedding(TIME_FEATURES, self.width, "adm", small, self.param_dtype, name="time_embed")(
            self.time_scale * t
        )
        if label is not None:
            c = c + LabelEmbedding(
                self.num_classes, self.width, self.null_class, self.param_dtype, small, name="label_embed"
            )(label)

        rows, columns = x.shape[1] // self.patch_size, x.shape[2] // self.patch_size
        tokens = self._dense(self.width, "patches", self.dtype)(patchify(x, self.patch_size))
        tokens = tokens + jnp.asarray(positions(rows, columns, self.width), tokens.dtype)
        block = nn.remat(DiTBlock) if self.remat else DiTBlock
        for i in range(self.depth):
            tokens = block(self.num_heads, self.mlp_ratio, **self.dtypes, name=f"block_{i}")(tokens, c)

        shift, scale = _vectors(c, 2, x.dtype, self.param_dtype)
        tokens = _modulate(tokens.astype(x.dtype), shift, scale, x.dtype)
        pixels = self.patch_size**2 * self.out_channels
        patches = self._dense(pixels, "pixels", x.dtype, zero=True)(tokens)
        return unpatchify(patches, rows, columns, self.patch_size)

    def _dense(self, features, name, dtype, zero=False):
        init = nn.initializers.zeros_init() if zero else nn.initializers.xavier_uniform()
        return nn.Dense(features, dtype=dtype, param_dtype=self.param_dtype, kernel_init=init, name=name)

    def _check(self, x, label, aug_level, context) -> None:
        if aug_level is not None or context is not None:
            raise ValueError("a DiT takes no text and no level of noise; choose the network unet")
        if x.shape[1] % self.patch_size or x.shape[2] % self.patch_size:
            raise ValueError(
                f"patches of {self.patch_size} pixels don't divide images of {x.shape[1]}x{x.shape[2]}; "
                "choose another patch_size or image_size"
            )
        if self.width % 4 or self.num_heads < 1 or self.width % self.num_heads:
            raise ValueError(f"a width of {self.width} must be divisible by 4 and by num_heads={self.num_heads}")
        if (label is None) == (self.num_classes > 0):
            given = "no labels were" if label is None else "labels were"
            raise ValueError(f"{given} given to a DiT with num_classes={self.num_classes}")


def patchify(x: Float[Array, "b h w c"], size: int) -> Float[Array, "b s d"]:
    """Patches of size x size pixels in raster order; each is its pixels in raster order, channels last."""
    b, h, w, c = x.shape
    x = x.reshape(b, h // size, size, w // size, size, c)
    return x.swapaxes(2, 3).reshape(b, (h // size) * (w // size), size * size * c)


def unpatchify(patches: Float[Array, "b s d"], rows: int, columns: int, size: int) -> Float[Array, "b h w c"]:
    """The image of `rows` x `columns` patches: inverse of `patchify`."""
    x = patches.reshape(patches.shape[0], rows, columns, size, size, -1)
    return x.swapaxes(2, 3).reshape(x.shape[0], rows * size, columns * size, x.shape[-1])


def positions(rows: int, columns: int, width: int) -> Float[np.ndarray, "s d"]:
    """Sines and cosines of each patch's place, in raster order: half the features of its column, then of its row.

    Of a coordinate p, with i = 0 .. width / 4 - 1: sin(p w_i), then cos(p w_i), w_i = 10000^(-4 i / width).
    """
    frequencies = 10_000.0 ** (-np.arange(width // 4) / (width // 4))
    row, column = np.divmod(np.arange(rows * columns), columns)
    angles = [place[:, None] * frequencies for place in (column, row)]
    return np.concatenate([wave(angle) for angle in angles for wave in (np.sin, np.cos)], axis=1)


def _vectors(c: Float[Array, "b d"], count: int, dtype: Any, param_dtype: Any) -> list[Float[Array, "b 1 d"]]:
    """So many vectors of the width of c, from c; zero at first. Within the module that calls."""
    dense = nn.Dense(
        count * c.shape[-1],
        dtype=dtype,
        param_dtype=param_dtype,
        kernel_init=nn.initializers.zeros_init(),
        name="modulation",
    )
    return jnp.split(dense(jax.nn.silu(c))[:, None], count, axis=-1)


def _modulate(x: Tokens, shift: Array, scale: Array, dtype: Any) -> Tokens:
    """norm(x) (1 + scale) + shift."""
    norm = nn.LayerNorm(1e-6, dtype, use_bias=False, use_scale=False, use_fast_variance=False)
    return norm(x) * (1 + scale) + shift
