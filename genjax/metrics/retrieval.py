"""How well images and captions find each other: the right one ranked first among many (recall at 1, zero-shot).

Each image is given its own caption among `candidates` captions of other words, drawn by chance from those of the
other images, and is right when its own is the nearest; the same the other way round. A tie is no success.

Different words may say the same, and a caption that says less is true of many images: of drawn scenes with one
object, about one question in twenty has another true caption beside the right one, so a perfect reader stays a little
below 1.
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from genjax.typing import Float

CANDIDATES = 100


class Retrieval(NamedTuple):
    """Shares in [0, 1].

    Attributes:
        caption: of images whose own caption is the nearest of the candidates.
        image: of captions whose own image is the nearest of as many.
    """

    caption: float
    image: float


def retrieval(
    images: Float[np.ndarray, "n d"],
    texts: Float[np.ndarray, "n d"],
    captions: Sequence[str],
    candidates: int = CANDIDATES,
    seed: int = 0,
) -> Retrieval:
    """Shares of right answers among `candidates`.

    Args:
        images, texts: embeddings; row i of both is a pair.
        captions: the words of each text: candidates beside the right one are of other words, each once.
        candidates: the right one counted.
        seed: of the draw of candidates.

    Raises:
        ValueError: for fewer different captions than candidates.
    """
    first_of = {caption: row for row, caption in reversed(list(enumerate(captions)))}
    distinct = np.array(list(first_of.values()))
    if len(distinct) < candidates:
        raise ValueError(f"{len(distinct)} different captions are fewer than {candidates} candidates; ask among fewer")
    scores = images.astype(np.float64) @ texts.astype(np.float64).T
    rng = np.random.default_rng(seed)
    right = np.zeros((2, len(captions)), bool)
    for row, caption in enumerate(captions):
        others = rng.choice(distinct[distinct != first_of[caption]], candidates - 1, replace=False)
        right[0, row] = scores[row, row] > scores[row, others].max()
        right[1, row] = scores[row, row] > scores[others, row].max()
    return Retrieval(*(float(share) for share in right.mean(axis=1)))
