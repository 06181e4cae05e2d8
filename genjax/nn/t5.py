"""The encoder of T5 (arXiv:1910.10683), the frozen language model that Imagen reads texts with.

A pre-norm transformer that differs from others in four ways:

    x = x + proj_out(softmax(q k^T + bias(j - i)) v),   q, k, v = qkv(norm_attention(x))
    x = x + mlp_out(act(mlp_gate(h)) * mlp_in(h)),      h = norm_mlp(x)

Norms are of the root mean square, without a mean or a shift. Products of queries and keys are not divided by sqrt(d):
the initial weights are smaller instead. No layer has a bias. Positions are known by `bias` alone, a number for each
head and bucket of distances, in all layers that of the first: buckets hold one distance each up to 8, and then grow
geometrically to 128, half of them for keys before the query and half for those after.

The first version has one projection into the MLP and ReLU; version 1.1 two, one of which opens the other by GELU (its
tanh form), and no weights in common with a decoder. There is no dropout: the network is only ever used as it is.

Encoders of the releases (version 1.1): small 35.3M, base 109.6M, XXL 4,762,310,656 parameters. With random weights it
equals T5EncoderModel of `transformers` (`tests/parity`).
"""

import flax.linen as nn
import jax.numpy as jnp
import numpy as np

from genjax.nn.layers.attention import attend, split_heads
from genjax.nn.layers.module import Module
from genjax.nn.transformer import ACTIVATIONS
from genjax.typing import Array, Bool, Float, Int, Tokens

Sequence = Float[Array, "b s d"]

LOGICAL_AXES = [
    (r"qkv/kernel$", ("embed", "heads")),
    (r"proj_out/kernel$", ("heads", "embed")),
    (r"mlp_(in|gate)/kernel$", ("embed", "mlp")),
    (r"mlp_out/kernel$", ("mlp", "embed")),
    (r"embed/embedding$", ("vocab", "embed")),
]


def distance_buckets(length: int, num_buckets: int = 32, max_distance: int = 128) -> Int[np.ndarray, "q k"]:
    """The bucket of each (query, key): num_buckets / 2 for keys up to the query, as many for those after it.

    Args:
        length: positions.
        num_buckets: of both sides.
        max_distance: from which on all are in one bucket.
    """
    offset = np.arange(length) - np.arange(length)[:, None]
    side, distance = num_buckets // 2, np.abs(offset)
    exact = side // 2
    growth = np.log(np.maximum(distance, 1) / exact) / np.log(max_distance / exact)
    # The least bit more, since a logarithm's last one may turn a whole number into one just below.
    far = np.minimum(exact + np.floor(growth * (side - exact) + 1e-6).astype(int), side - 1)
    return side * (offset > 0) + np.where(distance < exact, distance, far)


class T5Block(Module):
    """One block; see the module.

    Attributes:
        num_heads, head_dim: of attention; their product need not be the width.
        mlp_width: hidden features of the MLP.
        gated: version 1.1's MLP; else the first version's.
        eps: of the norms.
    """

    num_heads: int
    head_dim: int
    mlp_width: int
    gated: bool = True
    eps: float = 1e-6

    @nn.compact
    def __call__(self, x: Sequence, bias: Float[Array, "1 heads s s"], mask: Bool[Array, "b 1 1 s"]) -> Sequence:
        """x after the block, given the bias of distances, and which keys are seen."""
        width, inner = x.shape[-1], self.num_heads * self.head_dim

        def dense(features, name, variance):
            init = nn.initializers.normal(variance**0.5)
            return nn.Dense(features, use_bias=False, kernel_init=init, name=name, **self.dtypes)

        h = nn.RMSNorm(self.eps, name="norm_attention", **self.dtypes)(x)
        # As in the release, queries start smaller by sqrt(head_dim); the joint matrix takes this for all three.
        qkv = dense(3 * inner, "qkv", 1 / (width * self.head_dim**0.5))(h)
        q, k, v = split_heads(qkv, self.num_heads, new_order=True)
        h = attend(q, k, v, mask, bias, scale=1.0)
        x = x + dense(width, "proj_out", 1 / inner)(h.reshape(*x.shape[:2], inner))

        h = nn.RMSNorm(self.eps, name="norm_mlp", **self.dtypes)(x)
        hidden = dense(self.mlp_width, "mlp_in", 1 / width)(h)
        if self.gated:
            hidden = ACTIVATIONS["gelu_tanh"](dense(self.mlp_width, "mlp_gate", 1 / width)(h)) * hidden
        else:
            hidden = ACTIVATIONS["relu"](hidden)
        return x + dense(width, "mlp_out", 1 / self.mlp_width)(hidden)


class T5Encoder(Module):
    """tokens [b, s] to the features of each [b, s, width]; see the module.

    Attributes:
        vocab_size: rows of the table of tokens.
        width: features.
        depth: number of blocks.
        num_heads, head_dim, mlp_width, gated, eps, dtype, param_dtype: of the blocks.
        num_buckets, max_distance: of distances.
    """

    vocab_size: int
    width: int
    depth: int
    num_heads: int
    head_dim: int
    mlp_width: int
    gated: bool = True
    eps: float = 1e-6
    num_buckets: int = 32
    max_distance: int = 128

    @nn.compact
    def __call__(self, tokens: Tokens, mask: Bool[Array, "b s"] | None = None) -> Sequence:
        """Features of each token; those of padding mean nothing.

        Args:
            tokens: numbers of the vocabulary.
            mask: true at tokens, false at padding; by default where tokens aren't 0.
        """
        mask = tokens != 0 if mask is None else mask
        one = nn.initializers.normal(1.0)
        x = nn.Embed(self.vocab_size, self.width, embedding_init=one, name="embed", **self.dtypes)(tokens)
        small = nn.initializers.normal(self.width**-0.5)
        table = nn.Embed(self.num_buckets, self.num_heads, embedding_init=small, name="distances", **self.dtypes)
        buckets = distance_buckets(tokens.shape[1], self.num_buckets, self.max_distance)
        bias = jnp.moveaxis(table(jnp.asarray(buckets)), -1, 0)[None]
        settings = (self.num_heads, self.head_dim, self.mlp_width, self.gated, self.eps)
        for i in range(self.depth):
            x = T5Block(*settings, name=f"block_{i}", **self.dtypes)(x, bias, mask[:, None, None])
        return nn.RMSNorm(self.eps, name="norm_out", **self.dtypes)(x)
