"""A vector as a sequence of codes, so that an autoregressive model can draw it: unCLIP's prior (arXiv:2204.06125, 2.2).

CLIP embeddings fill few of their dimensions. With V the leading eigenvectors of their covariance, in the order of
falling eigenvalues, lambda, and m their mean, the code of dimension k of z is the bucket in which

    c_k = V_k^T (z - m) / (span sqrt(lambda_k))

falls, of `num_codes` even ones over [-1, 1]; beyond are the outermost. Back, a code is the middle of its bucket.

`Buckets` cuts a number in the same way, and keeps count: the dot product of the embeddings of an image and of its
caption, on which the prior is conditioned. Sampling requests one of the upper half of those that training saw.

Deviation: the paper doesn't say how its buckets are cut; here evenly, over `span` standard deviations to either side.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp

from genjax.core.arguments import ArgumentError, arg
from genjax.core.moments import Moments
from genjax.typing import Array, Float, Int, PerExample

Codes = Int[Array, "b n"]


class Axes(NamedTuple):
    """The axes along which vectors are cut into codes.

    Attributes:
        mean: m.
        basis: V, a column each.
        std: sqrt(lambda), of the vectors along each axis.
    """

    mean: Float[Array, " d"]
    basis: Float[Array, "d n"]
    std: Float[Array, " n"]


def unfitted(dim: int, num_axes: int) -> Axes:
    """The first dimensions as they are: in place of axes that are to be fitted.

    Raises:
        ValueError: for more axes than dimensions.
    """
    if not 1 <= num_axes <= dim:
        raise ArgumentError(f"embeddings of {dim} dimensions have no {num_axes} principal axes; set {arg('num_axes')}")
    return Axes(jnp.zeros((dim,)), jnp.eye(dim)[:, :num_axes], jnp.ones((num_axes,)))


def fit(moments: Moments, num_axes: int) -> Axes:
    """The principal axes of vectors, those of the greatest variance first."""
    values, vectors = jnp.linalg.eigh(moments.covariance)
    order = jnp.argsort(-values)[:num_axes]
    return Axes(moments.mean, vectors[:, order], jnp.sqrt(jnp.maximum(values[order], 1e-12)))


def encode(axes: Axes, vectors: Float[Array, "b d"], num_codes: int, span: float) -> Codes:
    """The codes of vectors, 0..num_codes - 1, the axis of the greatest variance first.

    Args:
        axes: see `fit`.
        vectors: what to encode.
        num_codes: buckets of an axis.
        span: standard deviations to either side over which they are spread.
    """
    along = (vectors - axes.mean) @ axes.basis / axes.std
    return bucket(along / span, num_codes)


def decode(axes: Axes, codes: Codes, num_codes: int, span: float) -> Float[Array, "b d"]:
    """The vectors that codes stand for."""
    return axes.mean + (span * middle(codes, num_codes) * axes.std) @ axes.basis.T


def bucket(values: Float[Array, "*b"], count: int) -> Int[Array, "*b"]:
    """Which of `count` even buckets over [-1, 1] each value is in; the outermost are open."""
    return jnp.clip(jnp.floor((values + 1) / 2 * count), 0, count - 1).astype(jnp.int32)


def middle(codes: Int[Array, "*b"], count: int) -> Float[Array, "*b"]:
    """The middle of each bucket."""
    return (codes + 0.5) / count * 2 - 1


class Buckets(NamedTuple):
    """How many values fell in each of the buckets over [-1, 1]: those seen so far."""

    counts: Float[Array, " k"]

    def add(self, values: PerExample) -> "Buckets":
        """With these values counted too."""
        count = self.counts.shape[0]
        return Buckets(self.counts + jnp.bincount(bucket(values, count), length=count))

    def upper_half(self) -> Float[Array, " k"]:
        """Chance of each bucket among the upper half of the values; even ones where none was seen."""
        total = jnp.sum(self.counts)
        counts = jnp.where(total > 0, self.counts, 1)
        above = jnp.cumsum(counts[::-1])[::-1] / jnp.sum(counts)
        # Of a bucket with the share p and what is above it, only so much lies in the upper half.
        share = counts / jnp.sum(counts)
        return 2 * jnp.clip(0.5 - (above - share), 0, share)


def no_buckets(count: int) -> Buckets:
    """`count` buckets with nothing in them."""
    return Buckets(jnp.zeros((count,)))


def draw_upper_half(keys: Array, buckets: Buckets) -> Int[Array, " b"]:
    """A bucket for each key, drawn from the upper half of the values."""
    logits = jnp.log(buckets.upper_half())
    return jax.vmap(lambda key: jax.random.categorical(key, logits))(keys).astype(jnp.int32)
