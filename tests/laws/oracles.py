"""What the laws share: data whose denoiser is known, grids of every schedule, networks of every
parameterization."""

import functools
from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np
from scipy.stats import norm

from genjax.diffusion import denoisers, grids, parameterization, schedules
from genjax.diffusion.schedules import NoiseLevel

MEAN, VARIANCE = 0.4, 0.3
WEIGHTS, MEANS, VARIANCES = np.array([0.3, 0.7]), np.array([-1.0, 0.6]), np.array([0.04, 0.1])

SCHEDULES: dict[str, Callable] = {
    "linear_beta": lambda: schedules.linear_beta(),
    "cosine": lambda: schedules.cosine(),
    "scaled_linear": lambda: schedules.scaled_linear(),
    "from_betas": lambda: schedules.from_betas(np.linspace(1e-4, 0.03, 800)),
    "continuous_cosine": lambda: schedules.continuous_cosine(-15.0, 12.0),
    "variance_exploding": lambda: schedules.variance_exploding(0.005, 40.0),
    "edm": lambda: schedules.edm(),
    "flow": lambda: schedules.flow(t_max=0.9995),
}
PARAMETERIZATIONS = {
    "eps": parameterization.eps(),
    "x0": parameterization.x0(),
    "v": parameterization.v(),
    "flow": parameterization.flow(),
    "edm": parameterization.edm(0.5),
}


def gaussian() -> denoisers.Denoiser:
    """The exact denoiser of N(MEAN, VARIANCE)."""
    return denoisers.gaussian(MEAN, VARIANCE)


def mixture() -> denoisers.Denoiser:
    """The exact denoiser of the mixture, for data [b, 1]."""
    return denoisers.gaussian_mixture(jnp.asarray(WEIGHTS), jnp.asarray(MEANS)[:, None], jnp.asarray(VARIANCES))


def mixture_moments() -> tuple[float, float, float]:
    """Mean, variance and third central moment of the mixture."""
    mean = WEIGHTS @ MEANS
    shift = MEANS - mean
    return mean, WEIGHTS @ (VARIANCES + shift**2), WEIGHTS @ (3 * shift * VARIANCES + shift**3)


def through_network(exact: denoisers.Denoiser, parameterizer) -> denoisers.Denoiser:
    """The exact denoiser spoken through a network's output under a parameterization and back."""

    def denoise(x_t, level, key):
        scalars = parameterizer(level)

        def net(x_in, c_noise):
            x = x_in / scalars.c_in
            return (exact(x, level, key).x0 - scalars.c_skip * x) / scalars.c_out

        return denoisers.make_denoiser(net, parameterizer)(x_t, level, key)

    return denoise


def choose(index) -> parameterization.Parameterizer:
    """The parameterization of that (traced) index, so that one compilation serves them all."""

    def at(level):
        each = [make(level) for make in PARAMETERIZATIONS.values()]
        return jax.tree.map(lambda *leaves: jnp.stack(leaves)[index], *each)

    return at


@functools.cache
def all_grids(num_steps: int) -> NoiseLevel:
    """A grid of each schedule in SCHEDULES, stacked: entries [schedules, num_steps + 1]."""
    made = [grids.make(make(), num_steps) for make in SCHEDULES.values()]
    return jax.tree.map(lambda *leaves: jnp.stack(leaves), *made)


@functools.cache
def normal_points(n: int) -> np.ndarray:
    """n quantiles of N(0, 1), scaled to have mean 0 and variance 1 exactly."""
    z = norm.ppf((np.arange(n) + 0.5) / n)
    return z / z.std()


def starts(level: NoiseLevel, n: int, kind: str):
    """x_T [n, 1]: quantiles of the data's exact marginal at a level."""
    if kind == "gaussian":
        spread = jnp.sqrt(level.alpha**2 * VARIANCE + level.sigma**2)
        return (level.alpha * MEAN + spread * jnp.asarray(normal_points(n)))[:, None]
    counts = np.round(n * WEIGHTS).astype(int)
    parts = [
        level.alpha * mean + jnp.sqrt(level.alpha**2 * var + level.sigma**2) * jnp.asarray(normal_points(count))
        for mean, var, count in zip(MEANS, VARIANCES, counts)
    ]
    return jnp.concatenate(parts)[:, None]
