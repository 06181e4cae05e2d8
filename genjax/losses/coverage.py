"""Mode coverage within a batch, in pixels: the cheap watch on collapse while a GAN trains.

Naeem et al., arXiv:2002.09797, section 3.2: a real example is covered if a generated one lies in the ball around it
that reaches to its k-th neighbour among the real ones,

    coverage_i = 1 if min_j |x_i - G(z_j)| <= r_k(x_i),   r_k(x_i) = distance to the k-th nearest x_j, j != i.

With as many generated as real examples, and both from one distribution, its mean is about 1 - 2^-k for many examples
(the paper's equation 9: 1 - (n-1)...(n-k) / ((2n-1)...(2n-k)) exactly, for n of each); collapse takes it to 0.

`genjax.metrics.precision_recall` measures the same in features and over whole sets: for figures use that. This one's
value depends on the batch size, so compare only at equal sizes.
"""

import jax.numpy as jnp

from genjax.typing import Array, Bool, Float, PerExample


def mode_coverage(
    real: Float[Array, "b ..."], fake: Float[Array, "m ..."], k: int = 5, present: Bool[Array, " b"] | None = None
) -> PerExample:
    """1 of each real example that is covered by generated ones, else 0 (arXiv:2002.09797).

    Args:
        real: images, or anything whose Euclidean distance means something.
        fake: generated ones, best as many.
        k: which neighbour sets the radius; the paper's 5. Of fewer examples, the farthest neighbour.
        present: which examples there are, real ones and, of as many, generated ones; None = all. What is returned for
            the others means nothing.
    """
    among, fakes = _squared_distances(real, real), _squared_distances(real, fake)
    count: Array | int = real.shape[0]
    if present is not None:
        among, fakes = (jnp.where(present, distances, jnp.inf) for distances in (among, fakes))
        count = jnp.sum(present)
    neighbour = jnp.clip(count - 1, 0, k)  # the 0-th in order is the example itself
    radii = jnp.take(jnp.sort(among, axis=1), neighbour, axis=1)
    return (jnp.min(fakes, axis=1) <= radii).astype(jnp.float32)


def _squared_distances(a: Float[Array, "n ..."], b: Float[Array, "m ..."]) -> Float[Array, "n m"]:
    """Squared Euclidean distances; a matrix product and no [n, m, pixels]."""
    a, b = a.reshape(a.shape[0], -1), b.reshape(b.shape[0], -1)
    products = jnp.matmul(a, b.T, precision="highest")
    squares = jnp.sum(a * a, axis=1)[:, None] + jnp.sum(b * b, axis=1)[None, :]
    return jnp.maximum(squares - 2 * products, 0.0)
