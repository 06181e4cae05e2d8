"""The transformer of unCLIP's diffusion prior (arXiv:2204.06125, section 2.2): noisy CLIP embedding to clean one.

One causal sequence,

    state_1 .. state_s    what CLIP's text tower makes of each token of the caption
    z_t                   the caption's CLIP embedding (of length 1)
    time                  sinusoids of t through two dense layers
    noisy z_i             the image's CLIP embedding under noise
    query                 a learned vector

each projected to the transformer's width, plus a learned vector for every position. What stands at the query in the end
is projected to the estimate of z_i. A position sees those before it and itself, and no padding of the caption: the last
four are always seen.

With random weights it equals diffusers' `PriorTransformer` (`tests/parity`), whose default sizes are Karlo's, as those
here: 1,022,028,544 parameters.

Deviation: the paper encodes the caption with a transformer that is trained along with the prior; here, as in Karlo, the
frozen text tower of CLIP does it. Karlo keeps the mean and the deviation of its embeddings among the parameters (1,536
more in diffusers' count); here they are the family's.
"""

import flax.linen as nn
import jax.numpy as jnp

from genjax.autoregressive import masking
from genjax.nn import transformer
from genjax.nn.layers import embeddings
from genjax.nn.layers.embeddings import TimeEmbedding
from genjax.nn.layers.module import Module
from genjax.nn.transformer import Transformer
from genjax.typing import Array, Bool, Float, PerExample

LOGICAL_AXES = [
    *transformer.LOGICAL_AXES,
    *embeddings.LOGICAL_AXES,
    (r"(states|text|noisy)_proj/kernel$", ("vocab", "embed")),
]
NUM_EXTRA = 4
"""Positions after the caption's tokens."""


class PriorTransformer(Module):
    """(noisy embedding, time, caption) -> embedding; see the module.

    Attributes:
        dim: of the embeddings.
        width, depth, num_heads, dropout: of the transformer.
        dtype: of the computation; None for that of the embeddings.
        remat: recompute each block in the backward pass.
    """

    dim: int
    width: int = 2048
    depth: int = 20
    num_heads: int = 32
    dropout: float = 0.0
    remat: bool = False

    @nn.compact
    def __call__(
        self,
        noisy: Float[Array, "b d"],
        t: PerExample,
        states: Float[Array, "b s d2"],
        mask: Bool[Array, "b s"],
        text_embed: Float[Array, "b d"],
        train: bool = False,
    ) -> Float[Array, "b d"]:
        """The estimate of the clean embedding.

        Args:
            noisy: the embedding under noise.
            t: its time, in steps of a schedule of about a thousand.
            states: of the caption's tokens.
            mask: false at padding.
            text_embed: the caption's embedding.
            train: dropout is on.
        """
        small = nn.initializers.normal(0.02)
        query = self.param("query", small, (self.width,), self.param_dtype)
        length = states.shape[1] + NUM_EXTRA
        positions = self.param("positions", small, (length, self.width), self.param_dtype)

        states = nn.Dense(self.width, name="states_proj", **self.dtypes)(states)
        text = nn.Dense(self.width, name="text_proj", **self.dtypes)(text_embed)
        time = TimeEmbedding(self.width, self.width, param_dtype=self.param_dtype, name="time_embed")(t)
        latent = nn.Dense(self.width, name="noisy_proj", **self.dtypes)(noisy)
        extra = jnp.stack([text, time.astype(text.dtype), latent, jnp.broadcast_to(query, text.shape)], axis=1)
        x = jnp.concatenate([states, extra.astype(states.dtype)], axis=1) + positions.astype(states.dtype)

        trunk = Transformer(
            self.depth, self.width, self.num_heads, dropout=self.dropout, remat=self.remat, name="trunk", **self.dtypes
        )
        x = trunk(x, visible(mask), train)
        return nn.Dense(self.dim, name="head", **self.dtypes)(x[:, -1])


def visible(mask: Bool[Array, "b s"]) -> Bool[Array, "b 1 s2 s2"]:
    """[query, key] of each caption: what comes before or at the query, but for padding. Padding itself sees itself."""
    keys = jnp.pad(mask, ((0, 0), (0, NUM_EXTRA)), constant_values=True)
    length = keys.shape[1]
    return ((keys[:, None] & masking.causal(length)) | jnp.eye(length, dtype=bool))[:, None]
