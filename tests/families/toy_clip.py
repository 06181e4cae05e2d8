"""A CLIP in closed form: images whose mean pixel value of each channel is their embedding, and captions of a word."""

import jax.numpy as jnp
import numpy as np

from genjax.families.interfaces import ImageTextEncoder, TextEncoder, TextFeatures, Weights
from genjax.typing import DataSpec

LENGTH, VOCAB, DIM = 3, 5, 4
SHAPE = (4, 4, DIM)
SPEC = DataSpec(SHAPE, has_text=True, text_length=LENGTH, vocab_size=VOCAB)
TABLE = np.random.default_rng(3).normal(size=(VOCAB, DIM)).astype(np.float32)
FROZEN = {"clip": Weights({"table": jnp.asarray(TABLE)}, (), {})}


def unit(x):
    return x / jnp.linalg.norm(x, axis=-1, keepdims=True)


def encode_image(weights, images, t):
    """The colour of an image, at length 1."""
    assert t is None
    return unit(images.mean(axis=(1, 2)))


def encode(weights, tokens):
    """The table's rows, and that of the first token at length 1."""
    states = weights.params["table"][tokens]
    return TextFeatures(states, tokens != 0, unit(states[:, 0]))


TEXT = TextEncoder(encode, LENGTH, VOCAB, DIM, DIM)
CLIP = ImageTextEncoder(
    encode_image, lambda weights, tokens: encode(weights, tokens).pooled, lambda weights: jnp.ones(()), TEXT, SHAPE, DIM
)


def batch(count: int, seed: int = 0, spread: float = 0.3):
    """Images whose colour is about their caption's, and two captions in turn."""
    rng = np.random.default_rng(seed)
    word = 1 + np.arange(count) % 2
    colour = TABLE[word] + spread * rng.normal(size=(count, DIM))
    tokens = np.stack([word, np.full(count, 3), np.zeros(count)], axis=1)
    image = np.broadcast_to(colour[:, None, None], (count, *SHAPE))
    return {"image": jnp.asarray(image, jnp.float32), "tokens": jnp.asarray(tokens, jnp.int32)}
