"""Distances by which an image is guided towards another: of its blurred pixels, its style, its features, its meaning.

All are energies [b] of a batch of images in [-1, 1], less is better, and differentiable.

Style (Gatys et al., arXiv:1508.06576) is what feature maps F [h, w, c] have in common wherever they are,

    G = F^T F / (h w)                    E = mean (G - G_ref)^2 over entries, averaged over layers

Features may be those of any network. One layer of random filters of several sizes already carries texture
(Ustyuzhaninov et al., arXiv:1606.00021), so no trained network is needed for it.

CLIP guidance (the Crowson line) compares unit embeddings by the squared angle between them, of many random cutouts, and
keeps images smooth and within range.
"""

from collections.abc import Sequence

import jax
import jax.numpy as jnp

from genjax.core import images as images_lib
from genjax.typing import Array, Float, Image, Key, PerExample


def gram(features: Float[Array, "b h w c"]) -> Float[Array, "b c c"]:
    """Gram matrices of feature maps, per pixel: which channels go together, wherever it is."""
    pixels = features.shape[1] * features.shape[2]
    return jnp.einsum("bhwc,bhwd->bcd", features, features) / pixels


def style_energy(features: Sequence[Array], targets: Sequence[Array]) -> PerExample:
    """Mean squared difference of Gram matrices, averaged over layers.

    Args:
        features: feature maps [b, h, w, c] of each layer.
        targets: Gram matrices of each layer, of one image [1, c, c] or of each.
    """
    layers = [jnp.mean((gram(maps) - target) ** 2, axis=(1, 2)) for maps, target in zip(features, targets, strict=True)]
    return jnp.mean(jnp.stack(layers), axis=0)


def random_filters(key: Key, channels: int, sizes: Sequence[int] = (3, 5, 7), width: int = 64) -> list[Array]:
    """Filters [size, size, channels, width] of several sizes, each of unit norm."""
    keys = jax.random.split(key, len(sizes))
    filters = [jax.random.normal(k, (size, size, channels, width)) for k, size in zip(keys, sizes, strict=True)]
    return [kernel / jnp.linalg.norm(kernel.reshape(-1, width), axis=0) for kernel in filters]


def filter_maps(filters: Sequence[Array], images: Image) -> list[Array]:
    """max(0, filter * image) [b, h - size + 1, w - size + 1, width] of each size: the filter lies within the image."""
    dims = ("NHWC", "HWIO", "NHWC")
    return [
        jax.nn.relu(jax.lax.conv_general_dilated(images, kernel, (1, 1), "VALID", dimension_numbers=dims))
        for kernel in filters
    ]


def low_pass(images: Image, factor: int) -> Float[Array, "b h2 w2 c"]:
    """Means over blocks of factor x factor pixels: what ILVR (arXiv:2108.02938) keeps of a reference.

    Raises:
        ValueError: for a factor that doesn't divide the image.
    """
    h, w = images.shape[1:3]
    if h % factor or w % factor:
        raise ValueError(f"blocks of {factor}x{factor} pixels don't fill a {h}x{w} image; use a divisor")
    return images_lib.resize(images, (h // factor, w // factor), "area")


def squared_distance(x: Float[Array, "b ..."], y: Float[Array, "_ ..."]) -> PerExample:
    """Half the squared distance: -log of a normal density of variance 1, up to a constant. `y` is one or one each."""
    return 0.5 * jnp.sum((x - y).reshape(x.shape[0], -1) ** 2, axis=1)


def spherical_distance(x: Float[Array, "*b d"], y: Float[Array, "*c d"]) -> Float[Array, "*b"]:
    """2 asin(|x - y| / 2)^2 of the unit vectors: half the squared angle between them, in radians."""
    x, y = (v / jnp.linalg.norm(v, axis=-1, keepdims=True) for v in (x, y))
    # The gradient of a norm is NaN at 0, that of the squared half chord isn't.
    chord = jnp.clip(jnp.sum((x - y) ** 2, axis=-1) / 4, 1e-12, 1 - 1e-6)
    return 2 * jnp.arcsin(jnp.sqrt(chord)) ** 2


def total_variation(images: Image) -> PerExample:
    """Mean squared difference of neighbouring pixels, the border repeated."""
    padded = jnp.pad(images, ((0, 0), (0, 1), (0, 1), (0, 0)), mode="edge")
    across = padded[:, :-1, 1:] - images
    down = padded[:, 1:, :-1] - images
    return jnp.mean(across**2 + down**2, axis=(1, 2, 3))


def range_energy(images: Image) -> PerExample:
    """Mean squared excess over [-1, 1]."""
    return jnp.mean((images - jnp.clip(images, -1, 1)) ** 2, axis=(1, 2, 3))


def cutouts(
    key: Key, images: Image, count: int, size: int, smallest: float = 0.3, power: float = 1.0
) -> Float[Array, "n b size size c"]:
    """Random squares of images, resized, `count` of them, each at a place and of a size of its own.

    Args:
        key: of places and sizes.
        images: square images.
        count: number of cutouts.
        size: side of a cutout, in pixels, after resizing.
        smallest: side of the smallest cutout, as a share of the image's.
        power: sizes are smallest + (1 - smallest) u^power, u uniform: over 1 there are more small ones.
    """
    b, side, _, c = images.shape

    def cut(key: Key) -> Array:
        share_key, place_key = jax.random.split(key)
        share = smallest + (1 - smallest) * jax.random.uniform(share_key) ** power
        corner = jax.random.uniform(place_key, (2,)) * (1 - share) * side
        scale = size / (share * side)
        return jax.image.scale_and_translate(
            images, (b, size, size, c), (1, 2), jnp.full(2, scale), -corner * scale, "linear", antialias=True
        )

    return jax.lax.map(cut, jax.random.split(key, count))
