"""Novelty: are samples as far from the training images as unseen real images are?

    novelty = median over samples of the distance to the nearest training image
            / median over held-out images of the distance to the nearest training image

1 means as new as real data, 0 that at least half the samples are copies. Well above 1 they are off the data:
noise is novel too, so read it beside precision. The distance is Euclidean on pixels, which any model is
measured by alike; it sees exact and nearly exact copies, not a memorised image that was shifted.
"""

import numpy as np

from genjax.metrics.distances import CHUNK, nearest_distances
from genjax.typing import UInt8


def novelty(
    samples: UInt8[np.ndarray, "n h w c"],
    train: UInt8[np.ndarray, "m h w c"],
    held_out: UInt8[np.ndarray, "r h w c"],
    chunk: int = CHUNK,
) -> float:
    """Median distance of samples to their nearest training image over that of held-out images.

    Args:
        samples, train, held_out: uint8 images of one shape.
        chunk: rows of the distance matrix held at once.

    Raises:
        ValueError: if more than half the held-out images are copies of training images.
    """
    flat = [np.asarray(images, np.float64).reshape(len(images), -1) for images in (samples, train, held_out)]
    scale = np.median(nearest_distances(flat[2], flat[1], chunk))
    if scale == 0:
        raise ValueError("over half the held-out images are copies of training images: split the data anew")
    return float(np.median(nearest_distances(flat[0], flat[1], chunk)) / scale)
