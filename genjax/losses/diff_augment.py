"""Differentiable augmentation of what a discriminator sees (DiffAugment, Zhao et al., arXiv:2006.10738).

With little data a discriminator learns the training images by heart. Augmenting the real ones alone teaches the
generator the augmentation; here a random, differentiable T acts on both, in both players' losses (equations 5 and 6):

    L_D = E f_D(-D(T(x))) + E f_D(D(T(G(z)))),        L_G = E f_G(-D(T(G(z))))

and the generator's gradient passes through T. A policy names the parts, applied in this order, of each image with
random numbers of its own (u ~ U(0, 1), fill is the value of what is not there):

    color        x + (u - 1/2);   x_c + (2u - 1)(x_c - mean over channels);   x + (u - 1/2)(x - mean)
    translation  by whole pixels, up to an eighth of the size each way
    cutout       a square of half the size is blanked

that is brightness, saturation by 0..2 (which leaves images of one channel alone) and contrast by 1/2..3/2.
A translation is a product with two shift matrices instead of a gather: fast on accelerators, forwards and backwards.

Deviation: the paper fills with 0, which is grey; `fill=-1` is black, right for images on a black ground.
"""

from collections.abc import Callable

import jax
import jax.numpy as jnp

from genjax.core import rng
from genjax.core.numerics import expand_to
from genjax.typing import Array, Bool, Float, Image, Key

Augment = Callable[[Image, Key], Image]
"""(images, key) -> images, of each with random numbers of its own; differentiable."""

POLICIES = ("color", "translation", "cutout")


def make(
    policy: str = "",
    translation: float = 0.125,
    cutout: float = 0.5,
    fill: float | int = 0.0,
) -> Augment:
    """The augmentation of a policy; the empty one leaves images as they are.

    Args:
        policy: "color,translation,cutout" or some of these.
        translation: the farthest, as a share of height and width.
        cutout: size of the square, as a share of height and width.
        fill: value of the pixels that come in at the border or are cut out, in [-1, 1].

    Raises:
        ValueError: for an unknown part of the policy.
    """
    parts = [part.strip() for part in policy.split(",") if part.strip()]
    unknown = sorted(set(parts) - set(POLICIES))
    if unknown:
        raise ValueError(
            f"unknown augmentation {unknown[0]!r} in policy {policy!r}; its parts are {', '.join(POLICIES)}"
        )
    functions = {
        "color": color,
        "translation": lambda images, key: translate(images, key, translation, fill),
        "cutout": lambda images, key: cut_out(images, key, cutout, fill),
    }

    def augment(images: Image, key: Key) -> Image:
        for name in POLICIES:
            if name in parts:
                images = functions[name](images, rng.stream(key, name))
        return images

    return augment


def color(images: Image, key: Key) -> Image:
    """Random brightness, saturation and contrast of each image."""
    brightness, saturation, contrast = jax.random.uniform(key, (3, images.shape[0]), images.dtype)
    images = images + expand_to(brightness - 0.5, images)
    grey = jnp.mean(images, axis=-1, keepdims=True)
    images = grey + expand_to(2 * saturation, images) * (images - grey)
    mean = jnp.mean(images, axis=(1, 2, 3), keepdims=True)
    return mean + expand_to(contrast + 0.5, images) * (images - mean)


def translate(images: Image, key: Key, share: float, fill: float | int = 0.0) -> Image:
    """Each image moved by whole pixels, up to `share` of its size each way; `fill` comes in at the border."""
    height, width = images.shape[1:3]
    keys = jax.random.split(key)
    down = _shift(keys[0], images.shape[0], height, share).astype(images.dtype)
    right = _shift(keys[1], images.shape[0], width, share).astype(images.dtype)
    moved = jnp.einsum("bij,bjwc->biwc", down, images - fill, precision="highest")
    return jnp.einsum("bij,bhjc->bhic", right, moved, precision="highest") + fill


def _shift(key: Key, count: int, size: int, share: float) -> Float[Array, "b s s"]:
    """A matrix for each example that moves a column of `size` pixels by up to `share` of it."""
    reach = int(size * share + 0.5)
    steps = jax.random.randint(key, (count, 1, 1), -reach, reach + 1)
    to, origin = jnp.arange(size)[:, None], jnp.arange(size)[None, :]
    return (to - origin == steps).astype(jnp.float32)


def cut_out(images: Image, key: Key, share: float, fill: float | int = 0.0) -> Image:
    """A square of `share` of each image's size blanked, around any of its pixels: at the border a part of it."""
    keys = jax.random.split(key)
    rows = _covered(keys[0], images.shape[0], images.shape[1], share)
    columns = _covered(keys[1], images.shape[0], images.shape[2], share)
    hidden = (rows[:, :, None] & columns[:, None, :])[..., None]
    return jnp.where(hidden, fill, images)


def _covered(key: Key, count: int, size: int, share: float) -> Bool[Array, "b s"]:
    """Which of `size` pixels lie in a stretch of `share` of them, around one drawn for each example."""
    length = int(size * share + 0.5)
    centre = jax.random.randint(key, (count, 1), 0, size + (1 - length % 2))
    start = centre - length // 2
    place = jnp.arange(size)[None, :]
    return (place >= start) & (place < start + length)
