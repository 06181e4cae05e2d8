"""The encoder of BERT (arXiv:1810.04805), of which MiniLM's sentence encoders are small sisters.

A transformer with its norms after its branches:

    x = norm_attention(x + proj_out(softmax(q k^T / sqrt(d)) v)),   q, k, v = qkv(x)
    x = norm_mlp(x + mlp_out(gelu(mlp_in(x))))

on the normed sum of a token's vector, its position's and that of the first of two kinds of segments (`types`; a text
is one segment). GELU is the exact one. The pooler over [CLS], trained for pairs of sentences, is omitted, and so is
dropout: the network is only ever read with. A sentence encoder of the MiniLM line averages the features of all tokens,
[CLS] and [SEP] included; all-MiniLM-L6-v2 then divides by the length (Sentence-BERT, arXiv:1908.10084).

all-MiniLM-L6-v2 has 22.7M parameters, of which 22,565,376 are here: the rest is the pooler. With random weights it
equals BertModel of `transformers` (`tests/parity`).
"""

import flax.linen as nn

from genjax.nn.layers.attention import attend, split_heads
from genjax.nn.layers.module import Module
from genjax.nn.transformer import ACTIVATIONS
from genjax.typing import Array, Bool, Float, Tokens

Sequence = Float[Array, "b s d"]

LOGICAL_AXES = [
    (r"qkv/kernel$", ("embed", "heads")),
    (r"proj_out/kernel$", ("heads", "embed")),
    (r"mlp_in/kernel$", ("embed", "mlp")),
    (r"mlp_out/kernel$", ("mlp", "embed")),
    (r"embed/embedding$", ("vocab", "embed")),
    (r"positions$", (None, "embed")),
]


class BertBlock(Module):
    """One block; see the module.

    Attributes:
        num_heads: divides the width.
        mlp_width: hidden features of the MLP.
        eps: of the norms.
    """

    num_heads: int
    mlp_width: int
    eps: float = 1e-12

    @nn.compact
    def __call__(self, x: Sequence, mask: Bool[Array, "b 1 1 s"]) -> Sequence:
        """x after the block, given which keys are seen."""
        width = x.shape[-1]

        def dense(features, name):
            return nn.Dense(features, kernel_init=nn.initializers.normal(0.02), name=name, **self.dtypes)

        def norm(name):
            return nn.LayerNorm(self.eps, use_fast_variance=False, name=name, **self.dtypes)

        q, k, v = split_heads(dense(3 * width, "qkv")(x), self.num_heads, new_order=True)
        h = attend(q, k, v, mask).reshape(x.shape)
        x = norm("norm_attention")(x + dense(width, "proj_out")(h))
        h = dense(width, "mlp_out")(ACTIVATIONS["gelu"](dense(self.mlp_width, "mlp_in")(x)))
        return norm("norm_mlp")(x + h)


class BertEncoder(Module):
    """tokens [b, s] to the features of each [b, s, width]; see the module.

    Attributes:
        vocab_size: rows of the table of tokens.
        width: features.
        depth: number of blocks.
        max_length: positions that there are vectors for.
        num_types: kinds of segments; only the first is used.
        num_heads, mlp_width, eps, dtype, param_dtype: of the blocks.
    """

    vocab_size: int
    width: int
    depth: int
    num_heads: int
    mlp_width: int
    max_length: int = 512
    num_types: int = 2
    eps: float = 1e-12

    @nn.compact
    def __call__(self, tokens: Tokens, mask: Bool[Array, "b s"] | None = None) -> Sequence:
        """Features of each token; those of padding mean nothing.

        Args:
            tokens: numbers of the vocabulary.
            mask: true at tokens, false at padding; by default where tokens aren't 0.

        Raises:
            ValueError: for more tokens than there are positions.
        """
        length = tokens.shape[1]
        if length > self.max_length:
            raise ValueError(f"a text of {length} tokens is longer than the {self.max_length} that this network reads")
        mask = tokens != 0 if mask is None else mask
        small = nn.initializers.normal(0.02)
        x = nn.Embed(self.vocab_size, self.width, embedding_init=small, name="embed", **self.dtypes)(tokens)
        positions = self.param("positions", small, (self.max_length, self.width), self.param_dtype)
        types = self.param("types", small, (self.num_types, self.width), self.param_dtype)
        x = x + (positions[:length] + types[0]).astype(x.dtype)
        x = nn.LayerNorm(self.eps, use_fast_variance=False, name="norm_in", **self.dtypes)(x)
        settings = (self.num_heads, self.mlp_width, self.eps)
        for i in range(self.depth):
            x = BertBlock(*settings, name=f"block_{i}", **self.dtypes)(x, mask[:, None, None])
        return x
