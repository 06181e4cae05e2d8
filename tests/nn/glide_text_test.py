"""GLIDE's text encoder: words with their positions, padding of each place, and a vector from the last place."""

import jax
import jax.numpy as jnp
import numpy as np

from genjax.nn.glide_text import GlideText
from genjax.nn.transformer import Transformer


def test_words_have_positions_places_have_padding_and_the_last_is_the_vector():
    tokens = jnp.array([[3, 1, 0], [0, 0, 0], [2, 2, 4]])
    module = GlideText(vocab_size=5, length=3, vector_dim=6, width=8, depth=1, num_heads=2)
    draw = np.random.default_rng(0)
    shapes = jax.eval_shape(module.init, jax.random.key(0), tokens)["params"]
    params = jax.tree.map(lambda leaf: draw.normal(size=leaf.shape).astype(np.float32), shapes)
    told = jax.jit(module.apply)({"params": params}, tokens)
    words = params["embed"]["embedding"][tokens] + params["positions"]
    x = jnp.asarray(np.where((np.asarray(tokens) != 0)[..., None], words, params["padding"]))
    y = np.asarray(jax.jit(Transformer(1, 8, 2).apply)({"params": params["trunk"]}, x))
    np.testing.assert_allclose(told.states, y, rtol=1e-5, atol=1e-5)
    expected = y[:, -1] @ params["vector"]["kernel"] + params["vector"]["bias"]
    np.testing.assert_allclose(told.vector, expected, rtol=1e-4, atol=1e-4)
    assert told.mask is None
