"""CLIP's text tower: a caption to one vector (arXiv:2103.00020, section 2.4).

    x         embedding of each token + a learned vector for each position
    trunk     causal pre-LN blocks of `genjax.nn.transformer` and a last norm, QuickGELU
    result    the features at the last token that is no padding, projected without bias

The last token is the end of the text. CLIP's release finds it as the largest number in the text, which is the same in
its own vocabulary with 0 for padding; the rule here holds for any vocabulary whose texts end in a mark of their own.
Being causal, no token sees the padding after it. A text of padding alone, the empty caption, has the features at its
first position.

Deviation: the blocks start as GPT-2's, CLIP's from normal numbers of width^(-1/2).
"""

import flax.linen as nn
import jax.numpy as jnp

from genjax.nn import transformer
from genjax.nn.layers.module import Module
from genjax.nn.transformer import Transformer
from genjax.typing import Array, Float, Int, Tokens

LOGICAL_AXES = [*transformer.LOGICAL_AXES, (r"proj/kernel$", ("embed", None))]


def last_token(tokens: Tokens) -> Int[Array, " b"]:
    """The place of the last token that is no padding, which is 0; the first place where there is none."""
    return jnp.max(jnp.where(tokens != 0, jnp.arange(tokens.shape[1]), 0), axis=1)


class TextTower(Module):
    """Tokens -> (features of each token, of each text); see the module.

    Attributes:
        out_channels: features of a text.
        vocab_size: tokens are 0 .. vocab_size - 1.
        length: the longest text.
        width, depth, num_heads, mlp_ratio, dropout, activation, eps, remat: of the transformer.
        table_std: standard deviation of the fresh embedding of tokens; positions start with half of it.
    """

    out_channels: int
    vocab_size: int
    length: int
    width: int
    depth: int
    num_heads: int
    mlp_ratio: int | float = 4
    dropout: float = 0.0
    activation: str = "quick_gelu"
    eps: float = 1e-5
    table_std: float = 0.02
    remat: bool = False

    @nn.compact
    def __call__(self, tokens: Tokens, train: bool = False) -> tuple[Float[Array, "b s d"], Float[Array, "b d2"]]:
        """(features of each token after the last norm, features of each text).

        Args:
            tokens: texts of at most `length` tokens, 0 = padding, at the end.
            train: dropout is on.

        Raises:
            ValueError: for longer texts.
        """
        if tokens.shape[1] > self.length:
            raise ValueError(f"texts of {tokens.shape[1]} tokens are longer than the tower's {self.length}")
        fresh = nn.initializers.normal
        x = nn.Embed(self.vocab_size, self.width, embedding_init=fresh(self.table_std), name="embed", **self.dtypes)(
            tokens
        )
        places = self.param("positions", fresh(self.table_std / 2), (self.length, self.width), self.param_dtype)
        trunk = Transformer(
            self.depth,
            self.width,
            self.num_heads,
            self.mlp_ratio,
            self.dropout,
            self.activation,
            self.eps,
            remat=self.remat,
            causal=True,
            name="trunk",
            **self.dtypes,
        )
        states = trunk(x + places[: tokens.shape[1]].astype(x.dtype), train=train)
        pooled = jnp.take_along_axis(states, last_token(tokens)[:, None, None], axis=1)[:, 0]
        spread = nn.initializers.normal(self.width**-0.5)
        return states, nn.Dense(self.out_channels, use_bias=False, kernel_init=spread, name="proj", **self.dtypes)(
            pooled
        )
