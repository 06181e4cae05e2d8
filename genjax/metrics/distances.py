"""Pairwise Euclidean distances in memory of bounded size, for neighbours in features or pixels.

`|a - b|^2 = |a|^2 + |b|^2 - 2 a.b` turns the work into matrix products. In float64 it is exact for whole
numbers such as pixels in [0, 255]. For features the cancellation leaves a residue of the order of `1e-16
(|a|^2 + |b|^2)` where `a = b`; what lies below `ROUNDING` of that sum is set to zero, so that copies are at
distance zero.
"""

from collections.abc import Iterator

import numpy as np

from genjax.typing import Float

ROUNDING = 1e-13
"""Squared distances below this share of `|a|^2 + |b|^2` are rounding error: relative distances below 3e-7."""

CHUNK = 2048
"""Rows of a distance matrix held at once."""


def squared_distances(a: Float[np.ndarray, "n d"], b: Float[np.ndarray, "m d"]) -> Float[np.ndarray, "n m"]:
    """All squared distances between the rows of `a` and `b`, float64."""
    a, b = np.asarray(a, np.float64), np.asarray(b, np.float64)
    norms = np.square(a).sum(axis=1)[:, None] + np.square(b).sum(axis=1)[None, :]
    distances = norms - 2.0 * (a @ b.T)
    return np.where(distances <= ROUNDING * norms, 0.0, distances)


def row_blocks(
    a: Float[np.ndarray, "n d"], b: Float[np.ndarray, "m d"], chunk: int = CHUNK
) -> Iterator[tuple[slice, Float[np.ndarray, "c m"]]]:
    """`squared_distances(a, b)` in blocks of at most `chunk` rows of `a`, each with the rows it covers."""
    b = np.asarray(b, np.float64)
    for start in range(0, len(a), chunk):
        rows = slice(start, min(start + chunk, len(a)))
        yield rows, squared_distances(a[rows], b)


def nearest_distances(
    queries: Float[np.ndarray, "n d"], points: Float[np.ndarray, "m d"], chunk: int = CHUNK
) -> Float[np.ndarray, " n"]:
    """Distance of every query to its nearest point."""
    blocks = [block.min(axis=1) for _, block in row_blocks(queries, points, chunk)]
    return np.sqrt(np.concatenate(blocks))


def neighbour_radii(points: Float[np.ndarray, "n d"], k: int, chunk: int = CHUNK) -> Float[np.ndarray, " n"]:
    """Squared distance of every point to its `k`-th nearest other point.

    Raises:
        ValueError: if there aren't more than `k` points.
    """
    if not 1 <= k < len(points):
        raise ValueError(f"the {k}-th neighbour needs more than {k} points, not {len(points)}; give more")
    radii = np.empty(len(points))
    for rows, block in row_blocks(points, points, chunk):
        own = np.arange(rows.start, rows.stop)
        block[own - rows.start, own] = -1.0  # itself comes first, also among copies
        radii[rows] = np.partition(block, k, axis=1)[:, k]
    return radii
