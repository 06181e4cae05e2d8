"""CLIP score: how near images are to the texts that they were requested by (arXiv:2104.08718).

    score = w max(cos(z_i, z_t), 0)

with w = 2.5 in the paper, 100 in GLIDE's figures (arXiv:2112.10741, there without the maximum). Scores of one CLIP
don't compare with those of another.
"""

import numpy as np

from genjax.typing import Float

WEIGHT = 2.5


def clip_score(
    images: Float[np.ndarray, "n d"], texts: Float[np.ndarray, "n d"], weight: int | float = WEIGHT
) -> Float[np.ndarray, " n"]:
    """The score of each image with its text, in [0, weight]; the embeddings needn't be of length 1."""
    lengths = np.linalg.norm(images, axis=1) * np.linalg.norm(texts, axis=1)
    return weight * np.maximum((images * texts).sum(axis=1) / np.maximum(lengths, 1e-12), 0.0)
