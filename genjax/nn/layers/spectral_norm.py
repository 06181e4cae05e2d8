"""Spectral normalisation: layers whose weight matrix has a largest singular value of about 1 (arXiv:1802.05957).

For a weight matrix W [inputs, outputs] and a stored vector u [outputs], each forward pass in training makes one step of
the power method, and divides by what it finds:

    v = W u / |W u|,    u = W^T v / |W^T v|,    sigma = v^T W u,    y = x (W / sigma) + b

(algorithm 1). u and v are constants to the gradient, sigma is not: that of W / sigma by W has no part along u and v.
The new u and sigma are kept in the collection "spectral", so that the estimate follows the weights over the steps. Out
of training the same step is made from the stored u, and nothing is kept: that is how the authors' PyTorch release of
BigGAN does it, whereas `torch.nn.utils.spectral_norm` makes none.

A kernel [h, w, c, c2] is the matrix [h w c, c2]. A table [k, d] of embeddings has its u among the k classes, as in the
release.

Deviations: u starts as ones, not as noise: it is the weights that are random. sigma is at least `eps`, so that a weight
of zeros gives zeros instead of NaN.
"""

from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp

from genjax.nn.layers.conv import conv3x3
from genjax.nn.layers.module import Module
from genjax.typing import Array, Float, Labels

COLLECTION = "spectral"

LOGICAL_AXES = [
    (r"conv_[a-z]+/kernel$", (None, None, "conv_in", "conv_out")),
    (r"(dense|skip)_?[a-z]*/kernel$", ("conv_in", "conv_out")),
    (r"embed[a-z_]*/embedding$", ("vocab", "embed")),
]


def power_step(
    matrix: Float[Array, "n k"], u: Float[Array, " k"], eps: float | int
) -> tuple[Float[Array, " k"], Float[Array, ""]]:
    """One step of the power method: (new u, sigma = v^T W u), see the module.

    Args:
        matrix: W; sigma is differentiable by it.
        u: estimate of the first right singular vector of `matrix`.
        eps: least length that is divided by.
    """
    fixed = jax.lax.stop_gradient(matrix)
    v = _unit(fixed @ u, eps)
    u = _unit(v @ fixed, eps)
    return u, v @ matrix @ u


def _unit(x: Float[Array, " k"], eps: float | int) -> Float[Array, " k"]:
    return x / jnp.maximum(jnp.linalg.norm(x), eps)


class _Spectral(Module):
    """What the layers share.

    Attributes:
        features: size of the result.
        use_bias: whether a bias is added.
        kernel_init: of the weight.
        eps: least norm that is divided by.
        dtype: of the computation; None for that of the input. The power method is always in float32.
    """

    features: int
    use_bias: bool = True
    kernel_init: Any = nn.initializers.orthogonal()
    eps: float = 1e-12

    def _normalised(self, weight: Float[Array, "... k"], train: bool) -> Float[Array, "... k"]:
        """The weight over its largest singular value; in training, u and sigma are renewed."""
        outputs = weight.shape[-1]
        u = self.variable(COLLECTION, "u", lambda: jnp.ones((outputs,), jnp.float32))
        kept = self.variable(COLLECTION, "sigma", lambda: jnp.ones((), jnp.float32))
        new_u, sigma = power_step(weight.astype(jnp.float32).reshape(-1, outputs), u.value, self.eps)
        if train and not self.is_initializing() and self.is_mutable_collection(COLLECTION):
            u.value, kept.value = new_u, jax.lax.stop_gradient(sigma)
        return weight / jnp.maximum(sigma, self.eps)

    def _with_bias(self, y: Float[Array, "... k"]) -> Float[Array, "... k"]:
        if not self.use_bias:
            return y
        bias = self.param("bias", nn.initializers.zeros_init(), (self.features,), self.param_dtype)
        return y + bias.astype(y.dtype)


class SpectralDense(_Spectral):
    """Spectrally normalised dense layer of the last axis; of images, that is a 1x1 convolution."""

    @nn.compact
    def __call__(self, x: Float[Array, "*b c"], train: bool) -> Float[Array, "*b c2"]:
        """x (W / sigma) + b; `train`: renew u."""
        kernel = self.param("kernel", self.kernel_init, (x.shape[-1], self.features), self.param_dtype)
        dtype = self.dtype or x.dtype
        return self._with_bias(x.astype(dtype) @ self._normalised(kernel, train).astype(dtype))


class SpectralConv3x3(_Spectral):
    """Spectrally normalised 3x3 convolution of stride 1, zeros around the image."""

    @nn.compact
    def __call__(self, x: Float[Array, "b h w c"], train: bool) -> Float[Array, "b h w c2"]:
        """The convolution; `train`: renew u."""
        kernel = self.param("kernel", self.kernel_init, (3, 3, x.shape[-1], self.features), self.param_dtype)
        dtype = self.dtype or x.dtype
        return self._with_bias(conv3x3(x.astype(dtype), self._normalised(kernel, train).astype(dtype)))


class SpectralEmbed(_Spectral):
    """Spectrally normalised table of one vector a class.

    Attributes:
        num_classes: rows of the table.
        others: see the module's other layers; there is no bias.
    """

    num_classes: int = 1

    @nn.compact
    def __call__(self, label: Labels, train: bool) -> Float[Array, "b d"]:
        """The vectors of the labels, NaN for a label that there isn't; `train`: renew u."""
        table = self.param("embedding", self.kernel_init, (self.num_classes, self.features), self.param_dtype)
        table = self._normalised(table.T, train).T
        return jnp.take(table, label, axis=0, mode="fill", fill_value=jnp.nan).astype(self.dtype or table.dtype)
