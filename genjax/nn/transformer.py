"""Transformer blocks, causal or not, and the transformer that predicts a grid of codes.

The block has its norms before its branches (pre-LN; GPT-2, and as in arXiv:1904.10509):

    x = x + proj_out(softmax(q k^T / sqrt(d)) v),   q, k, v = qkv(norm_attention(x))
    x = x + mlp_out(act(mlp_in(norm_mlp(x))))

The joint projection has queries, keys and values first, each cut into heads ("new order" of
`genjax.nn.layers.attention`). With random weights the stack equals GPT-2 of `transformers` (`tests/parity`).

**Cache.** `extend` is the causal forward pass of positions p, p + 1, .. when keys and values of all positions before
are remembered: with one position it is a step of sampling, whose work in the network doesn't grow with the position
(attention reads the whole cache), with many it takes in a prefix.

`CodeTransformer` is a code network (`genjax.nn.code_networks`). Its token t is predicted from

    x_t = embed(code_(t-1)) + positions_t + label + Dense(context_t),      with a learned `first` in place of code -1

so the class and the context reach every position directly, not only through attention.
"""

from typing import Any, NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp

from genjax.nn.code_networks import CodeNetwork
from genjax.nn.layers.attention import Pattern, attend, split_heads
from genjax.nn.layers.module import Module
from genjax.typing import Array, Bool, Float, Int, Labels

Sequence = Float[Array, "b s d"]

LOGICAL_AXES = [
    (r"qkv/kernel$", ("embed", "heads")),
    (r"proj_out/kernel$", ("heads", "embed")),
    (r"mlp_in/kernel$", ("embed", "mlp")),
    (r"mlp_out/kernel$", ("mlp", "embed")),
    (r"embed/embedding$", ("vocab", "embed")),
    (r"positions$", (None, "embed")),
    (r"head/kernel$", ("embed", "vocab")),
]

ACTIVATIONS = {
    "gelu": lambda x: jax.nn.gelu(x, approximate=False),
    "gelu_tanh": jax.nn.gelu,
    "quick_gelu": lambda x: x * jax.nn.sigmoid(1.702 * x),
    "relu": jax.nn.relu,
}
"""By name: exact; with tanh (GPT-2); CLIP's; ReLU."""


class KeyValues(NamedTuple):
    """Keys and values of one block for every position of a sequence, [b, length, heads, d] each."""

    keys: Float[Array, "b s heads d"]
    values: Float[Array, "b s heads d"]


class Block(Module):
    """One pre-LN block; see the module.

    Attributes:
        width: features of x.
        num_heads: divides the width.
        mlp_ratio: hidden features of the MLP, in widths.
        dropout: rate, at the end of both branches.
        activation: a name of `ACTIVATIONS`.
        eps: of the norms.
        out_init: initializer of the two projections that are added to x.
        causal: a position sees itself and those before it only.
        pattern: which positions see which; None: as `causal` and the caller's mask say.
    """

    width: int
    num_heads: int
    mlp_ratio: int | float = 4
    dropout: float = 0.0
    activation: str = "gelu"
    eps: float = 1e-5
    out_init: Any = nn.initializers.normal(0.02)
    causal: bool = False
    pattern: Pattern | None = None

    def setup(self):
        """The modules."""
        if self.num_heads < 1 or self.width % self.num_heads:
            raise ValueError(f"a width of {self.width} can't be cut into num_heads={self.num_heads} heads")
        if self.activation not in ACTIVATIONS:
            raise ValueError(f"unknown activation {self.activation!r}; known: {', '.join(sorted(ACTIVATIONS))}")
        dense = {**self.dtypes, "kernel_init": nn.initializers.normal(0.02)}
        out = {**self.dtypes, "kernel_init": self.out_init}
        self.norm_attention = nn.LayerNorm(self.eps, use_fast_variance=False, **self.dtypes)
        self.qkv = nn.Dense(3 * self.width, **dense)
        self.proj_out = nn.Dense(self.width, **out)
        self.norm_mlp = nn.LayerNorm(self.eps, use_fast_variance=False, **self.dtypes)
        self.mlp_in = nn.Dense(int(self.mlp_ratio * self.width), **dense)
        self.mlp_out = nn.Dense(self.width, **out)
        self.drop = nn.Dropout(self.dropout)

    def __call__(self, x: Sequence, mask: Bool[Array, "..."] | None = None, train: bool = False) -> Sequence:
        """x after the block.

        Args:
            x: features of each position.
            mask: what broadcasts to [b, heads, q, k]: true where a query sees a key; None for a block with a pattern.
            train: dropout is on.
        """
        q, k, v = self._project(x)
        return self._finish(x, attend(q, k, v, self.pattern or mask, causal=self.causal), train)

    def extend(
        self,
        x: Sequence,
        cache: KeyValues,
        position: int | Int[Array, ""],
        mask: Bool[Array, "q k"] | None = None,
    ) -> tuple[Sequence, KeyValues]:
        """The causal pass of positions `position`, `position + 1`, .. of a sequence whose past is in the cache.

        Args:
            x: features of these positions.
            cache: keys and values of those before them.
            position: the first of them.
            mask: true where one of them sees a position of the whole sequence; None: all up to its own.
        """
        q, k, v = self._project(x)
        at = (0, position, 0, 0)
        keys = jax.lax.dynamic_update_slice(cache.keys, k.astype(cache.keys.dtype), at)
        values = jax.lax.dynamic_update_slice(cache.values, v.astype(cache.values.dtype), at)
        if mask is None:
            mask = jnp.arange(keys.shape[1]) <= position + jnp.arange(x.shape[1])[:, None]
        y = attend(q, keys.astype(q.dtype), values.astype(q.dtype), mask[None, None])
        return self._finish(x, y, train=False), KeyValues(keys, values)

    def _project(self, x):
        return split_heads(self.qkv(self.norm_attention(x)), self.num_heads, new_order=True)

    def _finish(self, x, attended, train):
        """Both additions, given what attention gathered."""
        x = x + self.drop(self.proj_out(attended.reshape(x.shape)), deterministic=not train)
        h = self.mlp_out(ACTIVATIONS[self.activation](self.mlp_in(self.norm_mlp(x))))
        return x + self.drop(h, deterministic=not train)


class Transformer(Module):
    """A stack of blocks and a last norm: x [b, s, width] to features of the same shape. It embeds nothing.

    Attributes:
        depth: number of blocks.
        width, num_heads, mlp_ratio, dropout, activation, eps, dtype, param_dtype: of the blocks.
        remat: recompute each block in the backward pass, instead of keeping its inner features.
        causal: a position sees itself and those before it only; so it is in `extend` in any case.
        patterns: which positions see which, of each block; empty: as `causal` and the caller's mask say.
    """

    depth: int
    width: int
    num_heads: int
    mlp_ratio: int | float = 4
    dropout: float = 0.0
    activation: str = "gelu"
    eps: float = 1e-5
    remat: bool = False
    causal: bool = False
    patterns: tuple[Pattern, ...] = ()

    def setup(self):
        """The modules."""
        block = nn.remat(Block, static_argnums=(3,)) if self.remat else Block
        settings = {
            "num_heads": self.num_heads,
            "mlp_ratio": self.mlp_ratio,
            "dropout": self.dropout,
            "activation": self.activation,
            "eps": self.eps,
            # As in GPT-2: the sum of all branches has the same variance at every depth.
            "out_init": nn.initializers.normal(0.02 / (2 * self.depth) ** 0.5),
            "causal": self.causal,
            "dtype": self.dtype,
            "param_dtype": self.param_dtype,
        }
        patterns = self.patterns or (None,) * self.depth
        self.blocks = [
            block(self.width, **settings, pattern=pattern, name=f"block_{i}") for i, pattern in enumerate(patterns)
        ]
        norm = {"use_fast_variance": False, **self.dtypes}
        self.norm_out = nn.LayerNorm(self.eps, **norm)

    def __call__(self, x: Sequence, mask: Bool[Array, "..."] | None = None, train: bool = False) -> Sequence:
        """Features of each position; `mask` as in `Block`."""
        if self.patterns and mask is not None:
            raise ValueError("a transformer with patterns takes no mask")
        for block in self.blocks:
            x = block(x, mask, train)
        return self.norm_out(x)

    def init_cache(self, batch: int, length: int) -> tuple[KeyValues, ...]:
        """Room for the keys and values of `length` positions in every block."""
        shape = (batch, length, self.num_heads, self.width // self.num_heads)
        empty = jnp.zeros(shape, self.dtype or jnp.float32)
        return (KeyValues(empty, empty),) * self.depth

    def extend(
        self, x: Sequence, cache: tuple[KeyValues, ...], position: int | Int[Array, ""]
    ) -> tuple[Sequence, tuple[KeyValues, ...]]:
        """The causal pass of positions from `position` on; equal to those of `__call__` with a causal mask."""
        queries, keys = position + jnp.arange(x.shape[1]), jnp.arange(cache[0].keys.shape[1])
        masks = {None: None} | {pattern: pattern(queries, keys) for pattern in set(self.patterns)}
        grown = []
        for block, past in zip(self.blocks, cache, strict=True):
            x, past = block.extend(x, past, position, masks[block.pattern])
            grown.append(past)
        return self.norm_out(x), tuple(grown)


class Cache(NamedTuple):
    """What `CodeTransformer` remembers: what is added to each position [b, n, width], and keys and values."""

    added: Sequence
    blocks: tuple[KeyValues, ...]


class CodeTransformer(CodeNetwork):
    """A causal transformer over a grid of codes in raster order; see the module.

    Attributes:
        width, depth, num_heads, mlp_ratio, dropout, activation: of the transformer.
        remat: recompute each block in the backward pass.
    """

    width: int = 128
    depth: int = 4
    num_heads: int = 4
    mlp_ratio: int | float = 4
    dropout: float = 0.0
    activation: str = "gelu"
    remat: bool = False

    def setup(self):
        """The modules."""
        small = nn.initializers.normal(0.02)
        self.embed = nn.Embed(self.num_codes, self.width, embedding_init=small, **self.dtypes)
        self.first = self.param("first", small, (self.width,), self.param_dtype)
        self.positions = self.param("positions", small, (self.grid[0] * self.grid[1], self.width), self.param_dtype)
        if self.num_classes:
            labels = self.num_classes + int(self.null_class)
            self.label_embed = nn.Embed(labels, self.width, embedding_init=small, **self.dtypes)
        self.context_proj = nn.Dense(self.width, **self.dtypes)
        self.trunk = Transformer(
            self.depth,
            self.width,
            self.num_heads,
            self.mlp_ratio,
            self.dropout,
            self.activation,
            remat=self.remat,
            causal=True,
            **self.dtypes,
        )
        self.head = nn.Dense(self.num_codes, kernel_init=small, **self.dtypes)
        self.drop = nn.Dropout(self.dropout)

    def __call__(
        self,
        codes: Int[Array, "b h w"],
        label: Labels | None = None,
        context: Float[Array, "b h w c"] | None = None,
        train: bool = False,
    ) -> Float[Array, "b h w k"]:
        """Logits of each code, given those before it."""
        batch, length = codes.shape[0], codes.shape[1] * codes.shape[2]
        before = self.embed(codes.reshape(batch, length)[:, :-1])
        first = jnp.broadcast_to(self.first, (batch, 1, self.width)).astype(before.dtype)
        x = jnp.concatenate([first, before], axis=1) + self._added(batch, label, context)
        x = self.trunk(self.drop(x, deterministic=not train), train=train)
        return self.head(x).astype(jnp.float32).reshape(*codes.shape, self.num_codes)

    def _added(self, batch, label, context) -> Sequence:
        """What is known of each position beside the codes before it."""
        added = jnp.broadcast_to(self.positions, (batch, *self.positions.shape))
        if self.num_classes:
            added = added + self.label_embed(label)[:, None]
        if context is not None:
            added = added + self.context_proj(context).reshape(added.shape)
        return added.astype(self.dtype or added.dtype)

    def start(self, batch: int, label: Labels | None = None, context: Float[Array, "b h w c"] | None = None) -> Cache:
        """The cache before the first code."""
        length = self.grid[0] * self.grid[1]
        return Cache(self._added(batch, label, context), self.trunk.init_cache(batch, length))

    def step(self, cache: Cache, code: Int[Array, " b"], position: Int[Array, ""]) -> tuple[Float[Array, "b k"], Cache]:
        """(logits at `position`, cache), given the code before it."""
        added = jax.lax.dynamic_slice_in_dim(cache.added, position, 1, axis=1)
        before = jnp.where(position == 0, self.first.astype(added.dtype), self.embed(code))[:, None]
        x, blocks = self.trunk.extend(before + added, cache.blocks, position)
        return self.head(x)[:, 0].astype(jnp.float32), Cache(cache.added, blocks)
