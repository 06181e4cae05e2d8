"""Shape aliases and the notation legend: the only place that defines them.

Notation, used in every shape annotation of the project:

    b        batch            h, w, c   height, width, channels (images are NHWC)
    n        count            t         time or timestep
    d        feature width    k         classes, codes or neighbours, as the function says
    s        sequence length

Images are float32 in [-1, 1] inside the project and uint8 in [0, 255] only at its edges.

Symbols of diffusion: `x0` clean data, `eps` standard normal noise, `x_t = alpha * x0 + sigma * eps`,
`v = alpha * eps - sigma * x0`, `logsnr = 2 * log(alpha / sigma)`.
"""

from collections.abc import Mapping
from typing import Any, NamedTuple

import jax
import numpy as np
from jaxtyping import Array, Bool, Float, Int, PyTree, Shaped, UInt8

Key = jax.Array
"""A jax PRNG key (`jax.random.key`)."""

Params = PyTree
"""A pytree of parameters, as Flax Linen makes them: nested dicts of arrays."""

Batch = Mapping[str, Any]
"""What the loader yields: `image` float32 [b, h, w, c] in [-1, 1]; `label` int32 [b] and `tokens` int32 [b, s] of a
caption where there are such, ..."""

Image = Float[Array, "b h w c"]
ImageUint8 = UInt8[np.ndarray, "n h w c"]
Labels = Int[Array, " b"]
PerExample = Float[Array, " b"]
Tokens = Int[Array, "b s"]
"""Texts as numbers of a vocabulary; 0 is padding, at the end."""

__all__ = [
    "Array",
    "Batch",
    "Bool",
    "DataSpec",
    "Float",
    "Image",
    "ImageUint8",
    "Int",
    "Key",
    "Labels",
    "Params",
    "PerExample",
    "PyTree",
    "Shaped",
    "Tokens",
    "UInt8",
]


class DataSpec(NamedTuple):
    """What a network has to know of a dataset: shapes and classes, no images.

    Attributes:
        image_shape: (height, width, channels) of one image as the loader yields it.
        num_classes: number of classes, 0 for unlabelled data.
        class_names: their names, in the order of the labels.
        num_examples: images in the training split, 0 where unknown.
        has_text: whether examples carry captions.
        text_length: tokens of a caption in a batch, 0 where captions aren't tokenized.
        vocab_size: tokens are 0..vocab_size-1.
        fingerprint: one line a split that changes with its images and captions, see `genjax.data.identity`; empty
            where unknown.
    """

    image_shape: tuple[int, int, int]
    num_classes: int = 0
    class_names: tuple[str, ...] = ()
    num_examples: int = 0
    has_text: bool = False
    text_length: int = 0
    vocab_size: int = 0
    fingerprint: tuple[str, ...] = ()
