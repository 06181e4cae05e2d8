"""The networks of the first GAN: a ReLU generator and a maxout discriminator (Goodfellow et al., arXiv:1406.2661).

    generator      z -> 1200 -> 1200 -> pixels;  ReLU, ReLU, sigmoid
    discriminator  pixels -> maxout 240 x 5 -> maxout 240 x 5 -> logit;  dropout .2 of pixels, .5 of hidden units

    maxout         h_i = max_j (x W_ij + b_ij),  j = 1..pieces        (Goodfellow et al., arXiv:1302.4389)

with the sizes of the authors' settings for MNIST, weights from U(-.05, .05) of the generator and U(-.005, .005) of the
discriminator. Pixels are in [0, 1] inside: the sigmoid's output y leaves as 2y - 1, and images enter as (x + 1) / 2.

Deviation: the authors also bound the norm of each unit's incoming weights.
"""

import math
from collections.abc import Callable
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp

from genjax.core.numerics import largest
from genjax.nn.layers.module import Module
from genjax.typing import Array, Float, Image, Key, PerExample

LOGICAL_AXES = [
    (r"hidden_\d+/kernel$", ("embed", "mlp")),
    (r"pixels/kernel$", ("mlp", "embed")),
]


def uniform(reach: float) -> Callable[..., Array]:
    """Initialiser: U(-reach, reach)."""

    def init(key: Key, shape: tuple[int, ...], dtype: Any = jnp.float32) -> Array:
        return jax.random.uniform(key, shape, dtype, -reach, reach)

    return init


class Generator(Module):
    """z [b, d] -> images in [-1, 1].

    Attributes:
        image_shape: (height, width, channels).
        width: units of each hidden layer.
        depth: hidden layers.
        init_range: weights start within plus and minus this.
    """

    image_shape: tuple[int, int, int]
    width: int = 1200
    depth: int = 2
    init_range: float = 0.05

    @nn.compact
    def __call__(self, z: Float[Array, "b d"], train: bool = False) -> Image:
        """Draw images; `train` makes no difference."""
        settings = {"kernel_init": uniform(self.init_range), **self.dtypes}
        h = z
        for i in range(self.depth):
            h = jax.nn.relu(nn.Dense(self.width, name=f"hidden_{i}", **settings)(h))
        pixels = nn.Dense(math.prod(self.image_shape), name="pixels", **settings)(h)
        return 2 * jax.nn.sigmoid(pixels.astype(jnp.float32)).reshape(-1, *self.image_shape) - 1


class Discriminator(Module):
    """images -> logit of each.

    Attributes:
        width: units of each hidden layer.
        pieces: linear maps of which each unit is the maximum.
        depth: hidden layers.
        dropout_input: rate, of pixels.
        dropout: rate, of each hidden layer's units; random stream "dropout".
        init_range: weights start within plus and minus this.
    """

    width: int = 240
    pieces: int = 5
    depth: int = 2
    dropout_input: float = 0.2
    dropout: float = 0.5
    init_range: float = 0.005

    @nn.compact
    def __call__(self, images: Image, train: bool = False) -> PerExample:
        """The logits, float32; `train` turns dropout on."""
        settings = {"kernel_init": uniform(self.init_range), **self.dtypes}
        h = (images.reshape(images.shape[0], -1) + 1) / 2
        for i in range(self.depth):
            h = nn.Dropout(self.dropout if i else self.dropout_input, deterministic=not train)(h)
            h = nn.Dense(self.width * self.pieces, name=f"hidden_{i}", **settings)(h)
            linear = h.reshape(-1, self.width, self.pieces)
            h = largest([linear[..., piece] for piece in range(self.pieces)])
        h = nn.Dropout(self.dropout, deterministic=not train)(h)
        return nn.Dense(1, name="logit", **settings)(h)[:, 0].astype(jnp.float32)
