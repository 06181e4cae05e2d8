"""GLIDE's text encoder, trained with the U-Net that it tells (arXiv:2112.10741, section 2.4 and the release).

    x_i     = embed(token_i) + positions_i         where there is a token,      padding_i      where there is none
    y       = norm(transformer(x))                 all positions see all others, padding too
    context = y                                    tokens of every attention of the U-Net
    vector  = Dense(y_last)                        added to its embedding of time

Each position has a padding vector of its own. The last position, whose features become the vector, is padding unless
the text fills all its places, so it is a learned query of the text. The empty text, all padding, is the null text of
guidance.

The blocks are those of `genjax.nn.transformer` with the exact GELU. Fresh tables of tokens are unit normal numbers, as
PyTorch's in the release, and padding too. With GPT-2's standard deviation of .02 the branches drown the words at first,
and it takes several times as many steps to learn which colour is said of which thing. Deviation: the release leaves the
positions as they lie in memory; here they start from sinusoids (arXiv:1706.03762), from which "the word before" is
found by a rotation.
"""

from typing import Any

import flax.linen as nn
import jax.numpy as jnp

from genjax.conditioning.inputs import Context
from genjax.nn import transformer
from genjax.nn.layers import embeddings
from genjax.nn.layers.module import Module
from genjax.nn.transformer import Transformer
from genjax.typing import Array, Float, Key, Tokens

LOGICAL_AXES = (*transformer.LOGICAL_AXES, (r"padding$", (None, "embed")), (r"vector/kernel$", ("embed", "mlp")))


class GlideText(Module):
    """Tokens to the context of a U-Net; see the module.

    Attributes:
        vocab_size: tokens are 0..vocab_size-1, 0 = padding.
        length: tokens of a text, padding included.
        vector_dim: features of the vector, those of the U-Net's embedding of time.
        width, depth, num_heads: of the transformer.
        remat: recompute each block in the backward pass.
    """

    vocab_size: int
    length: int
    vector_dim: int
    width: int = 512
    depth: int = 16
    num_heads: int = 8
    remat: bool = False

    @nn.compact
    def __call__(self, tokens: Tokens) -> Context:
        """The context of a U-Net: no mask, for padding is seen as well."""
        unit = nn.initializers.normal(1.0)
        positions = self.param("positions", _first_positions, (self.length, self.width), self.param_dtype)
        padding = self.param("padding", unit, (self.length, self.width), self.param_dtype)
        x = nn.Embed(self.vocab_size, self.width, embedding_init=unit, name="embed", **self.dtypes)(tokens)
        x = jnp.where((tokens != 0)[..., None], x + positions.astype(x.dtype), padding.astype(x.dtype))
        y = Transformer(self.depth, self.width, self.num_heads, remat=self.remat, name="trunk", **self.dtypes)(x)
        return Context(states=y, vector=nn.Dense(self.vector_dim, name="vector", **self.dtypes)(y[:, -1]))


def _first_positions(key: Key, shape: tuple[int, int], dtype: Any) -> Float[Array, "s w"]:
    """The sinusoids of 0, 1, ..; nothing is drawn."""
    length, width = shape
    return embeddings.sinusoids(jnp.arange(length, dtype=float), width).astype(dtype)
