"""What a network of diffusion makes of a frozen language model's states (Imagen, arXiv:2205.11487, section 2.4).

    states  = norm(frozen states)
    context = Dense(states)                                       for attention, token by token
    vector  = Dense(SiLU(Dense(norm(pool(nothing, states)))))     for the embedding of time

The pool is an attention with one learned query a head. It also looks at a learned vector, `nothing`, so that a text
without tokens, the null text of guidance, has a vector of its own; attention sees no token of it. The norms over
states, in the pool as in attention, are those that the paper found to help considerably.
"""

from typing import NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp

from genjax.conditioning.inputs import Context
from genjax.nn.layers.attention import attend, split_heads
from genjax.nn.layers.module import Module
from genjax.typing import Array, Bool, Float

LOGICAL_AXES = [
    (r"context_proj/kernel$", ("embed", "heads")),
    (r"pool_kv/kernel$", ("embed", "heads")),
    (r"vector_in/kernel$", ("embed", "mlp")),
    (r"vector_out/kernel$", ("mlp", "embed")),
]


class TextStates(NamedTuple):
    """What a frozen language model made of texts.

    Attributes:
        states: of each token, 0 at padding.
        mask: true at tokens.
    """

    states: Float[Array, "b s d"]
    mask: Bool[Array, "b s"]


class ReadStates(Module):
    """States of texts to a `Context`; see the module.

    Attributes:
        width: features of the context, and of the pool.
        vector_dim: features of the vector: those of the embedding of time.
        num_heads: of the pool.
        eps: of the norms.
    """

    width: int
    vector_dim: int
    num_heads: int = 1
    eps: float = 1e-5

    @nn.compact
    def __call__(self, texts: TextStates) -> Context:
        """The context of texts.

        Raises:
            ValueError: if the heads don't divide the width.
        """
        if self.num_heads < 1 or self.width % self.num_heads:
            raise ValueError(f"a width of {self.width} can't be cut into num_heads={self.num_heads} heads")

        def norm(name):
            return nn.LayerNorm(self.eps, use_fast_variance=False, name=name, **self.dtypes)

        states, mask = norm("norm_states")(texts.states), texts.mask
        context = nn.Dense(self.width, name="context_proj", **self.dtypes)(states)
        pooled = norm("norm_pooled")(self._pool(states, mask, self.dtypes))
        hidden = nn.Dense(self.vector_dim, name="vector_in", **self.dtypes)(pooled)
        return Context(context, mask, nn.Dense(self.vector_dim, name="vector_out", **self.dtypes)(jax.nn.silu(hidden)))

    def _pool(self, states, mask, dtypes) -> Float[Array, "b w"]:
        batch, _, features = states.shape
        small = nn.initializers.normal(0.02)
        nothing = self.param("nothing", small, (features,), self.param_dtype)
        query = self.param("query", nn.initializers.normal(1.0), (self.width,), self.param_dtype)
        states = jnp.concatenate([jnp.broadcast_to(nothing.astype(states.dtype), (batch, 1, features)), states], axis=1)
        seen = jnp.concatenate([jnp.ones((batch, 1), bool), mask], axis=1)
        k, v = split_heads(nn.Dense(2 * self.width, name="pool_kv", **dtypes)(states), self.num_heads, True, parts=2)
        q = jnp.broadcast_to(query.astype(k.dtype).reshape(1, 1, self.num_heads, -1), (batch, 1, *k.shape[2:]))
        return attend(q, k, v, seen[:, None, None]).reshape(batch, self.width)
