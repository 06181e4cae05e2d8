"""Precision and recall, density and coverage by k nearest neighbours.

A set of features stands for a manifold: the union of the balls around its points that reach to the k-th
neighbour within the set (Kynkäänniemi et al., "Improved precision and recall metric for assessing generative
models", arXiv 1904.06991, eq. 1-3, k = 3):

    precision = share of generated features inside the real manifold       (do samples look real?)
    recall    = share of real features inside the generated manifold       (is everything that is real made?)

Naeem et al., "Reliable fidelity and diversity metrics for generative models", arXiv 2002.09797, keep to the
real balls only, which outliers among the samples cannot inflate:

    density  = mean over generated features of (number of real balls that hold it) / k          (1 for real
data)
    coverage = share of real balls that hold at least one generated feature

A ball contains its boundary. Counts change all four: compare only at equal counts.
"""

from typing import NamedTuple

import numpy as np

from genjax.metrics.distances import CHUNK, neighbour_radii, row_blocks
from genjax.typing import Array, Float


class PrecisionRecall(NamedTuple):
    """Fidelity (precision, density) and diversity (recall, coverage); density alone may exceed 1."""

    precision: float
    recall: float
    density: float
    coverage: float


def precision_recall(
    real: Float[np.ndarray, "n d"] | Float[Array, "n d"],
    generated: Float[np.ndarray, "m d"] | Float[Array, "m d"],
    k: int = 3,
    chunk: int = CHUNK,
) -> PrecisionRecall:
    """Precision and recall (arXiv 1904.06991), density and coverage (arXiv 2002.09797) of generated features.

    Args:
        real: features of real images.
        generated: features of samples.
        k: which neighbour sets the radius of a ball.
        chunk: rows of a distance matrix held at once: memory is `chunk * max(n, m)` float64.

    Raises:
        ValueError: if either set hasn't more than `k` features.
    """
    real, generated = np.asarray(real, np.float64), np.asarray(generated, np.float64)
    real_radii, generated_radii = neighbour_radii(real, k, chunk), neighbour_radii(generated, k, chunk)
    inside, recalled, covered = np.zeros(len(generated), int), 0, 0
    for rows, distances in row_blocks(real, generated, chunk):
        in_real_ball = distances <= real_radii[rows, None]
        inside += in_real_ball.sum(axis=0)
        covered += int(in_real_ball.any(axis=1).sum())
        recalled += int((distances <= generated_radii[None, :]).any(axis=1).sum())
    return PrecisionRecall(
        precision=float((inside > 0).mean()),
        recall=recalled / len(real),
        density=float(inside.mean() / k),
        coverage=covered / len(real),
    )
