"""Which tokens may be drawn, and which positions may be seen.

Filters take logits [.., k] to logits in which tokens that are out of the question are -inf. Their arguments may be
traced: another temperature or another k is not another program. Each has a neutral value, at which it changes nothing:

    temperature 1    softmax(logits / T); 0 = the most likely token, the lower one of equals
    top_k       0    the k most likely tokens, ties by the lower token (arXiv:1805.04833)
    top_p       1    the nucleus: the most likely tokens up to the one with which their mass reaches p
        (arXiv:1904.09751)

In this order where more than one is given: the nucleus is that of the tempered, cut distribution.
"""

import jax
import jax.numpy as jnp

from genjax.typing import Array, Bool, Float, Int

Scalar = float | int | Float[Array, ""] | Int[Array, ""]
MIN_TEMPERATURE = 1e-6
"""In place of less: by it, a difference of .001 between logits is a factor of e^1000 between chances."""


def temper(logits: Float[Array, "*b k"], temperature: Scalar) -> Float[Array, "*b k"]:
    """Logits over the temperature, shifted to a maximum of 0; at 0 the first of the largest is the only one left."""
    shifted = logits - jax.lax.stop_gradient(logits.max(axis=-1, keepdims=True))
    first = jnp.arange(logits.shape[-1]) == jnp.argmax(logits, axis=-1, keepdims=True)
    warm = shifted / jnp.maximum(temperature, MIN_TEMPERATURE)
    return jnp.where(jnp.asarray(temperature) > 0, warm, jnp.where(first, 0.0, -jnp.inf).astype(warm.dtype))


def keep_top_k(logits: Float[Array, "*b k"], top_k: Scalar) -> Float[Array, "*b k"]:
    """The `top_k` largest logits, the others -inf; all of them where `top_k` is 0."""
    allowed = (_ranks(logits) < top_k) | (jnp.asarray(top_k) <= 0)
    return jnp.where(allowed, logits, -jnp.inf)


def keep_top_p(logits: Float[Array, "*b k"], top_p: Scalar) -> Float[Array, "*b k"]:
    """The least set of most likely tokens whose chances sum to `top_p` at least; never empty. All where it is 1."""
    ranks = _ranks(logits)
    chances = -jnp.sort(-jax.nn.softmax(logits, axis=-1), axis=-1)
    likelier = jnp.take_along_axis(jnp.cumsum(chances, axis=-1) - chances, ranks, axis=-1)
    allowed = (likelier < top_p) | (ranks == 0) | (jnp.asarray(top_p) >= 1)
    return jnp.where(allowed, logits, -jnp.inf)


def _ranks(logits: Float[Array, "*b k"]) -> Int[Array, "*b k"]:
    """0 for the largest, 1 for the next, ..; the lower token first among equals."""
    return jnp.argsort(jnp.argsort(-logits, axis=-1, stable=True), axis=-1)


def filter_logits(
    logits: Float[Array, "*b k"],
    temperature: Scalar | None = None,
    top_k: Scalar | None = None,
    top_p: Scalar | None = None,
) -> Float[Array, "*b k"]:
    """Temperature, then the k most likely, then the nucleus; None leaves a filter out, with its work."""
    if temperature is not None:
        logits = temper(logits, temperature)
    if top_k is not None:
        logits = keep_top_k(logits, top_k)
    if top_p is not None:
        logits = keep_top_p(logits, top_p)
    return logits


def causal(length: int, strict: bool = False) -> Bool[Array, "s s"]:
    """mask[query, key]: a position sees itself and those before it; only those before it if `strict`."""
    return jnp.tril(jnp.ones((length, length), bool), -1 if strict else 0)


def padding(lengths: Int[Array, " b"], length: int) -> Bool[Array, "b s"]:
    """mask[example, position]: the first `lengths` positions of each example."""
    return jnp.arange(length) < lengths[:, None]
