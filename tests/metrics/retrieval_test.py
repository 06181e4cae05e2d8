"""Retrieval and CLIP score of embeddings whose answers are known."""

import numpy as np
import pytest

from genjax.metrics.clip_score import clip_score
from genjax.metrics.retrieval import retrieval


def unit(x):
    return x / np.linalg.norm(x, axis=1, keepdims=True)


def test_shares_of_right_answers():
    images = unit(np.random.default_rng(0).normal(size=(200, 32)))
    captions = [f"caption {i}" for i in range(200)]
    assert retrieval(images, images, captions) == (1.0, 1.0)
    texts = images.copy()
    texts[:50] = -images[:50]
    found = retrieval(images, texts, captions, candidates=10)
    assert found.caption == pytest.approx(0.75) and found.image == pytest.approx(0.75)
    chance = retrieval(images, unit(np.random.default_rng(1).normal(size=(200, 32))), captions, candidates=4, seed=1)
    assert abs(chance.caption - 0.25) < 0.1 and abs(chance.image - 0.25) < 0.1


def test_which_share_is_of_images_and_which_of_captions():
    """One caption is near every image: each image but one takes it, and each caption finds its own image."""
    texts = 2.0 * np.eye(5)
    texts[4] = 3.0
    images = np.eye(5)
    captions = [f"caption {i}" for i in range(5)]
    found = retrieval(images, texts, captions, candidates=5)
    assert found.caption == pytest.approx(1 / 5) and found.image == pytest.approx(4 / 5)


def test_candidates_have_other_words():
    """Images of one caption don't compete for it: all that say "a" are alike."""
    images = np.repeat(np.eye(4), [6, 1, 1, 1], axis=0)
    captions = ["a"] * 6 + ["b", "c", "d"]
    assert retrieval(images, images, captions, candidates=4) == (1.0, 1.0)
    with pytest.raises(ValueError, match="4 different captions are fewer than 5 candidates"):
        retrieval(images, images, captions, candidates=5)
    assert retrieval(0 * images, images, captions, candidates=2).caption == 0.0, "a tie is no success"


def test_clip_score_is_a_clipped_cosine():
    images = np.array([[3.0, 4.0], [1.0, 0.0], [0.0, 0.0]])
    texts = np.array([[6.0, 8.0], [-2.0, 0.0], [1.0, 0.0]])
    np.testing.assert_allclose(clip_score(images, texts), [2.5, 0.0, 0.0])
    np.testing.assert_allclose(clip_score(images, texts, weight=100)[0], 100.0)
