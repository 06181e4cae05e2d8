"""DALL-E's transformer: text and the codes of an image in one causal stream (arXiv:2102.12092, figure 10).

    stream     start, t_0 .. t_(s-1), c_0 .. c_(n-2)          n = height * width of the grid
    predicts   t_0, .. t_(s-1), c_0,  ..     c_(n-1)

    x = text_embed(t_i) + positions_(i+1)         of a token; where it is padding (0), padding_i in place of the first
    x = code_embed(c_k) + rows_(k // width) + columns_(k % width)

Text and codes have vocabularies and heads of their own: a position says which of the two comes next, so no probability
is spent on the other kind. Which positions of the stream see which is of `genjax.nn.layers.sparse_attention`, with s
+ 1 positions of text.

The padding of each position of the text is a vector of its own, learned like all others. It is seen, and it is never
predicted: the text head knows no padding.
"""

from typing import NamedTuple

import flax.linen as nn
import jax.numpy as jnp

from genjax.nn import transformer
from genjax.nn.layers import sparse_attention
from genjax.nn.layers.module import Module
from genjax.nn.transformer import KeyValues, Sequence, Transformer
from genjax.typing import Array, Float, Int, Tokens

LOGICAL_AXES = [(r"(padding|rows|columns)$", (None, "embed")), *transformer.LOGICAL_AXES]


class Cache(NamedTuple):
    """What is remembered while codes are drawn: the embedded last token of the text, and keys and values."""

    last: Sequence
    blocks: tuple[KeyValues, ...]


class DalleTransformer(Module):
    """A causal transformer over [text | codes]; see the module.

    Attributes:
        vocab_size: tokens of text are 0..vocab_size-1, 0 = padding.
        text_length: s.
        num_codes: size of the codebook.
        grid: (height, width) of the codes.
        width, depth, num_heads, mlp_ratio, dropout, activation: of the transformer.
        attention: "sparse", in DALL-E's order of rows, columns and a last convolution, or "dense".
        kernel_size: rows and columns of the convolution; odd.
        remat: recompute each block in the backward pass.
    """

    vocab_size: int
    text_length: int
    num_codes: int
    grid: tuple[int, int]
    width: int = 128
    depth: int = 4
    num_heads: int = 4
    mlp_ratio: int | float = 4
    dropout: float = 0.0
    activation: str = "gelu"
    attention: str = "sparse"
    kernel_size: int = 11
    remat: bool = False

    def setup(self):
        """The modules."""
        small = nn.initializers.normal(0.02)

        def vectors(name, count):
            return self.param(name, small, (count, self.width), self.param_dtype)

        self.text_embed = nn.Embed(self.vocab_size, self.width, embedding_init=small, **self.dtypes)
        self.code_embed = nn.Embed(self.num_codes, self.width, embedding_init=small, **self.dtypes)
        self.first = vectors("first", 1)
        self.padding = vectors("padding", self.text_length)
        self.positions = vectors("positions", self.text_length + 1)
        self.rows, self.columns = vectors("rows", self.grid[0]), vectors("columns", self.grid[1])
        patterns = sparse_attention.patterns(
            self.attention, self.depth, self.text_length + 1, self.grid[1], self.kernel_size
        )
        self.trunk = Transformer(
            self.depth,
            self.width,
            self.num_heads,
            self.mlp_ratio,
            self.dropout,
            self.activation,
            remat=self.remat,
            patterns=patterns,
            **self.dtypes,
        )
        self.text_head = nn.Dense(self.vocab_size, kernel_init=small, **self.dtypes)
        self.code_head = nn.Dense(self.num_codes, kernel_init=small, **self.dtypes)
        self.drop = nn.Dropout(self.dropout)

    def __call__(
        self, tokens: Tokens, codes: Int[Array, "b h w"], train: bool = False
    ) -> tuple[Float[Array, "b s k"], Float[Array, "b h w k2"]]:
        """Logits of each token and of each code, given all that is before it in the stream; float32."""
        batch, length = tokens.shape
        before = self._embed_codes(codes.reshape(batch, -1)[:, :-1], jnp.arange(codes[0].size - 1))
        x = self.drop(jnp.concatenate([self._embed_text(tokens), before], axis=1), deterministic=not train)
        x = self.trunk(x, train=train)
        code_logits = self.code_head(x[:, length:]).astype(jnp.float32).reshape(*codes.shape, self.num_codes)
        return self.text_head(x[:, :length]).astype(jnp.float32), code_logits

    def _embed_text(self, tokens: Tokens) -> Float[Array, "b s+1 d"]:
        """The first s + 1 positions of the stream."""
        text = jnp.where((tokens == 0)[..., None], self.padding.astype(self._dtype), self.text_embed(tokens))
        first = jnp.broadcast_to(self.first, (len(tokens), 1, self.width)).astype(text.dtype)
        return jnp.concatenate([first, text], axis=1) + self.positions.astype(text.dtype)

    def _embed_codes(self, codes: Int[Array, "b n"], places: Int[Array, " n"]) -> Sequence:
        """Codes at `places` of the grid, in raster order."""
        where = self.rows[places // self.grid[1]] + self.columns[places % self.grid[1]]
        return self.code_embed(codes) + where.astype(self._dtype)

    @property
    def _dtype(self):
        return self.dtype or jnp.float32

    def start(self, tokens: Tokens) -> Cache:
        """The cache before the first code is drawn: all of the text but its last token has been read."""
        x = self._embed_text(tokens)
        cache = self.trunk.init_cache(len(tokens), self.text_length + self.grid[0] * self.grid[1])
        return Cache(x[:, -1:], self.trunk.extend(x[:, :-1], cache, 0)[1])

    def step(self, cache: Cache, code: Int[Array, " b"], position: Int[Array, ""]) -> tuple[Float[Array, "b k"], Cache]:
        """(logits of the code at `position` of the grid, cache), given the code before it."""
        x = jnp.where(position == 0, cache.last, self._embed_codes(code[:, None], position[None] - 1))
        x, blocks = self.trunk.extend(x, cache.blocks, self.text_length + position)
        return self.code_head(x)[:, 0].astype(jnp.float32), Cache(cache.last, blocks)
