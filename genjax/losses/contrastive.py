"""The symmetric contrastive loss of pairs (InfoNCE, arXiv:1807.03748; of images and texts: CLIP, arXiv:2103.00020).

Of b pairs of unit vectors x_i, y_i, each of either kind is to be recognised as the other half of its pair among all b,

    logits_ij = scale * <x_i, y_j>
    loss_i    = -1/2 (log softmax_j(logits_ij)[i] + log softmax_j(logits_ji)[i])            in nats; log b by guessing

The optimum is a ratio: scale <x, y> = log p(x | y) / p(x) up to a constant of the batch, so that a caption which says
more of the image scores higher than a true one which says less.

The batch is the global one: under `jit` on many devices the products are of all examples with all, and XLA gathers
them. Pieces of a batch would be another loss, each a contest of its own: microbatches are refused.

The scale is learned by its logarithm and held below a bound, CLIP's 100. CLIP cuts the parameter back after each step;
here the loss sees min(log scale, bound) and the gradient above the bound only ever points down (`bounded`), which is
the same without a step outside the loss.
"""

from functools import partial
from typing import Any

import jax
import jax.numpy as jnp

from genjax.typing import Array, Bool, Float, PerExample


def info_nce(
    x: Float[Array, "b d"],
    y: Float[Array, "b d"],
    scale: Float[Array, ""] | float,
    present: Bool[Array, " b"] | None = None,
) -> tuple[PerExample, PerExample]:
    """(loss of each pair in nats, share of its two questions that it answers right: 0, 1/2 or 1).

    Args:
        x, y: unit vectors of either kind; row i of both is a pair.
        scale: what products are multiplied by, the inverse temperature.
        present: which pairs are requested among; None = all. What is returned for the others means nothing.
    """
    wide = jnp.promote_types(x.dtype, jnp.float32)
    logits = jnp.asarray(scale, wide) * jnp.einsum("id,jd->ij", x, y, preferred_element_type=wide)
    if present is not None:
        # As if the others weren't there: neither rows nor columns of theirs are negatives.
        logits = jnp.where(present[:, None] & present, logits, jnp.finfo(wide).min)
    own = jnp.arange(x.shape[0])
    loss: Any = 0.0
    right: Any = 0.0
    for requested in (logits, logits.T):
        loss = loss - 0.5 * jnp.diagonal(jax.nn.log_softmax(requested, axis=-1))
        right = right + 0.5 * (jnp.argmax(requested, axis=-1) == own)
    return loss, right


def normalize(x: Float[Array, "*b d"]) -> Float[Array, "*b d"]:
    """x at length 1, in float32 at least; its gradient is finite at 0 too, which stays 0."""
    x = x.astype(jnp.promote_types(x.dtype, jnp.float32))
    return x * jax.lax.rsqrt(jnp.sum(jnp.square(x), axis=-1, keepdims=True) + 1e-12)


@partial(jax.custom_vjp, nondiff_argnums=(1,))
def bounded(x: Float[Array, ""], bound: float) -> Float[Array, ""]:
    """min(x, bound). Above the bound a descent by its gradient can lower x, and never raise it further."""
    return jnp.minimum(x, bound)


def _bounded_forward(x, bound):
    return jnp.minimum(x, bound), x


def _bounded_backward(bound, x, gradient):
    return (jnp.where((x <= bound) | (gradient > 0), gradient, 0.0),)


bounded.defvjp(_bounded_forward, _bounded_backward)
