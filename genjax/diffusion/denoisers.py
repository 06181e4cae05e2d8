"""Denoisers: `(x_t, NoiseLevel, key) -> Prediction`, from a network or in closed form.

Everything between a network and a sampler is a denoiser or a `Guide`, a function from denoiser to denoiser,
so guidance, thresholding and editing compose in any order:

    denoise = static()(classifier_free(scale)(make_denoiser(net, eps())))

The closed forms are oracles for tests and playthings for experiments: for data N(m, v) per dimension and
x_t = alpha x0 + sigma eps,

    E[x0 | x_t] = m + v alpha / (alpha^2 v + sigma^2) * (x_t - alpha m)

and for a mixture the same per component, averaged with the components' posterior probabilities.
"""

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp

from genjax.core.numerics import expand_to
from genjax.diffusion.parameterization import Parameterizer
from genjax.diffusion.process import eps_from_x0
from genjax.diffusion.schedules import NoiseLevel
from genjax.typing import Array, Float, Key


class Prediction(NamedTuple):
    """What a denoiser knows of x_t; `x_t = alpha * x0 + sigma * eps` holds between its parts.

    Attributes:
        x0: estimate of clean data.
        eps: estimate of the noise.
        var_frac: raw fraction of a learned-range variance, `(v + 1) / 2`: 0 is beta tilde, 1 is beta. Its
            bounds depend on the step, so the sampler interprets it.
        mean_grad: a gradient of log-probability, times its scale, by whose product with the step's variance
            the ancestral sampler shifts its mean. Other samplers raise.
    """

    x0: Float[Array, "b ..."]
    eps: Float[Array, "b ..."]
    var_frac: Float[Array, "b ..."] | None = None
    mean_grad: Float[Array, "b ..."] | None = None


Denoiser = Callable[[Array, NoiseLevel, Key], Prediction]
Guide = Callable[[Denoiser], Denoiser]
Net = Callable[[Array, Array], Array]
"""(c_in * x_t [b, ...], c_noise [b]) -> output [b, ..., c], or [b, ..., 2c] with a learned variance."""


def make_denoiser(net: Net, parameterization: Parameterizer, learned_variance: bool = False) -> Denoiser:
    """The denoiser of a network under a parameterization.

    Args:
        net: the network with parameters and conditions bound; called once per denoising.
        parameterization: NoiseLevel -> Parameterization.
        learned_variance: the output has twice the channels on its last axis, the prediction and then the
            variance's v, of which `(v + 1) / 2` is the fraction of IDDPM's learned range (arXiv:2102.09672,
            eq. 15).

    Raises:
        ValueError: an output that isn't of x_t's shape (with twice its channels if the variance is learned).
    """

    def denoise(x_t: Float[Array, "b ..."], level: NoiseLevel, key: Key) -> Prediction:
        return apply_net(net, parameterization, learned_variance, x_t, level)[1]

    return denoise


def apply_net(
    net: Net,
    parameterization: Parameterizer,
    learned_variance: bool,
    x_t: Float[Array, "b ..."],
    level: NoiseLevel,
) -> tuple[Float[Array, "b ..."], Prediction]:
    """The network's own output (without variance channels) beside the prediction: losses want both."""
    scalars = parameterization(level)
    c_noise = jnp.broadcast_to(scalars.c_noise, x_t.shape[:1])
    c_skip, c_out, c_in = (expand_to(scalar, x_t).astype(x_t.dtype) for scalar in scalars[:3])
    output = net(c_in * x_t, c_noise).astype(x_t.dtype)
    output, var_frac = _split(output, x_t, learned_variance)
    alpha, sigma = (scalar.astype(x_t.dtype) for scalar in level.expand(x_t))
    # eps from the output rather than from x0: for an eps network this is exact, without a division by small
    # sigma.
    eps = ((1 - alpha * c_skip) * x_t - alpha * c_out * output) / sigma
    return output, Prediction(c_skip * x_t + c_out * output, eps, var_frac)


def _split(output: Array, x_t: Array, learned_variance: bool) -> tuple[Array, Array | None]:
    channels = x_t.shape[-1]
    expected = (*x_t.shape[:-1], 2 * channels if learned_variance else channels)
    if output.shape != expected:
        raise ValueError(
            f"the network gave {output.shape} for data {x_t.shape}; with learned_variance={learned_variance} "
            f"it must give {expected}"
        )
    if not learned_variance:
        return output, None
    return output[..., :channels], (output[..., channels:] + 1) / 2


def replace_x0(
    prediction: Prediction, x0: Float[Array, "b ..."], x_t: Float[Array, "b ..."], level: NoiseLevel
) -> Prediction:
    """The prediction with another x0 and eps re-derived from it; variance and gradient stay."""
    return prediction._replace(x0=x0, eps=eps_from_x0(x_t, x0, level))


def gaussian(mean: Float[Array, "..."] | float, variance: Float[Array, "..."] | float) -> Denoiser:
    """The exact denoiser of data N(mean, variance), independent dimensions.

    Args:
        mean: broadcasts against x_t.
        variance: broadcasts against x_t; 0 is a point.
    """

    def denoise(x_t: Float[Array, "b ..."], level: NoiseLevel, key: Key) -> Prediction:
        alpha, sigma = level.expand(x_t)
        total = alpha**2 * variance + sigma**2
        residual = x_t - alpha * mean
        return Prediction(mean + variance * alpha / total * residual, sigma / total * residual)

    return denoise


def gaussian_mixture(
    weights: Float[Array, " k"], means: Float[Array, "k ..."], variances: Float[Array, " k"]
) -> Denoiser:
    """The exact denoiser of a mixture of isotropic Gaussians.

    Args:
        weights: probabilities of the k components.
        means: their means, each of the shape of one example.
        variances: their variances, the same in each dimension.
    """

    def denoise(x_t: Float[Array, "b ..."], level: NoiseLevel, key: Key) -> Prediction:
        x = x_t[:, None]
        alpha, sigma = level.expand(x)
        spread = expand_to(variances, means)[None]
        total = alpha**2 * spread + sigma**2
        residual = x - alpha * means[None]
        dims = tuple(range(2, x.ndim))
        log_density = -0.5 * jnp.sum(residual**2 / total + jnp.log(total), axis=dims)
        chance = jax.nn.softmax(jnp.log(weights)[None] + log_density, axis=1)
        chance = expand_to(chance, x)
        x0 = jnp.sum(chance * (means[None] + spread * alpha / total * residual), axis=1)
        return Prediction(x0, jnp.sum(chance * sigma / total * residual, axis=1))

    return denoise
