"""Draw tokens one after the other: one `lax.scan` for every network.

    x_t ~ p(x_t | x_<t) = softmax(filters(logits_t)),   logits_t, cache = step(cache, x_(t-1), t)

`step` is all that is requested of a network. What it remembers (keys and values, rows of features) is its cache, any
pytree; `uncached` makes a step of a network that remembers nothing.

Each sequence draws its token at position t by `fold_in(its own key, t)`: it doesn't depend on the other sequences, nor
on how many they are. Temperature, top-k, top-p and the scale of guidance are traced: other values don't recompile.

Guidance without a classifier (arXiv:2207.12598), of logits:

    logits = l_u + s (l_c - l_u),    that is  p_u^(1 - s) p_c^s, normalised

with the conditional sequences in the first half of the step's batch and their unconditional twins in the second.
"""

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp

from genjax.autoregressive.masking import Scalar, filter_logits
from genjax.typing import Array, Bool, Float, Int, Key, PyTree

Tokens = Int[Array, " b"]
StepFn = Callable[[PyTree, Tokens, Int[Array, ""]], tuple[Float[Array, "b k"], PyTree]]
"""(cache, token at position - 1, position) -> (logits at position, cache). Positions come in order."""


class Known(NamedTuple):
    """Tokens that are given, as for the completion of images.

    Attributes:
        tokens: of every position that will be decoded; read where `mask` is true.
        mask: true where the token is given.
    """

    tokens: Int[Array, "b n"]
    mask: Bool[Array, "b n"]


def decode(
    step: StepFn,
    cache: PyTree,
    num_tokens: int,
    keys: Key,
    *,
    start: int | Int[Array, ""] = 0,
    previous: Tokens | None = None,
    known: Known | None = None,
    temperature: Scalar | None = None,
    top_k: Scalar | None = None,
    top_p: Scalar | None = None,
    guidance_scale: Scalar | None = None,
) -> Int[Array, "b n"]:
    """Draw `num_tokens` tokens of each sequence.

    Args:
        step: the network; with guidance, of a batch of 2 b: conditional sequences, then unconditional ones.
        cache: what it remembers at the start, after a prefix if there is one.
        num_tokens: how many are drawn.
        keys: key [b] of each sequence.
        start: position of the first of them; the length of the prefix.
        previous: tokens [b] at `start - 1`; zeros where there is no prefix, which networks don't look at.
        known: tokens that are given instead of drawn.
        temperature, top_k, top_p: see `genjax.autoregressive.masking`; None leaves a filter out.
        guidance_scale: s; None for a step without unconditional twins.
    """
    batch = keys.shape[0]
    previous = jnp.zeros((batch,), jnp.int32) if previous is None else previous.astype(jnp.int32)

    def body(carry, given):
        token, cache, position = carry
        logits, cache = step(cache, token if guidance_scale is None else jnp.tile(token, 2), position)
        logits = logits.astype(jnp.promote_types(logits.dtype, jnp.float32))
        if guidance_scale is not None:
            logits = guide(logits, guidance_scale)
        logits = filter_logits(logits, temperature, top_k, top_p)
        token = draw(jax.vmap(jax.random.fold_in, (0, None))(keys, position), logits)
        if given is not None:
            token = jnp.where(given.mask, given.tokens, token).astype(jnp.int32)
        return (token, cache, position + 1), token

    columns = None if known is None else jax.tree.map(lambda x: x.T, known)
    first = (previous, cache, jnp.asarray(start, jnp.int32))
    _, tokens = jax.lax.scan(body, first, columns, length=num_tokens)
    return tokens.T


def draw(keys: Key, logits: Float[Array, "b k"]) -> Tokens:
    """A token of each row, by the key of that row."""
    return jax.vmap(jax.random.categorical)(keys, logits).astype(jnp.int32)


def guide(logits: Float[Array, "b2 k"], scale: Scalar) -> Float[Array, "b k"]:
    """`l_u + scale (l_c - l_u)` of logits [l_c; l_u]."""
    conditional, unconditional = jnp.split(logits, 2)
    return unconditional + scale * (conditional - unconditional)


def uncached(
    forward: Callable[[Int[Array, "b n"]], Float[Array, "b n k"]], batch: int, num_tokens: int
) -> tuple[PyTree, StepFn]:
    """(cache, step) of a network that has no step of its own: a whole forward pass for each token.

    Args:
        forward: tokens -> logits, those at t depending on tokens before t alone.
        batch: number of sequences.
        num_tokens: length that `forward` takes.
    """

    def step(tokens, token, position):
        # At position 0 this writes the last token, which no logits depend on.
        tokens = tokens.at[:, position - 1].set(token)
        logits = jax.lax.dynamic_index_in_dim(forward(tokens), position, axis=1, keepdims=False)
        return logits, tokens

    return jnp.zeros((batch, num_tokens), jnp.int32), step
