"""Fréchet distance between the Gaussians of two sets of features (FID when the features are Inception's).

For feature means `m` and covariances `C` of two sets (Heusel et al., "GANs trained by a two time-scale update
rule converge to a local Nash equilibrium", arXiv 1706.08500, eq. 6):

    d^2 = |m1 - m2|^2 + tr(C1) + tr(C2) - 2 tr((C1 C2)^(1/2))

`C1 C2` isn't symmetric, and a general matrix square root of it needs complex Schur forms and leaves an
imaginary residue. With the symmetric root `S = C1^(1/2)` (one `eigh`), `C1 C2` is similar to `S C2 S`, which
is symmetric and positive semi-definite, so the trace of the root is the sum of the roots of its eigenvalues
(a second `eigh`). It is exact for singular covariances as well: no `eps` on the diagonal is needed.

Statistics are float64 throughout, and covariances divide by `n - 1` (`np.cov`).

The distance is biased upwards by small counts: two finite samples of one distribution are some way apart.
Never compare distances across counts or across feature nets.
"""

from typing import NamedTuple

import numpy as np

from genjax.typing import Array, Float

Features = Float[np.ndarray, "n d"] | Float[Array, "n d"]


class GaussianStatistics(NamedTuple):
    """Sufficient statistics of a Gaussian.

    Attributes:
        count: features seen.
        mean: their mean.
        scatter: the sum of the outer products of the centred features, `(count - 1) * covariance`.
    """

    count: int  # type: ignore[assignment]  # tuple.count
    mean: Float[np.ndarray, " d"]
    scatter: Float[np.ndarray, "d d"]


def gaussian_statistics(features: Features) -> GaussianStatistics:
    """Statistics of a set of features [n, d] with n >= 1."""
    features = np.asarray(features, np.float64)
    mean = features.mean(axis=0)
    centred = features - mean
    return GaussianStatistics(len(features), mean, centred.T @ centred)


def covariance(statistics: GaussianStatistics) -> Float[np.ndarray, "d d"]:
    """The unbiased covariance, `scatter / (count - 1)`.

    Raises:
        ValueError: for fewer than two features.
    """
    if statistics.count < 2:
        raise ValueError(f"a covariance needs at least 2 features, not {statistics.count}; give more images")
    return statistics.scatter / (statistics.count - 1)


def frechet_distance(
    mean1: Float[np.ndarray, " d"],
    cov1: Float[np.ndarray, "d d"],
    mean2: Float[np.ndarray, " d"],
    cov2: Float[np.ndarray, "d d"],
) -> float:
    """Squared Fréchet (2-Wasserstein) distance of two Gaussians, in squared units of the features.

    arXiv 1706.08500, eq. 6, by the symmetric form above. Symmetric in the two, 0 for equal ones,
    invariant to a common rotation.
    """
    values, vectors = np.linalg.eigh(np.asarray(cov1, np.float64))
    root = (vectors * np.sqrt(np.maximum(values, 0.0))) @ vectors.T
    product = root @ np.asarray(cov2, np.float64) @ root
    eigenvalues = np.linalg.eigvalsh((product + product.T) / 2)
    cross = np.sqrt(np.maximum(eigenvalues, 0.0)).sum()
    gap = np.asarray(mean1, np.float64) - np.asarray(mean2, np.float64)
    return float(max(gap @ gap + np.trace(cov1) + np.trace(cov2) - 2.0 * cross, 0.0))


def frechet_between(a: GaussianStatistics, b: GaussianStatistics) -> float:
    """`frechet_distance` of two sets.

    Raises:
        ValueError: if either holds fewer than two features.
    """
    return frechet_distance(a.mean, covariance(a), b.mean, covariance(b))


def frechet_from_features(a: Features, b: Float[np.ndarray, "m d"] | Float[Array, "m d"]) -> float:
    """`frechet_distance` of two sets of features [n, d] and [m, d]; at least two of each."""
    return frechet_between(gaussian_statistics(a), gaussian_statistics(b))
