"""Mean and covariance of vectors that come batch by batch.

With n vectors seen, their mean m and their scatter S = sum (x - m)(x - m)^T, a batch of k with mean m' and scatter S'
makes of them (Chan, Golub and LeVeque 1983)

    m <- m + k / (n + k) (m' - m),     S <- S + S' + n k / (n + k) (m' - m)(m' - m)^T

without the cancellation of sums of squares. The result doesn't depend on how the vectors were cut into batches.
"""

from typing import NamedTuple

import jax.numpy as jnp

from genjax.typing import Array, Float


class Moments(NamedTuple):
    """What is known of the vectors seen so far.

    Attributes:
        count: how many they were.
        mean: their mean.
        scatter: sum of the products of their deviations from it.
    """

    count: Float[Array, ""]  # type: ignore[assignment]  # tuple.count
    mean: Float[Array, " d"]
    scatter: Float[Array, "d d"]

    @property
    def covariance(self) -> Float[Array, "d d"]:
        """Covariance of the vectors themselves, divided by their number."""
        return self.scatter / jnp.maximum(self.count, 1)

    @property
    def std(self) -> Float[Array, " d"]:
        """Standard deviation in each dimension."""
        return jnp.sqrt(jnp.diagonal(self.covariance))


def empty(dim: int) -> Moments:
    """No vectors of `dim` dimensions."""
    return Moments(jnp.zeros(()), jnp.zeros((dim,)), jnp.zeros((dim, dim)))


def update(moments: Moments, vectors: Float[Array, "b d"]) -> Moments:
    """The moments with a batch of vectors added."""
    size = vectors.shape[0]
    mean = jnp.mean(vectors, axis=0)
    centred = vectors - mean
    total = moments.count + size
    shift = mean - moments.mean
    between = moments.count * size / total * jnp.outer(shift, shift)
    return Moments(total, moments.mean + size / total * shift, moments.scatter + centred.T @ centred + between)
