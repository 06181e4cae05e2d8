"""PixelSNAIL over a grid of codes (arXiv:1712.09763): gated convolutions, and attention to all codes before.

Each of `num_blocks` blocks is

    h = `num_res_blocks` gated residuals with down-right-shifted kernels (2, 2)
    k, v = pointwise(residual[x, h, p]),    q = pointwise(residual[h, p])
    h = residual(h; attention(q, k, v)),    residuals without a kernel, `genjax.nn.pixelcnnpp.GatedResNet`

with x the embedded codes and p the coordinates, row / height - .5 and column / width - .5. The convolutions see what is
near, above and to the left; attention sees all that is before. The key of a position knows the code there (that is
what x is for), so attention is *strictly* causal: a position sees those before it, not itself. The first sees nothing,
and its result is 0:

    weights = softmax(q k^T / sqrt(d), over earlier positions),   0 at position 0

The class and the context [b, h, w, c] are added inside every gated residual. The first layer moves the codes down and
right, so that logits never see their own code.

**Cache.** A step knows the code before it, and only then the key and value of that position: they are made from its
features, which the step before has left. Keys and values are kept for the whole grid, of convolutions the last two rows
(`genjax.nn.layers.shifted_conv`). The work of a step in convolutions and dense layers doesn't depend on the size of
the grid; attention reads the whole cache, and the codes are looked up anew.

Deviations: codes are embedded, where the paper has pixels; the first batch does not set gains and biases; attention may
have several heads, the paper has one; the coordinates are the only channels beside x, whose padding has no mark.
"""

from typing import Any, NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp

from genjax.autoregressive import masking
from genjax.nn import pixelcnnpp
from genjax.nn.code_networks import CodeNetwork
from genjax.nn.layers.attention import attend
from genjax.nn.layers.embeddings import LabelEmbedding
from genjax.nn.layers.shifted_conv import At, Features, FirstConv, Pointwise, empty_cache
from genjax.nn.pixelcnnpp import GatedResNet
from genjax.typing import Array, Bool, Float, Int, Labels, PyTree

LOGICAL_AXES = pixelcnnpp.LOGICAL_AXES + [
    (r"(key_value|query)/kernel$", ("conv_in", "conv_out")),
    (r"context_proj/kernel$", ("conv_in", "conv_out")),
    (r"embed/embedding$", ("vocab", "embed")),
    (r"head/kernel$", ("embed", "vocab")),
]


def attend_before(
    q: Float[Array, "b q heads d"],
    k: Float[Array, "b k heads d"],
    v: Float[Array, "b k heads e"],
    mask: Bool[Array, "q k"],
) -> Float[Array, "b q heads e"]:
    """Attention to the positions that the mask allows; 0 where it allows none."""
    return attend(q, k, v, mask[None, None]) * jnp.any(mask, axis=1)[:, None, None]


class CausalAttention(nn.Module):
    """What each position gathers from those before it; see the module.

    Attributes:
        grid: (height, width).
        num_heads: divides half the features of h, which are those of the values.
        key_dim: features of a key, for each head.
        dropout: rate, in the residuals.
        deterministic: no dropout.
        dtype, param_dtype: of the computation and of the parameters.
    """

    grid: tuple[int, int]
    num_heads: int
    key_dim: int
    dropout: float
    deterministic: bool
    dtype: Any
    param_dtype: Any

    @nn.compact
    def __call__(self, x: Features, h: Features, condition: Features | None, at: At | None = None) -> Features:
        """Values of half the features of h, at all positions or at one.

        Args:
            x: embedded codes, of the whole grid in any case.
            h: features.
            condition: of the whole grid, or [b, 1, 1, c].
            at: the place of h.
        """
        features = h.shape[-1]
        if self.num_heads < 1 or (features // 2) % self.num_heads:
            raise ValueError(f"{features // 2} features of values can't be cut into num_heads={self.num_heads} heads")
        content = GatedResNet("pointwise", name="content", **self._fields)
        key_value = self._pointwise(self.num_heads * self.key_dim + features // 2, "key_value")
        query_block = GatedResNet("pointwise", name="requested", **self._fields)
        query = self._pointwise(self.num_heads * self.key_dim, "query")

        def remember(x, h, condition, places):
            return key_value(content(jnp.concatenate([x, h, places.astype(h.dtype)], axis=-1), None, condition))

        def ask(h, condition, places):
            return query(query_block(jnp.concatenate([h, places.astype(h.dtype)], axis=-1), None, condition))

        places = jnp.broadcast_to(coordinates(self.grid), (h.shape[0], *self.grid, 2))
        if at is None:
            past = remember(x, h, condition, places)
            if self.is_mutable_collection("cache"):
                self.variable("cache", "past", jnp.zeros, past.shape, past.dtype)
                self.variable("cache", "pending", jnp.zeros, (h.shape[0], 1, 1, features), h.dtype)
            return self._attend(ask(h, condition, places), past, masking.causal(self._length, strict=True))

        past, pending = self.variable("cache", "past"), self.variable("cache", "pending")
        position = at.row * self.grid[1] + at.column
        before = At(*divmod(jnp.maximum(position - 1, 0), self.grid[1]))
        # At position 0 what is written is of nothing, and position 1 writes over it.
        new = remember(pick(x, before), pending.value, pick(condition, before), pick(places, before))
        past.value = jax.lax.dynamic_update_slice(past.value, new, (0, before.row, before.column, 0))
        pending.value = h
        asks = ask(h, pick(condition, at), pick(places, at))
        return self._attend(asks, past.value, (jnp.arange(self._length) < position)[None])

    def _attend(self, q, past, mask):
        batch, height, width, _ = q.shape
        keys = self.num_heads * self.key_dim
        k, v = past[..., :keys], past[..., keys:]
        q, k, v = (part.reshape(batch, -1, self.num_heads, part.shape[-1] // self.num_heads) for part in (q, k, v))
        return attend_before(q, k, v, mask).reshape(batch, height, width, -1)

    @property
    def _length(self):
        return self.grid[0] * self.grid[1]

    @property
    def _fields(self):
        dtypes = {"dtype": self.dtype, "param_dtype": self.param_dtype}
        return {"dropout": self.dropout, "deterministic": self.deterministic, "from_data": False, **dtypes}

    def _pointwise(self, features, name):
        return Pointwise(features, from_data=False, dtype=self.dtype, param_dtype=self.param_dtype, name=name)


def coordinates(grid: tuple[int, int]) -> Float[Array, "h w 2"]:
    """(row / height - .5, column / width - .5) of each place."""
    rows, columns = (jnp.arange(size) / size - 0.5 for size in grid)
    return jnp.stack(jnp.meshgrid(rows, columns, indexing="ij"), axis=-1)


def pick(x: Features | None, at: At) -> Features | None:
    """One pixel of a map, [b, 1, 1, c]; what is of 1 x 1 already stays."""
    if x is None or x.shape[1:3] == (1, 1):
        return x
    return jax.lax.dynamic_slice(x, (0, at.row, at.column, 0), (x.shape[0], 1, 1, x.shape[3]))


class Trunk(nn.Module):
    """Embedded codes -> features before the logits, by whole grids or at one place; fields as in `PixelSNAIL`."""

    grid: tuple[int, int]
    width: int
    num_blocks: int
    num_res_blocks: int
    num_heads: int
    key_dim: int
    dropout: float
    dtype: Any
    param_dtype: Any
    remat: bool

    @nn.compact
    def __call__(self, x: Features, condition: Features | None, at: At | None = None, train: bool = False) -> Features:
        """The features.

        Args:
            x: embedded codes of the whole grid; those not yet known may be anything.
            condition: of the whole grid, or [b, 1, 1, c].
            at: the place, to go step by step.
            train: dropout on.
        """
        here = condition if at is None or condition is None else pick(condition, at)
        residual = nn.remat(GatedResNet) if self.remat else GatedResNet
        attention = nn.remat(CausalAttention) if self.remat else CausalAttention
        dtypes = {"dtype": self.dtype, "param_dtype": self.param_dtype}
        fields = (self.dropout, not train, False)
        first = {"from_data": False, **dtypes}
        h = FirstConv(self.width, kernel_size=(1, 3), shift="down", name="first_down", **first)(x, at)
        h = h + FirstConv(self.width, kernel_size=(2, 1), shift="right", name="first_right", **first)(x, at)
        for block in range(self.num_blocks):
            for i in range(self.num_res_blocks):
                h = residual("right", *fields, name=f"block_{block}_{i}", **dtypes)(h, None, here, at)
            attend = attention(
                self.grid,
                self.num_heads,
                self.key_dim,
                self.dropout,
                not train,
                name=f"block_{block}_attention",
                **dtypes,
            )
            gathered = attend(x, h, condition, at)
            h = residual("pointwise", *fields, name=f"block_{block}_merge", **dtypes)(h, gathered, here)
        return jax.nn.elu(h)


class Cache(NamedTuple):
    """What is remembered between two codes.

    Attributes:
        condition: of every position, or of all alike; None if there is none.
        codes: those known so far.
        memory: of the trunk: rows of the convolutions, keys and values.
    """

    condition: Features | None
    codes: Int[Array, "b h w"]
    memory: PyTree


class PixelSNAIL(CodeNetwork):
    """The network of codes (`genjax.nn.code_networks`); the defaults are about those of VQ-VAE-2's top prior.

    Attributes:
        width: features.
        num_blocks: blocks with attention at their end.
        num_res_blocks: gated residuals with kernels, in each block.
        num_heads: of attention.
        key_dim: features of a key, for each head.
        dropout: rate, in each residual.
        dtype: of the computation; None for float32. The logits are float32.
        remat: recompute residuals and attention in the backward pass.
    """

    width: int = 256
    num_blocks: int = 4
    num_res_blocks: int = 4
    num_heads: int = 1
    key_dim: int = 16
    dropout: float = 0.0
    remat: bool = False

    def setup(self):
        """The modules."""
        self.embed = nn.Embed(self.num_codes, self.width, embedding_init=nn.initializers.normal(1.0), **self.dtypes)
        if self.num_classes:
            self.label_embed = LabelEmbedding(self.num_classes, self.width, self.null_class, self.param_dtype)
        self.context_proj = nn.Dense(self.width, **self.dtypes)
        sizes = (self.width, self.num_blocks, self.num_res_blocks, self.num_heads, self.key_dim, self.dropout)
        self.trunk = Trunk(self.grid, *sizes, self.dtype, self.param_dtype, self.remat)
        self.head = nn.Dense(self.num_codes, **self.dtypes)

    def __call__(
        self,
        codes: Int[Array, "b h w"],
        label: Labels | None = None,
        context: Features | None = None,
        train: bool = False,
    ) -> Float[Array, "b h w k"]:
        """Logits of each code, given those before it."""
        h = self.trunk(self.embed(codes), self.condition(label, context), train=train)
        return self.head(h).astype(jnp.float32)

    def start(self, batch: int, label: Labels | None = None, context: Features | None = None) -> Cache:
        """The cache before the first code."""
        condition, codes = self.condition(label, context), jnp.zeros((batch, *self.grid), jnp.int32)
        trunk, variables = self.trunk.unbind()
        return Cache(condition, codes, empty_cache(trunk, variables["params"], self.embed(codes), condition))

    def step(self, cache: Cache, code: Int[Array, " b"], position: Int[Array, ""]) -> tuple[Float[Array, "b k"], Cache]:
        """(logits at `position`, cache), given the code before it."""
        width = self.grid[1]
        before = divmod(jnp.maximum(position - 1, 0), width)
        codes = cache.codes.at[:, before[0], before[1]].set(code.astype(jnp.int32))
        trunk, variables = self.trunk.unbind()
        variables = {"params": variables["params"], "cache": cache.memory}
        at = At(position // width, position % width)
        h, new = trunk.apply(variables, self.embed(codes), cache.condition, at, mutable=["cache"])
        return self.head(h)[:, 0, 0].astype(jnp.float32), Cache(cache.condition, codes, new["cache"])
