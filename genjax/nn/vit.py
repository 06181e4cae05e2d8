"""The vision transformer: an image to one vector (arXiv:2010.11929), as CLIP has it (arXiv:2103.00020, section 2.4).

    tokens    each patch of p x p pixels by a Dense layer (CLIP: without bias), after a learned class token
              + a learned vector for each position, then a norm (CLIP's `ln_pre`)
    trunk     pre-LN blocks of `genjax.nn.transformer` and a last norm; CLIP's activation is QuickGELU
    result    the class token's features, or the mean over patches; projected without bias

CLIP's ViT-B/32 is `width=768, depth=12, num_heads=12, patch_size=32, out_channels=512`: 87,849,216 parameters. A plain
ViT has `patch_bias=True, norm_in=False, activation="gelu"`, and may pool by the mean.

**Time.** The towers of a noisy CLIP are conditioned on how much noise is in the image. In GLIDE's (arXiv:2112.10741,
section 4.3; its release) the class token is the row t of a table, `time="table"`: one vector for each step of the
schedule. `time="sinusoids"` adds to the class token the embedding that U-Nets have, which is good for any schedule
and learns from few steps.

Deviations: the table's row at a broken step is that of the nearest whole one. GLIDE's blocks have no bias on keys; ours
have one, to which the softmax is blind. Blocks start as GPT-2's, CLIP's from normal numbers of width^(-1/2).
"""

import flax.linen as nn
import jax
import jax.numpy as jnp

from genjax.nn import transformer
from genjax.nn.dit import patchify
from genjax.nn.layers import embeddings
from genjax.nn.layers.embeddings import LabelEmbedding, TimeEmbedding
from genjax.nn.layers.module import Module
from genjax.nn.transformer import Transformer
from genjax.typing import Array, Float

LOGICAL_AXES = [
    *transformer.LOGICAL_AXES,
    *embeddings.LOGICAL_AXES,
    (r"patches/kernel$", (None, "embed")),
    (r"time_table/embedding$", (None, "embed")),
    (r"proj/kernel$", ("embed", None)),
]

POOLS = ("class", "mean")
TIMES = ("none", "table", "sinusoids")


class VisionTransformer(Module):
    """(images, times) -> features [b, out_channels]; see the module.

    Attributes:
        out_channels: of the result; 0: no projection, `width` features.
        patch_size: pixels along a side of a patch.
        width, depth, num_heads, mlp_ratio, dropout, activation, eps, remat: of the transformer.
        pool: "class", the class token's features, or "mean", over the patches: there is no class token then.
        patch_bias: whether the patches' layer has a bias.
        norm_in: whether there is a norm before the blocks.
        time: what tells the time: "none", "table" or "sinusoids"; needs the class token.
        num_times: rows of the table, the steps of the schedule.
        time_scale: the sinusoids are of t times this; 1000 for a t in [0, 1].
    """

    out_channels: int
    patch_size: int
    width: int
    depth: int
    num_heads: int
    mlp_ratio: int | float = 4
    dropout: float = 0.0
    activation: str = "quick_gelu"
    eps: float = 1e-5
    pool: str = "class"
    patch_bias: bool = False
    norm_in: bool = True
    time: str = "none"
    num_times: int = 0
    time_scale: float = 1.0
    remat: bool = False

    @nn.compact
    def __call__(
        self, x: Float[Array, "b h w c"], t: Float[Array, " b"] | None = None, train: bool = False
    ) -> Float[Array, "b d"]:
        """Features of each image.

        Args:
            x: images of the size of the first call, since each position has its own vector.
            t: time of each, in the schedule's own unit; needed if and only if `time` is not "none".
            train: dropout is on.

        Raises:
            ValueError: for sizes that the patches don't divide, unknown names, or times missing or not requested.
        """
        self._check(x, t)
        patches = nn.Dense(self.width, self.patch_bias, name="patches", **self.dtypes)(patchify(x, self.patch_size))
        tokens = patches if self.pool == "mean" else jnp.concatenate([self._first(patches, t), patches], axis=1)
        spread = nn.initializers.normal(self.width**-0.5)
        tokens = tokens + self.param("positions", spread, tokens.shape[1:], self.param_dtype).astype(tokens.dtype)
        if self.norm_in:
            tokens = nn.LayerNorm(self.eps, use_fast_variance=False, name="norm_in", **self.dtypes)(tokens)
        trunk = Transformer(
            self.depth,
            self.width,
            self.num_heads,
            self.mlp_ratio,
            self.dropout,
            self.activation,
            self.eps,
            remat=self.remat,
            name="trunk",
            **self.dtypes,
        )
        tokens = trunk(tokens, train=train)
        features = tokens.mean(axis=1) if self.pool == "mean" else tokens[:, 0]
        if self.out_channels:
            features = nn.Dense(self.out_channels, use_bias=False, kernel_init=spread, name="proj", **self.dtypes)(
                features
            )
        return features

    def _first(self, patches: Float[Array, "b s d"], t: Float[Array, " b"] | None) -> Float[Array, "b 1 d"]:
        """The token before the patches."""
        spread = nn.initializers.normal(self.width**-0.5)
        if self.time == "table":
            table = LabelEmbedding(
                self.num_times, self.width, param_dtype=self.param_dtype, embedding_init=spread, name="time_table"
            )
            return table(jnp.round(t).astype(jnp.int32))[:, None].astype(patches.dtype)
        first = jnp.broadcast_to(
            self.param("class_token", spread, (self.width,), self.param_dtype), (patches.shape[0], self.width)
        )
        if self.time == "sinusoids":
            embed = TimeEmbedding(self.width, self.width, param_dtype=self.param_dtype, name="time_embed")
            first = first + embed(self.time_scale * t)
        return first[:, None].astype(patches.dtype)

    def _check(self, x: jax.Array, t: jax.Array | None) -> None:
        if x.shape[1] % self.patch_size or x.shape[2] % self.patch_size:
            raise ValueError(
                f"patches of {self.patch_size} pixels don't divide images of {x.shape[1]}x{x.shape[2]}; "
                "choose another patch_size or image_size"
            )
        if self.pool not in POOLS or self.time not in TIMES:
            raise ValueError(
                f"unknown pool={self.pool!r} or time={self.time!r}; known: {', '.join(POOLS)}, and {', '.join(TIMES)}"
            )
        if self.time != "none" and self.pool != "class":
            raise ValueError(f'the time enters with the class token: time={self.time!r} needs pool="class"')
        if self.time == "table" and self.num_times < 1:
            raise ValueError(f'time="table" needs num_times, the number of steps of the schedule, not {self.num_times}')
        if (t is None) == (self.time != "none"):
            given = "no times were" if t is None else "times were"
            raise ValueError(f"{given} given to a vision transformer with time={self.time!r}")
