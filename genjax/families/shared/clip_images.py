"""The embeddings that a trained CLIP gives images."""

import jax.numpy as jnp

from genjax.core import images as images_lib
from genjax.families.interfaces import ImageTextEncoder, Weights
from genjax.typing import Array, Float


def embed(clip: ImageTextEncoder, weights: Weights, images: Float[Array, "b h w c"]) -> Float[Array, "b d"]:
    """Embeddings of clean images of any size, of length 1.

    They are brought to the size that the CLIP reads; one of noisy images sees them at the least time of its schedule.
    """
    if images.shape[1:3] != tuple(clip.image_shape[:2]):
        images = images_lib.resize(images, clip.image_shape[:2], "bilinear", antialias=True)
    t = None if clip.schedule is None else jnp.full(len(images), clip.schedule.t_min)
    return clip.encode_image(weights, images, t)
