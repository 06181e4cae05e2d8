"""Batch normalisation with running and standing statistics, plain and conditioned on a vector.

    y = gain * (x - mean) / sqrt(var + eps) + bias,      mean, var over batch and pixels (arXiv:1502.03167)

with learned `gain` and `bias` a channel, or, in the class-conditional form (arXiv:1707.00683) that BigGAN has in its
generator (arXiv:1809.11096, section 3.1 and appendix B), linear in a condition c:

    gain = 1 + W_g c,    bias = W_b c

In BigGAN c is a class embedding and a piece of z, and the matrices are spectrally normalised. With the class as a
one-hot vector for c, and matrices as they are, W_g and W_b are tables of one gain and bias a class (SNGAN).

In training x is normalised by its own batch's statistics. Out of training, by those in the collection "batch_stats",
which a training pass moves by

    stored <- stored + momentum * (batch - stored),     the batch's variance over n - 1

With a constant momentum they are *running* averages over the steps. With momentum 1/i at the i-th pass they are the
plain average over passes made for this purpose: the *standing* statistics of BigGAN (section 4.2), which suit moving
averages of the weights, for which no training pass was ever made. Under `jax.jit` the batch is that of all devices.

Statistics are float32, from two passes over the data.
"""

import flax.linen as nn
import jax
import jax.numpy as jnp

from genjax.nn.layers.module import Module
from genjax.nn.layers.spectral_norm import SpectralDense
from genjax.typing import Array, Float

COLLECTION = "batch_stats"


class _Statistics(Module):
    """What both norms share.

    Attributes:
        eps: added to the variance.
        dtype: of the result; None for that of the input.
    """

    eps: float = 1e-5

    def _normalise(
        self,
        x: Float[Array, "b h w c"],
        gain: Float[Array, "#b c"],
        bias: Float[Array, "#b c"],
        train: bool,
        momentum: float | Float[Array, ""],
    ) -> Float[Array, "b h w c"]:
        wide = x.astype(jnp.float32)
        mean, var = self._moments(wide, train, momentum)
        slope = gain.astype(jnp.float32) * jax.lax.rsqrt(var + self.eps)
        shift = bias.astype(jnp.float32) - mean * slope
        return (wide * slope[:, None, None] + shift[:, None, None]).astype(self.dtype or x.dtype)

    def _moments(self, x: Float[Array, "b h w c"], train: bool, momentum: float | Float[Array, ""]):
        """(mean [c], variance [c]): the batch's in training, which moves the stored ones; else those stored."""
        channels, count = x.shape[-1], x.shape[0] * x.shape[1] * x.shape[2]
        stored_mean = self.variable(COLLECTION, "mean", lambda: jnp.zeros((channels,), jnp.float32))
        stored_var = self.variable(COLLECTION, "var", lambda: jnp.ones((channels,), jnp.float32))
        if not train:
            return stored_mean.value, stored_var.value
        mean, var = x.mean((0, 1, 2)), x.var((0, 1, 2))
        if not self.is_initializing() and self.is_mutable_collection(COLLECTION):
            unbiased = var * (count / max(count - 1, 1))
            for stored, value in ((stored_mean, mean), (stored_var, unbiased)):
                stored.value += momentum * (jax.lax.stop_gradient(value) - stored.value)
        return mean, var


class BatchNorm(_Statistics):
    """Batch norm with a learned gain and bias of each channel."""

    @nn.compact
    def __call__(
        self, x: Float[Array, "b h w c"], train: bool, momentum: float | Float[Array, ""] = 0.1
    ) -> Float[Array, "b h w c"]:
        """Normalise x.

        Args:
            x: features.
            train: by the batch's statistics, instead of the stored ones.
            momentum: share of the batch in the stored statistics, in training.
        """
        scale = self.param("scale", nn.initializers.ones_init(), (x.shape[-1],), self.param_dtype)
        bias = self.param("bias", nn.initializers.zeros_init(), (x.shape[-1],), self.param_dtype)
        return self._normalise(x, scale[None], bias[None], train, momentum)


class ConditionalBatchNorm(_Statistics):
    """Batch norm whose gain and bias depend on a condition of each example; see the module.

    Attributes:
        spectral: whether the matrices are spectrally normalised.
        spectral_eps: of their spectral norms.
        others: as `BatchNorm`'s.
    """

    spectral: bool = True
    spectral_eps: float = 1e-12

    @nn.compact
    def __call__(
        self,
        x: Float[Array, "b h w c"],
        condition: Float[Array, "b d"],
        train: bool,
        momentum: float | Float[Array, ""] = 0.1,
    ) -> Float[Array, "b h w c"]:
        """Normalise x, given the condition of each example; other arguments as `BatchNorm`'s."""
        fields = {"use_bias": False, "kernel_init": nn.initializers.orthogonal(), **self.dtypes}

        def linear(name):
            if not self.spectral:
                return nn.Dense(x.shape[-1], name=name, **fields)(condition)
            return SpectralDense(x.shape[-1], eps=self.spectral_eps, name=name, **fields)(condition, train)

        return self._normalise(x, 1.0 + linear("dense_gain"), linear("dense_bias"), train, momentum)
