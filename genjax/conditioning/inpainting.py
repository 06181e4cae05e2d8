"""Inpainting: random masks to train with, and the channels in which a network sees what is known (GLIDE,
arXiv:2112.10741).

Beside x_t the network sees [x0 m, m] with a mask m of 0 or 1, 1 = known (section 2.5). In training the unknown region
is drawn at random.

Deviation: GLIDE says "random regions"; here they are rectangles, and for a share of the examples the whole image.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp

from genjax.core import rng
from genjax.core.arguments import ArgumentError, arg
from genjax.typing import Array, Float, Image, Key


class Inpaint(NamedTuple):
    """What is erased in training.

    Attributes:
        min_side, max_side: between which height and width of the rectangle are drawn, in those of the image.
        everything: share of the examples of which nothing is known, so that the model goes on to draw whole images.
    """

    min_side: float = 0.2
    max_side: float = 0.8
    everything: float = 0.25


def check_inpaint(settings: Inpaint) -> None:
    """Refuses settings that aren't possible.

    Raises:
        ValueError: for sides or a share outside [0, 1], or a least side above the greatest.
    """
    if not 0 < settings.min_side <= settings.max_side <= 1:
        raise ArgumentError(
            f"{arg('min_side')}={settings.min_side} and max_side={settings.max_side} must be in (0, 1], in this order"
        )
    if not 0 <= settings.everything <= 1:
        raise ArgumentError(f"{arg('everything')}={settings.everything} must be in [0, 1]")


def random_mask(settings: Inpaint, images: Image, key: Key) -> Float[Array, "b h w 1"]:
    """Masks to train with: 0 in a rectangle of each image, or, in a share of them, everywhere; 1 elsewhere."""
    count, *size, _ = images.shape
    sides = jax.random.uniform(rng.stream(key, "sides"), (count, 2), minval=settings.min_side, maxval=settings.max_side)
    corners = jax.random.uniform(rng.stream(key, "corners"), (count, 2)) * (1 - sides)
    within = []
    for axis, length in enumerate(size):
        centers = (jnp.arange(length) + 0.5) / length
        low, high = corners[:, axis, None], (corners + sides)[:, axis, None]
        within.append((low <= centers) & (centers < high))
    hole = within[0][:, :, None] & within[1][:, None, :]
    whole = jax.random.bernoulli(rng.stream(key, "everything"), settings.everything, (count, 1, 1))
    return 1.0 - (hole | whole)[..., None].astype(images.dtype)


def known_channels(known: Image, mask: Float[Array, "b h w 1"]) -> Float[Array, "b h w c2"]:
    """[known * mask, mask]: what an inpainting model sees beside x_t."""
    return jnp.concatenate([known * mask, jnp.broadcast_to(mask, (*known.shape[:3], 1))], axis=-1)


def nothing_known(images: Image) -> Float[Array, "b h w c2"]:
    """Those channels of images of which nothing is known: zeros."""
    return jnp.zeros((*images.shape[:3], images.shape[3] + 1))


def widen_input(kernel: Float[Array, "k k2 c d"], channels: int, pixels: int = 1) -> Float[Array, "k k2 c2 d"]:
    """The first convolution's kernel of a model that is to learn to inpaint: zeros for [known, mask], after x_t.

    Args:
        kernel: of the model as it is, whose input is x_t and perhaps a low-resolution image.
        channels: of an image.
        pixels: of a patch, where the network takes patches for pixels: its inputs are those of each pixel in turn.
    """
    *size, inputs, outputs = kernel.shape
    kernel = kernel.reshape(*size, pixels, inputs // pixels, outputs)
    zeros = jnp.zeros((*size, pixels, channels + 1, outputs), kernel.dtype)
    wide = jnp.concatenate([kernel[..., :channels, :], zeros, kernel[..., channels:, :]], axis=-2)
    return wide.reshape(*size, -1, outputs)
