"""Multilayer perceptrons as coders between images and vectors (Kingma & Welling, arXiv:1312.6114, appendix C).

    h = act(W h + b) for each hidden layer, then a linear layer

The paper's networks for MNIST have one hidden layer of 500 units, tanh, in encoder and decoder. Without hidden layers
the coders are linear: those of probabilistic PCA.

What the vector means (a code, a posterior's mean and log-variance) and what the image's channels mean (a mean,
logits) is for families to say.

Deviation: LeCun-normal initialization, where the paper draws from N(0, .01).
"""

from collections.abc import Callable, Sequence

import flax.linen as nn
import jax
import jax.numpy as jnp

from genjax.nn.layers.module import Module
from genjax.typing import Array, Float

LOGICAL_AXES = [
    (r"hidden_\d+/kernel$", ("embed", "mlp")),
    (r"dense_out/kernel$", ("mlp", "embed")),
]

ACTIVATIONS: dict[str, Callable] = {"tanh": jnp.tanh, "relu": jax.nn.relu, "silu": jax.nn.silu}


class MLP(Module):
    """Vector -> vector; see the module.

    Attributes:
        out_dim: of the result.
        hidden: units of each hidden layer; () for a linear map.
        activation: "tanh", "relu" or "silu".
    """

    out_dim: int
    hidden: Sequence[int] = (500,)
    activation: str = "tanh"

    @nn.compact
    def __call__(self, x: Float[Array, "b d"]) -> Float[Array, "b d2"]:
        """Apply the layers.

        Raises:
            ValueError: for an unknown activation.
        """
        if self.activation not in ACTIVATIONS:
            raise ValueError(f"unknown activation {self.activation!r} of an MLP; known: {', '.join(ACTIVATIONS)}")
        for layer, units in enumerate(self.hidden):
            x = ACTIVATIONS[self.activation](nn.Dense(units, name=f"hidden_{layer}", **self.dtypes)(x))
        return nn.Dense(self.out_dim, name="dense_out", **self.dtypes)(x)


class MLPEncoder(Module):
    """Image -> vector.

    Attributes:
        out_dim: of the vector.
        hidden, activation, dtype, param_dtype: as of `MLP`.
    """

    out_dim: int
    hidden: Sequence[int] = (500,)
    activation: str = "tanh"

    @nn.compact
    def __call__(self, x: Float[Array, "b h w c"]) -> Float[Array, "b d"]:
        """Encode images."""
        mlp = MLP(self.out_dim, self.hidden, self.activation, **self.dtypes, name="mlp")
        return mlp(x.reshape(x.shape[0], -1))


class MLPDecoder(Module):
    """Vector -> image.

    Attributes:
        image_shape: (height, width, channels) of the result.
        hidden, activation, dtype, param_dtype: as of `MLP`.
    """

    image_shape: tuple[int, int, int]
    hidden: Sequence[int] = (500,)
    activation: str = "tanh"

    @nn.compact
    def __call__(self, z: Float[Array, "b d"]) -> Float[Array, "b h w c"]:
        """Decode vectors."""
        height, width, channels = self.image_shape
        mlp = MLP(height * width * channels, self.hidden, self.activation, **self.dtypes, name="mlp")
        return mlp(z).reshape(z.shape[0], *self.image_shape)
