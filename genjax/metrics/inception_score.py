"""Inception Score of the class probabilities that a classifier reads from samples.

Salimans et al., "Improved techniques for training GANs", arXiv 1606.03498, section 4:

    IS = exp( E_x KL( p(y|x) || p(y) ) ),    p(y) = mean of p(y|x) over the samples

between 1 (the classifier says the same of all) and the number of classes (it is sure of every sample, and all
classes come equally often). The published figures take it on ten consecutive parts and report mean and
standard deviation over the parts; samples sorted by label must be shuffled before.
"""

from typing import NamedTuple

import numpy as np

from genjax.typing import Array, Float


class InceptionScore(NamedTuple):
    """Mean and (population) standard deviation of the score over the splits."""

    mean: float
    std: float


def inception_score(probabilities: Float[np.ndarray, "n k"] | Float[Array, "n k"], splits: int = 10) -> InceptionScore:
    """The score of class probabilities, arXiv 1606.03498.

    Args:
        probabilities: one distribution over the classes a row.
        splits: number of consecutive parts, equal to within one row.

    Raises:
        ValueError: more splits than rows, or none.
    """
    probabilities = np.asarray(probabilities, np.float64)
    if not 1 <= splits <= len(probabilities):
        raise ValueError(f"splits must lie in 1..{len(probabilities)} (the number of samples), not {splits}")
    scores = [_score(part) for part in np.array_split(probabilities, splits)]
    return InceptionScore(float(np.mean(scores)), float(np.std(scores)))


def _score(probabilities: Float[np.ndarray, "n k"]) -> float:
    """exp of the mutual information between sample and class, in nats; 0 log 0 is 0."""
    marginal = np.broadcast_to(probabilities.mean(axis=0), probabilities.shape)
    present = probabilities > 0
    log_ratio = np.zeros_like(probabilities)
    log_ratio[present] = np.log(probabilities[present]) - np.log(marginal[present])
    return float(np.exp((probabilities * log_ratio).sum(axis=1).mean()))
