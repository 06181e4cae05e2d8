"""Embeddings of time and of class labels, as the U-Nets of diffusion take them: one vector an example.

The sinusoids of a time t are those of the Transformer (arXiv:1706.03762, section 3.5) with two layouts in
use:

    DDPM   [sin(t w_i), cos(t w_i)],   w_i = 10000^(-i / (half - 1))
    ADM    [cos(t w_i), sin(t w_i)],   w_i = 10000^(-i / half)

for i = 0 .. half - 1. Both take t in steps of the schedule, 0 .. T - 1; weights trained with one layout are
useless with the other.
"""

import math
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np

from genjax.typing import Array, Float, Int

LOGICAL_AXES = [
    (r"dense_in/kernel$", ("embed", "mlp")),
    (r"dense_out/kernel$", ("mlp", "embed")),
    (r"label_embed/embedding$", ("vocab", "embed")),
]

VARIANTS = ("ddpm", "adm")


def sinusoids(t: Float[Array, " b"], dim: int, variant: str = "adm") -> Float[Array, "b dim"]:
    """Sines and cosines of t at geometrically spaced frequencies, from 1 to about 1/10000 radians a step.

    Args:
        t: time, in the schedule's own unit (steps).
        dim: even number of features.
        variant: "ddpm" or "adm", see the module.

    Raises:
        ValueError: for an odd or too small `dim`, or an unknown variant.
    """
    if variant not in VARIANTS:
        raise ValueError(f"unknown variant {variant!r} of the time embedding; known: {', '.join(VARIANTS)}")
    if dim < 4 or dim % 2:
        raise ValueError(f"the time embedding needs an even width of at least 4, got {dim}")
    half = dim // 2
    span = half - 1 if variant == "ddpm" else half
    frequencies = np.exp(-math.log(10_000) * np.arange(half) / span)
    t = t.astype(jnp.promote_types(t.dtype, jnp.float32))
    angles = t[:, None] * jnp.asarray(frequencies, t.dtype)
    waves = (jnp.sin(angles), jnp.cos(angles)) if variant == "ddpm" else (jnp.cos(angles), jnp.sin(angles))
    return jnp.concatenate(waves, axis=-1)


class TimeEmbedding(nn.Module):
    """Sinusoids of t, then Dense - SiLU - Dense. Computed in float32 whatever the network's dtype.

    Attributes:
        dim: features of the sinusoids.
        out_dim: features of the result, and of the layer between.
        variant: "ddpm" or "adm".
        kernel_init: of both layers.
        param_dtype: of the parameters.
    """

    dim: int
    out_dim: int
    variant: str = "adm"
    kernel_init: Any = nn.initializers.lecun_normal()
    param_dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, t: Float[Array, " b"]) -> Float[Array, "b d"]:
        """Embed the times t, in the schedule's own unit."""
        settings = {"kernel_init": self.kernel_init, "param_dtype": self.param_dtype}
        x = sinusoids(t, self.dim, self.variant)
        x = nn.Dense(self.out_dim, name="dense_in", **settings)(x)
        return nn.Dense(self.out_dim, name="dense_out", **settings)(jax.nn.silu(x))


class LabelEmbedding(nn.Module):
    """A table of one vector a class, and one more for "no class" if requested (arXiv:2207.12598).

    Attributes:
        num_classes: classes 0 .. num_classes - 1.
        dim: features of the result.
        null_class: whether label `num_classes` is the null class.
        param_dtype: of the table.
        embedding_init: of the table.
    """

    num_classes: int
    dim: int
    null_class: bool = False
    param_dtype: Any = jnp.float32
    embedding_init: Any = nn.initializers.normal(1.0)

    @nn.compact
    def __call__(self, label: Int[Array, " b"]) -> Float[Array, "b d"]:
        """The rows of the labels; a label outside the table gives NaN, so that a mistake shows."""
        rows = self.num_classes + int(self.null_class)
        table = self.param("embedding", self.embedding_init, (rows, self.dim), self.param_dtype)
        return jnp.take(table, label, axis=0, mode="fill", fill_value=jnp.nan)
