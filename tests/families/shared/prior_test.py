"""What both priors of unCLIP make of images and captions: sizes, what is left out, and weights that stay frozen."""

import jax
import jax.numpy as jnp
import numpy as np

from genjax.families.shared import prior as prior_lib
from tests.families import toy_clip
from tests.families.toy_clip import CLIP, FROZEN


def weighted(weights, images, t):
    """The toy's embeddings, each dimension times a number among the weights."""
    return toy_clip.unit(images.mean((1, 2)) * weights.params["table"][1])


def test_larger_images_are_brought_to_the_size_that_clip_reads():
    """Of an image in two colours the embedding is that of their mean, not of a corner."""
    colours = np.random.default_rng(0).normal(size=(2, 3, toy_clip.DIM))
    left, right = (np.broadcast_to(part[:, None, None], (3, 8, 4, toy_clip.DIM)) for part in colours)
    images = jnp.asarray(np.concatenate([left, right], axis=2), jnp.float32)
    found = prior_lib.embed_images(CLIP, FROZEN, images)
    np.testing.assert_allclose(found, toy_clip.unit(colours.mean(0)), atol=1e-5)
    cached = {"image_embed": 2.0 * found, "image": images}
    np.testing.assert_array_equal(prior_lib.read_image(CLIP, FROZEN, cached), 2.0 * found)


def test_every_pixel_of_a_larger_image_counts():
    """Not only those next to the places of the smaller one's: half of the columns, of four times as many."""
    images = jnp.asarray(np.random.default_rng(1).normal(size=(3, 16, 16, toy_clip.DIM)), jnp.float32)
    smaller = jax.image.resize(images, (3, *toy_clip.SHAPE), "bilinear")
    found = prior_lib.embed_images(CLIP, FROZEN, images)
    np.testing.assert_allclose(found, toy_clip.encode_image(None, smaller, None), atol=1e-5)


def test_empty_captions_say_nothing_and_frozen_weights_get_no_gradient():
    tokens = jnp.array([[1, 3, 0], [0, 0, 0]])
    caption = prior_lib.read_caption(CLIP, FROZEN, tokens)
    np.testing.assert_array_equal(caption.mask, [[True, True, False], [False] * 3])
    np.testing.assert_allclose(caption.embed[0], toy_clip.unit(toy_clip.TABLE[1]), rtol=1e-5)
    np.testing.assert_array_equal(caption.embed[1], 0.0)
    clip = CLIP._replace(encode_image=weighted)

    def total(frozen):
        read = prior_lib.read_caption(clip, frozen, tokens)
        image = prior_lib.read_image(clip, frozen, {"image": toy_clip.batch(2)["image"]})
        return read.states.sum() + read.embed.sum() + image.sum()

    for leaf in jax.tree.leaves(jax.grad(total)(FROZEN)):
        np.testing.assert_array_equal(leaf, 0.0)
