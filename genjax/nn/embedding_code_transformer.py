"""The transformer of unCLIP's autoregressive prior (arXiv:2204.06125, section 2.2): codes of an embedding, one by one.

One causal sequence,

    state_1 .. state_s    what CLIP's text tower makes of each token of the caption; learned vectors at padding
    z_t                   the caption's CLIP embedding
    dot                   z_i . z_t in buckets: how well image and caption are to agree; one more bucket says nothing
    c_0 .. c_(n-2)        codes of z_i along its principal axes (`genjax.autoregressive.embedding_codes`)

where what comes out at the dot token predicts c_0, and at c_(k-1) predicts c_k. Codes of all axes share one table and
one head: buckets are cut in standard deviations, so a code says the same of each axis, and the positions tell axes
apart.

Deviation: the paper encodes the caption with a transformer that is trained along with the prior (2048 wide, 24 deep);
here the frozen text tower of CLIP does it.
"""

from typing import NamedTuple

import flax.linen as nn
import jax.numpy as jnp

from genjax.nn import transformer
from genjax.nn.layers.module import Module
from genjax.nn.transformer import KeyValues, Sequence, Transformer
from genjax.typing import Array, Bool, Float, Int

LOGICAL_AXES = [
    *transformer.LOGICAL_AXES,
    (r"(states|text)_proj/kernel$", ("vocab", "embed")),
    (r"dot_embed/embedding$", ("vocab", "embed")),
    (r"padding$", (None, "embed")),
]


class Cache(NamedTuple):
    """What is remembered between codes: the dot token's features [b, width], and keys and values."""

    dot: Float[Array, "b d"]
    blocks: tuple[KeyValues, ...]


class EmbeddingCodeTransformer(Module):
    """(codes, caption, dot) -> logits of each code, given those before it; see the module.

    Attributes:
        num_axes: codes of an embedding.
        num_codes: buckets of each.
        num_dots: buckets of the dot product; `num_dots` itself says nothing of it.
        text_length: tokens of a caption.
        width, depth, num_heads, dropout: of the transformer.
        remat: recompute each block in the backward pass.
    """

    num_axes: int
    num_codes: int
    num_dots: int
    text_length: int
    width: int = 1664
    depth: int = 24
    num_heads: int = 26
    dropout: float = 0.0
    remat: bool = False

    def setup(self):
        """The modules."""
        small = nn.initializers.normal(0.02)
        length = self.text_length + 1 + self.num_axes
        self.positions = self.param("positions", small, (length, self.width), self.param_dtype)
        self.padding = self.param("padding", small, (self.text_length, self.width), self.param_dtype)
        self.states_proj = nn.Dense(self.width, **self.dtypes)
        self.text_proj = nn.Dense(self.width, **self.dtypes)
        self.dot_embed = nn.Embed(self.num_dots + 1, self.width, embedding_init=small, **self.dtypes)
        self.embed = nn.Embed(self.num_codes, self.width, embedding_init=small, **self.dtypes)
        self.trunk = Transformer(
            self.depth, self.width, self.num_heads, dropout=self.dropout, remat=self.remat, causal=True, **self.dtypes
        )
        self.head = nn.Dense(self.num_codes, kernel_init=small, **self.dtypes)

    def __call__(
        self,
        codes: Int[Array, "b n"],
        states: Float[Array, "b s d2"],
        mask: Bool[Array, "b s"],
        text_embed: Float[Array, "b d"],
        dot: Int[Array, " b"],
        train: bool = False,
    ) -> Float[Array, "b n k"]:
        """Logits of each code.

        Args:
            codes: of the embeddings.
            states: of the caption's tokens.
            mask: false at padding.
            text_embed: the caption's embedding.
            dot: bucket of the dot product.
            train: dropout is on.
        """
        caption = self._caption(states, mask, text_embed)
        codes_in = self.embed(codes[:, :-1])
        x = jnp.concatenate([caption, self.dot_embed(dot)[:, None], codes_in], axis=1)
        x = x + self.positions.astype(x.dtype)
        x = self.trunk(x, train=train)
        return self.head(x[:, self.text_length + 1 :]).astype(jnp.float32)

    def _caption(self, states, mask, text_embed) -> Sequence:
        """What stands at the first positions, without what is learned of positions."""
        states = self.states_proj(states)
        states = jnp.where(mask[..., None], states, self.padding.astype(states.dtype))
        return jnp.concatenate([states, self.text_proj(text_embed)[:, None].astype(states.dtype)], axis=1)

    def start(
        self,
        states: Float[Array, "b s d2"],
        mask: Bool[Array, "b s"],
        text_embed: Float[Array, "b d"],
        dot: Int[Array, " b"],
    ) -> Cache:
        """The cache before the first code: the caption has been read."""
        caption = self._caption(states, mask, text_embed)
        caption = caption + self.positions[: self.text_length + 1].astype(caption.dtype)
        empty = self.trunk.init_cache(states.shape[0], self.text_length + 1 + self.num_axes)
        return Cache(self.dot_embed(dot), self.trunk.extend(caption, empty, 0)[1])

    def step(self, cache: Cache, code: Int[Array, " b"], position: Int[Array, ""]) -> tuple[Float[Array, "b k"], Cache]:
        """(logits of code `position`, cache), given the code before it."""
        at = self.text_length + 1 + position
        x = jnp.where(position == 0, cache.dot, self.embed(code))
        x = (x + self.positions[at].astype(x.dtype))[:, None]
        x, blocks = self.trunk.extend(x, cache.blocks, at)
        return self.head(x)[:, 0].astype(jnp.float32), Cache(cache.dot, blocks)
