"""Group normalisation and SiLU as one function, with statistics from one pass over the data.

Group norm (arXiv:1803.08494) of x [b, h, w, c], followed by a per-channel affine map and, nearly always in
the U-Nets of diffusion, by SiLU(z) = z * sigmoid(z):

    xhat = (x - mean_g) * rstd_g,    z = gain * xhat + shift,    y = SiLU(z)   (or y = z)

with mean and variance over the pixels and the channels of a group g, and `gain`, `shift` of shape [b, c]: so
the adaptive norm of ADM, `norm(h) * (1 + scale) + shift`, is the same function with gains that depend on the
example.

**One pass.** E[x^2] - E[x]^2 loses all digits where |mean| >> std. Here the sums are taken per channel around
a centre k_c (the mean of the first row of that channel), of which the result is independent in exact
arithmetic:

    m_c = k_c + sum(x - k_c) / n,        M_c = sum((x - k_c)^2) - n (m_c - k_c)^2
    mean_g = avg(m_c),                   var_g = avg(M_c / n + (m_c - mean_g)^2)

(the pairwise update of Chan, Golub & LeVeque, 1979), and the error grows with (m_c - k_c)^2 / var_c, at most
the number of rows, instead of (mean / std)^2.

**Own derivative.** With the slope gain_c * rstd_g and z' = SiLU'(z), the tangent is

    dy = z' (slope_c dx + u_c + w_c xhat),
    u_c = dshift_c - slope_c avg_g(dx),    w_c = dgain_c - slope_c avg_g(xhat dx)

whose transpose, which JAX takes of it, needs the sums over pixels S_c = sum(dz) and T_c = sum(dz * xhat), dz = dy z':
they are the gradients of shift and gain, and give

    dx = rstd_g * (gain_c * dz - A_g - B_g * xhat),
    A_g = avg_c(gain_c * S_c) / n,    B_g = avg_c(gain_c * T_c) / n

so the backward pass too reads its data once for sums and once for dx, and keeps nothing but x and the small vectors:
xhat and z' are made anew (`jax.checkpoint`). Automatic differentiation would keep them both.

Statistics are float32 at least, whatever the dtype of x. Proved equal to `flax.linen.GroupNorm` and to its
gradients in float64 by `tests/nn/layers/norm_test.py`.
"""

import functools

import flax.linen as nn
import jax
import jax.numpy as jnp

from genjax.nn.layers.checks import expect_groups
from genjax.nn.layers.module import Module
from genjax.typing import Array, Float

LOGICAL_AXES = [
    (r"norm[^/]*/(scale|bias)$", ("conv_out",)),
]


@functools.partial(jax.custom_jvp, nondiff_argnums=(3, 4, 5))
def group_norm(
    x: Float[Array, "b h w c"],
    gain: Float[Array, "b c"],
    shift: Float[Array, "b c"],
    num_groups: int,
    eps: float,
    silu: bool,
) -> Float[Array, "b h w c"]:
    """`gain * normalised(x) + shift`, then SiLU if `silu`; see the module for the equations.

    Differentiable forward and in reverse, to any order.

    Args:
        x: features, in any floating dtype; the result has the same.
        gain, shift: of each example and channel.
        num_groups: divides the channels.
        eps: added to the variance.
        silu: whether SiLU follows.
    """
    return _forward(x, gain, shift, num_groups, eps, silu)[0]


def _statistics_dtype(x: Array) -> jnp.dtype:
    return jnp.promote_types(x.dtype, jnp.float32)


def _per_group(values: Float[Array, "b c"], num_groups: int) -> Float[Array, "b c"]:
    """The mean over each group's channels, repeated for each of them."""
    batch, channels = values.shape
    means = values.reshape(batch, num_groups, channels // num_groups).mean(-1, keepdims=True)
    return jnp.broadcast_to(means, (batch, num_groups, channels // num_groups)).reshape(batch, channels)


def _moments(x: Float[Array, "b h w c"], num_groups: int) -> tuple[Float[Array, "b c"], Float[Array, "b c"]]:
    """Mean and variance of each example's groups, repeated for each channel."""
    x = x.astype(_statistics_dtype(x))
    pixels = x.shape[1] * x.shape[2]
    centre = x[:, 0].mean(1)
    offset = x - centre[:, None, None]
    delta = offset.sum((1, 2)) / pixels
    channel_var = jnp.square(offset).sum((1, 2)) / pixels - jnp.square(delta)
    channel_mean = centre + delta
    mean = _per_group(channel_mean, num_groups)
    var = _per_group(channel_var + jnp.square(channel_mean - mean), num_groups)
    return mean, jnp.maximum(var, 0)


def _forward(x, gain, shift, num_groups, eps, silu):
    mean, var = _moments(x, num_groups)
    rstd = jax.lax.rsqrt(var + eps)
    dtype = _statistics_dtype(x)
    slope = gain.astype(dtype) * rstd
    z = (x.astype(dtype) - mean[:, None, None]) * slope[:, None, None] + shift.astype(dtype)[:, None, None]
    y = jax.nn.silu(z) if silu else z
    return y.astype(x.dtype), mean, rstd


@group_norm.defjvp
def _derivative(num_groups, eps, silu, primals, tangents):
    x, gain, shift = primals
    y, mean, rstd = _forward(x, gain, shift, num_groups, eps, silu)
    tangent = jax.checkpoint(functools.partial(_tangent, num_groups, silu), prevent_cse=False)
    return y, tangent((x, gain, shift, mean, rstd), tangents)


def _tangent(num_groups, silu, kept, tangents):
    """The derivative along `tangents`, in which it is linear: each is read by a sum over pixels and once more."""
    x, gain, shift, mean, rstd = kept
    dtype = _statistics_dtype(x)
    dx, dgain, dshift = (tangent.astype(dtype) for tangent in tangents)
    pixels = x.shape[1] * x.shape[2]
    wide_gain = gain.astype(dtype)
    slope = rstd * wide_gain
    xhat = (x.astype(dtype) - mean[:, None, None]) * rstd[:, None, None]
    constant = dshift - slope * _per_group(dx.sum((1, 2)), num_groups) / pixels
    linear = dgain - slope * _per_group((dx * xhat).sum((1, 2)), num_groups) / pixels
    dz = slope[:, None, None] * dx + constant[:, None, None] + linear[:, None, None] * xhat
    if silu:
        z = wide_gain[:, None, None] * xhat + shift.astype(dtype)[:, None, None]
        gate = jax.nn.sigmoid(z)
        dz = dz * (gate * (1 + z * (1 - gate)))
    return dz.astype(x.dtype)


class GroupNorm(Module):
    """Group normalisation with learned gain and shift, optionally modulated by example and followed by SiLU.

    Attributes:
        num_groups: divides the channels.
        eps: added to the variance: 1e-6 in DDPM (TensorFlow's and Flax's default), 1e-5 in ADM (PyTorch's).
        silu: whether SiLU follows.
        dtype: of the result; None for that of the input.
    """

    num_groups: int = 32
    eps: float = 1e-5
    silu: bool = False

    @nn.compact
    def __call__(
        self,
        x: Float[Array, "b *s c"],
        modulation: tuple[Float[Array, "b c"], Float[Array, "b c"]] | None = None,
    ) -> Float[Array, "b *s c"]:
        """Normalise x, of any number of spatial dimensions.

        Args:
            x: features.
            modulation: (scale, shift) of each example: `norm(x) * (1 + scale) + shift`, the adaptive group
                norm of arXiv:2105.05233, equation 1 in its section 3.1.

        Raises:
            ValueError: if the groups don't divide the channels.
        """
        channels = x.shape[-1]
        expect_groups(channels, self.num_groups)
        scale = self.param("scale", nn.initializers.ones_init(), (channels,), self.param_dtype)
        bias = self.param("bias", nn.initializers.zeros_init(), (channels,), self.param_dtype)
        shape = (x.shape[0], channels)
        gain, shift = jnp.broadcast_to(scale, shape), jnp.broadcast_to(bias, shape)
        if modulation is not None:
            gain, shift = gain * (1 + modulation[0]), shift * (1 + modulation[0]) + modulation[1]
        if self.dtype is not None:
            x = x.astype(self.dtype)
        pixels = x.reshape(x.shape[0], *(x.shape[1:-1] if x.ndim == 4 else (1, -1)), channels)
        return group_norm(pixels, gain, shift, self.num_groups, self.eps, self.silu).reshape(x.shape)
