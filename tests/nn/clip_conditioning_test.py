"""What a decoder is told of CLIP's embeddings and captions equals the formula, written out."""

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np

from genjax.conditioning.inputs import Context
from genjax.nn.clip_conditioning import CaptionStates, ClipConditioning, ClipInputs

DRAW = np.random.default_rng(0)
CONTEXT, VECTOR = (DRAW.normal(size=shape).astype(np.float32) for shape in ((2, 3, 5), (2, 6)))
EMBED = DRAW.normal(size=(2, 4)).astype(np.float32)
MASK = np.array([[True, True, False], [True, False, False]])


class Text(nn.Module):
    """Says of texts what is given for them."""

    @nn.compact
    def __call__(self, raw):
        return Context(*raw)


def drawn(module, raw):
    """Parameters of which none is left at zero."""
    shapes = jax.eval_shape(module.init, jax.random.key(0), raw)["params"]
    return jax.tree.map(lambda leaf: DRAW.normal(size=leaf.shape).astype(np.float32), shapes)


def dense(x, params):
    return x @ params["kernel"] + params["bias"]


def test_tokens_of_the_embedding_come_first_and_its_vector_is_added_to_the_texts():
    """The second example has no image: the learned vector stands for it. Tokens vary fastest in the projection."""
    raw = ClipInputs((CONTEXT, MASK, VECTOR), EMBED, np.array([True, False]))
    module = ClipConditioning(Text(), vector_dim=6, num_tokens=2)
    params = drawn(module, raw)
    told = jax.jit(module.apply)({"params": params}, raw)
    embed = 2 * np.stack([EMBED[0], params["no_image"]])
    flat = dense(embed, params["image_tokens"])
    tokens = np.stack([flat[:, 0::2], flat[:, 1::2]], axis=1)
    np.testing.assert_allclose(told.states, np.concatenate([tokens, CONTEXT], axis=1), rtol=1e-4, atol=1e-5)
    np.testing.assert_array_equal(told.mask, np.pad(MASK, ((0, 0), (2, 0)), constant_values=True))
    np.testing.assert_allclose(told.vector, dense(embed, params["image_vector"]) + VECTOR, rtol=1e-4, atol=1e-5)
    every = jax.jit(module.apply)({"params": params}, raw._replace(text=(CONTEXT, None, VECTOR)))
    assert every.mask is None


def test_captions_are_projected_then_normalised_and_their_embedding_is_brought_to_unit_entries():
    raw = jax.tree.map(jnp.asarray, (CONTEXT, MASK, EMBED))
    module = CaptionStates(width=7, vector_dim=6)
    params = drawn(module, raw)
    told = jax.jit(module.apply)({"params": params}, raw)
    x = dense(CONTEXT, params["states_proj"])
    x = (x - x.mean(-1, keepdims=True)) / np.sqrt(x.var(-1, keepdims=True) + 1e-5)
    np.testing.assert_allclose(told.states, x * params["norm"]["scale"] + params["norm"]["bias"], rtol=1e-4, atol=1e-4)
    np.testing.assert_array_equal(told.mask, MASK)
    np.testing.assert_allclose(told.vector, dense(2 * EMBED, params["text_vector"]), rtol=1e-4, atol=1e-5)
