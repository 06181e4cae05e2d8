"""Conditioning inputs of a denoising network: a class label, a low-resolution image, an image known in part, a context.

For classifier-free guidance (arXiv:2207.12598) a share of them is dropped in training: replaced by the null class, or
by grey.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp

from genjax.core.numerics import expand_to
from genjax.typing import Array, Bool, Float, Image, Key, Labels, PerExample, PyTree


class Context(NamedTuple):
    """What a text, or an embedding, becomes for a network; None = nothing of the kind.

    Attributes:
        states: features of each token, which attention looks at beside the image's own.
        mask: true at tokens that attention sees; None = all of them.
        vector: of the example as a whole, to be added to the embedding of time.
    """

    states: Float[Array, "b s d"] | None = None
    mask: Bool[Array, "b s"] | None = None
    vector: Float[Array, "b d2"] | None = None


class Cond(NamedTuple):
    """The conditioning inputs of each example; None = no such input.

    Attributes:
        label: its class.
        low_res: its low-resolution image, upsampled to the size of x_t.
        aug_level: s, of the noise on the low-resolution image.
        known: what is known of x0, and the mask that says where [b, h, w, c + 1].
        context: a `Context`; before it is encoded, what it is to be made of, a tree of arrays [b, ...].
    """

    label: Labels | None = None
    low_res: Image | None = None
    aug_level: PerExample | None = None
    known: Image | None = None
    context: PyTree = None


def drop(
    cond: Cond,
    chance: PerExample | float,
    null_label: int,
    label_dropout: float,
    low_res_dropout: float = 0.0,
) -> Cond:
    """The null class where `chance` is less than the labels' dropout, grey for a low-resolution image where less than
    its own.

    With equal shares both are dropped together, as guidance needs it; chance 0 drops all that is ever dropped.
    """
    label, low_res = cond.label, cond.low_res
    if label is not None:
        label = jnp.where(chance < label_dropout, null_label, label)
    if low_res is not None:
        low_res = jnp.where(expand_to(chance, low_res) < low_res_dropout, 0.0, low_res)
    return cond._replace(label=label, low_res=low_res)


def drop_share(raw: PyTree, null_raw: PyTree, share: float, key: Key) -> PyTree:
    """Trees of arrays [b, ...], of which a random share of the examples is taken from the second: of a label the null
    class, of a text the empty one.
    """
    dropped = jax.random.bernoulli(key, share, jax.tree.leaves(raw)[0].shape[:1])
    return jax.tree.map(lambda one, none: jnp.where(expand_to(dropped, one), none, one), raw, null_raw)
