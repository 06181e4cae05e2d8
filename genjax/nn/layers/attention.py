"""The attention of all networks, and its blocks over the pixels of a feature map, as in the U-Nets of DDPM and ADM.

    q, k, v = Dense(norm(x));   weights = softmax(<q, k> / sqrt(d));   x + Dense(weights v)

`attend` is the middle of it, for every network of `genjax.nn`; `genjax.nn.layers.kernels` are what else may compute it.

**Order of the channels of the joint q, k, v projection.** It can't be seen in the shapes and differs between
releases. *Legacy* (Improved DDPM, ADM 128-512): cut into heads first, each head into [q, k, v]. *New*
(ADM-64, `new_order=True`): [q, k, v] first, each cut into heads. With one head they are the same.

**A text's tokens** go before the pixels among the keys and values, under one softmax (GLIDE, arXiv:2112.10741): each
pixel looks at all pixels and all tokens. `[k, v] = Dense(context)` is a projection of each block's own, in the same
order of channels.
"""

from collections.abc import Callable
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp

from genjax.nn.layers import kernels
from genjax.nn.layers.module import Module
from genjax.nn.layers.norm import GroupNorm
from genjax.typing import Array, Bool, Float, Int

Pattern = Callable[[Int[Array, " q"], Int[Array, " k"]], Bool[Array, "q k"]]
"""(positions of queries, positions of keys) -> whether each query sees each key; of jax or NumPy arrays. Hashable."""

HeadFeatures = Float[Array, "parts b s heads d"]

LOGICAL_AXES = [
    (r"qkv/kernel$", ("embed", "heads")),
    (r"(encoder_kv|query)/kernel$", ("embed", "heads")),
    (r"proj_out/kernel$", ("heads", "embed")),
    (r"positions$", (None, "embed")),
]


def attend(
    q: Float[Array, "b q heads d"],
    k: Float[Array, "b k heads d"],
    v: Float[Array, "b k heads e"],
    mask: Bool[Array, "..."] | Pattern | None = None,
    bias: Float[Array, "..."] | None = None,
    causal: bool = False,
    scale: float | None = None,
) -> Float[Array, "b q heads e"]:
    """`softmax(scale <q, k> + bias) v` by head; logits and softmax in float32 at least, products in the dtype of q.

    Args:
        q, k, v: queries, keys and values.
        mask: true where a query sees a key: an array that broadcasts to [b, heads, q, k], as [b, 1, 1, k] of padding,
            or a function of positions. A query has to see a key: by the formula, it gets the mean of all values else.
        bias: added to the logits; broadcasts to [b, heads, q, k].
        causal: a query sees the keys up to its own position only.
        scale: of the products; None = d^(-1/2).
    """
    scale = q.shape[-1] ** -0.5 if scale is None else scale
    by_kernel = kernels.choose(q, k, v, mask, bias)
    if by_kernel:
        return by_kernel(q, k, v, mask, causal, scale)
    wide = jnp.promote_types(q.dtype, jnp.float32)
    logits = jnp.einsum("bqhd,bkhd->bhqk", q, k, preferred_element_type=wide) * scale
    if bias is not None:
        logits = logits + bias.astype(wide)
    for seen in _seen(mask, causal, q.shape[1], k.shape[1]):
        logits = jnp.where(seen, logits, jnp.finfo(wide).min)
    weights = jax.nn.softmax(logits, axis=-1).astype(v.dtype)
    return jnp.einsum("bhqk,bkhd->bqhd", weights, v)


def _seen(mask, causal, queries, keys) -> list[Bool[Array, "..."]]:
    """What has to hold for a query to see a key, each of what broadcasts to [b, heads, q, k]."""
    queries, keys = jnp.arange(queries), jnp.arange(keys)
    seen = [keys <= queries[:, None]] if causal else []
    if mask is not None:
        seen.append(mask(queries, keys) if callable(mask) else mask)
    return seen


def split_heads(joint: Float[Array, "b s c"], num_heads: int, new_order: bool, parts: int = 3) -> HeadFeatures:
    """Queries, keys and values of each head, out of a joint projection in legacy or new order of channels.

    Args:
        joint: the projection.
        num_heads: number of heads.
        new_order: see the module.
        parts: 3, or 2 for a projection to keys and values alone.

    Returns:
        An array [parts, b, s, heads, d], to be unpacked.
    """
    batch, length, _ = joint.shape
    if new_order:
        return jnp.moveaxis(joint.reshape(batch, length, parts, num_heads, -1), 2, 0)
    return jnp.moveaxis(joint.reshape(batch, length, num_heads, parts, -1), 3, 0)


class _Attention(Module):
    """The fields of the blocks below.

    Attributes:
        num_heads: number of heads.
        new_order: order of channels of the joint projection, see the module.
        num_groups, eps: of the group norm.
        kernel_init: of the projection to q, k, v.
    """

    num_heads: int = 1
    new_order: bool = False
    num_groups: int = 32
    eps: float = 1e-5
    kernel_init: Any = nn.initializers.lecun_normal()


class AttentionBlock(_Attention):
    """Residual attention of all positions of x to each other, and to a text's tokens where there are such. The last
    layer starts at zero: the block at identity.
    """

    @nn.compact
    def __call__(
        self,
        x: Float[Array, "b h w c"],
        context: Float[Array, "b s d"] | None = None,
        context_mask: Bool[Array, "b s"] | None = None,
    ) -> Float[Array, "b h w c"]:
        """x plus what each position gathers from all of them.

        Args:
            x: features of each pixel.
            context: features of each token.
            context_mask: true at tokens that are seen; None = all of them.

        Raises:
            ValueError: if the heads don't divide the channels.
        """
        batch, height, width, channels = x.shape
        _check_heads(channels, self.num_heads)
        h = GroupNorm(self.num_groups, self.eps, name="norm", **self.dtypes)(x).reshape(batch, -1, channels)
        qkv = nn.Dense(3 * channels, kernel_init=self.kernel_init, name="qkv", **self.dtypes)(h)
        q, k, v = split_heads(qkv, self.num_heads, self.new_order)
        mask = None
        if context is not None:
            joint = nn.Dense(2 * channels, kernel_init=self.kernel_init, name="encoder_kv", **self.dtypes)(context)
            of_text = split_heads(joint, self.num_heads, self.new_order, parts=2)
            k, v = jnp.concatenate([of_text.astype(k.dtype), jnp.stack([k, v])], axis=2)
        if context_mask is not None:
            mask = jnp.concatenate([context_mask, jnp.ones((batch, height * width), bool)], axis=1)[:, None, None]
        h = attend(q, k, v, mask).reshape(batch, height, width, channels)
        return x + nn.Dense(channels, kernel_init=nn.initializers.zeros_init(), name="proj_out", **self.dtypes)(h)


class CrossAttentionBlock(_Attention):
    """Residual attention of all positions of x to a text's tokens alone (Imagen's model for 1024 pixels, 2205.11487).

    Beside the tokens there is a learned key and value, to look at where a text has nothing to say, or is empty. The
    last layer starts at zero: the block at identity.
    """

    @nn.compact
    def __call__(
        self,
        x: Float[Array, "b h w c"],
        context: Float[Array, "b s d"],
        context_mask: Bool[Array, "b s"] | None = None,
    ) -> Float[Array, "b h w c"]:
        """x plus what each position gathers from the tokens; arguments and errors as of `AttentionBlock`."""
        batch, height, width, channels = x.shape
        _check_heads(channels, self.num_heads)
        dense = {"kernel_init": self.kernel_init, **self.dtypes}
        h = GroupNorm(self.num_groups, self.eps, name="norm", **self.dtypes)(x).reshape(batch, -1, channels)
        q = nn.Dense(channels, name="query", **dense)(h).reshape(batch, height * width, self.num_heads, -1)
        joint = nn.Dense(2 * channels, name="encoder_kv", **dense)(context)
        nothing = self.param("nothing", nn.initializers.normal(0.02), (2 * channels,), self.param_dtype)
        nothing = jnp.broadcast_to(nothing.astype(joint.dtype), (batch, 1, 2 * channels))
        k, v = split_heads(jnp.concatenate([nothing, joint], axis=1), self.num_heads, self.new_order, parts=2)
        mask = None
        if context_mask is not None:
            mask = jnp.concatenate([jnp.ones((batch, 1), bool), context_mask], axis=1)[:, None, None]
        h = attend(q, k, v, mask).reshape(batch, height, width, channels)
        return x + nn.Dense(channels, kernel_init=nn.initializers.zeros_init(), name="proj_out", **self.dtypes)(h)


class AttentionPool(Module):
    """A feature map to one vector, by attention (CLIP, arXiv:2103.00020, section 2.4; ADM's classifiers).

        tokens = [mean(x), x_1, .., x_hw] + positions;   pooled = Dense(attention(tokens) at the mean's token)

    The joint projection is always in the new order of channels. Only the first token's query is used, so only
    that one is computed with.

    Attributes:
        out_channels: features of the result.
        num_heads: number of heads.
        kernel_init: of both projections.
    """

    out_channels: int
    num_heads: int = 1
    kernel_init: Any = nn.initializers.lecun_normal()

    @nn.compact
    def __call__(self, x: Float[Array, "b h w c"]) -> Float[Array, "b c2"]:
        """The pooled features; h and w are those of the first call, since each position has its own vector.

        Raises:
            ValueError: if the heads don't divide the channels.
        """
        batch, height, width, channels = x.shape
        _check_heads(channels, self.num_heads)
        dtypes = {**self.dtypes, "kernel_init": self.kernel_init}
        positions = self.param(
            "positions",
            nn.initializers.normal(channels**-0.5),
            (height * width + 1, channels),
            self.param_dtype,
        )
        tokens = x.reshape(batch, -1, channels)
        tokens = jnp.concatenate([tokens.mean(1, keepdims=True), tokens], axis=1)
        tokens = tokens + positions.astype(tokens.dtype)
        qkv = nn.Dense(3 * channels, name="qkv", **dtypes)(tokens)
        q, k, v = split_heads(qkv, self.num_heads, new_order=True)
        pooled = attend(q[:, :1], k, v).reshape(batch, channels)
        return nn.Dense(self.out_channels, name="proj_out", **dtypes)(pooled)


def _check_heads(channels: int, num_heads: int) -> None:
    if num_heads < 1 or channels % num_heads:
        raise ValueError(
            f"{channels} channels can't be cut into {num_heads} heads; choose num_heads or "
            "head_channels that divide the channels of every level with attention"
        )
