"""Guidance by the style of an image: Gram matrices of random filters (arXiv:1508.06576, arXiv:1606.00021).

    --guide=style:IMAGE:SCALE      E = mean (G(x0) - G(image))^2, averaged over filters of three sizes

The filters are drawn once and for all, so the same image means the same style for every model. Deviation from
Gatys et al.: no VGG; one layer of random filters of several sizes carries texture without being trained.
"""

import jax

from genjax.losses import perceptual
from genjax.pipelines.guides import energies, registry
from genjax.pipelines.named_files import Named
from genjax.stages import Stage
from genjax.typing import Image, PerExample, PyTree

SIZES = (3, 5, 7)
WIDTH = 64


def make(path: str, scale: float, stage: Stage) -> registry.Guide:
    """The guide by an image file.

    Raises:
        ValueError: if it is no image, or the stage can't be guided.
    """
    registry.expect_guidable(stage)
    return energies.make(energy, target(energies.read_image(path, stage)), scale, stage)


def named(path: str, scale: float) -> Named:
    """The image's file."""
    return Named(images=(path,))


def target(image: Image) -> PyTree:
    """The filters, and the Gram matrices of an image [1, h, w, c] under them: the first argument of `energy`."""
    sizes = [size for size in SIZES if size <= min(image.shape[1:3])]
    filters = perceptual.random_filters(jax.random.key(0), image.shape[-1], sizes, WIDTH)
    return filters, [perceptual.gram(maps) for maps in perceptual.filter_maps(filters, image)]


def energy(arrays: PyTree, images: Image) -> PerExample:
    """Squared distance of Gram matrices [b] from the reference's."""
    filters, grams = arrays
    return perceptual.style_energy(perceptual.filter_maps(filters, images), grams)
