"""Likelihoods, in bits a dimension: the variational bound of a discrete chain, and the exact one of the flow.

`bits_per_dim` sums the negative bound (DDPM, arXiv:2006.11239, eq. 5), one noise draw a term:

    KL(q(x_T | x0) || N(0, I)) + sum_t KL(q(x_{t-1} | x_t, x0) || p(x_{t-1} | x_t)) - log p(x0 | x_1)

`ode_log_density` follows the probability flow (score SDE, arXiv:2011.13456, section 4.3) from clean data up
to noise. With y = x / alpha and s = sigma / alpha the flow is dy/ds = eps, so by the change of variables

    log p(x0) = log p_T(y_T) + integral of tr(d eps / d y) ds,    tr(d eps / d y) = alpha tr(d eps / d x)

It is integrated with the trapezoid rule (Heun) over log s along a grid, order 2.

Deviation: the flow starts at the grid's least noise, s > 0, taking x0 itself for y there, as is usual; the
density is then that of data blurred by that noise.
"""

import math
from typing import NamedTuple

import jax
import jax.numpy as jnp

from genjax.core.numerics import mean_flat
from genjax.diffusion import grids, process
from genjax.diffusion.denoisers import Denoiser
from genjax.diffusion.loss import normal_kl, vb_terms
from genjax.diffusion.schedules import Discrete, NoiseLevel
from genjax.typing import Array, Float, Key


class BitsPerDim(NamedTuple):
    """A variational bound and its parts, in bits a dimension, with the errors beneath it.

    Attributes:
        total: prior + the sum of vb, [b].
        prior: of x_T against N(0, 1), [b].
        vb: the terms, noisiest step first, [b, N]; the last is the decoder's.
        x0_mse: mean squared error of x0 at each step, [b, N].
        eps_mse: mean squared error of eps at each step, [b, N].
    """

    total: Float[Array, " b"]
    prior: Float[Array, " b"]
    vb: Float[Array, "b N"]
    x0_mse: Float[Array, "b N"]
    eps_mse: Float[Array, "b N"]


def bits_per_dim(
    denoise: Denoiser,
    schedule: Discrete,
    x0: Float[Array, "b ..."],
    key: Key,
    variance: str = "fixed_small",
    spec: str | int | None = None,
) -> BitsPerDim:
    """The whole negative variational bound, one `lax.scan` over the steps.

    Args:
        denoise: the denoiser; thresholded to [-1, 1] where figures are to be those of published code.
        schedule: a discrete schedule.
        x0: 8-bit data scaled to [-1, 1].
        key: one key, or one an example.
        variance: kind of the model's variance, one of `process.VARIANCES`.
        spec: a respacing, whose chain has a bound of its own; None for every step.

    Raises:
        ValueError: a continuous schedule or a bad spec.
    """
    steps = getattr(schedule, "num_steps", "continuous")
    levels = grids.respace(schedule, steps if spec is None else spec)
    floor = process.variance_floor(levels)

    def term(_, inputs):
        cur, nxt, index = inputs
        step_key = process.fold(key, index)
        eps = process.noise_like(process.fold(step_key, 0), x0)
        x_t = process.diffuse(x0, eps, cur)
        prediction = denoise(x_t, cur, process.fold(step_key, 1))
        bits = vb_terms(prediction, x0, x_t, cur, nxt, floor, variance)
        return None, (bits, mean_flat((prediction.x0 - x0) ** 2), mean_flat((prediction.eps - eps) ** 2))

    pairs = (levels.at(slice(None, -1)), levels.at(slice(1, None)), jnp.arange(levels.alpha.shape[0] - 1))
    _, (vb, x0_mse, eps_mse) = jax.lax.scan(term, None, pairs)
    prior = prior_bits(x0, levels.at(0))
    return BitsPerDim(prior + vb.sum(axis=0), prior, vb.T, x0_mse.T, eps_mse.T)


def prior_bits(x0: Float[Array, "b ..."], level: NoiseLevel) -> Float[Array, " b"]:
    """KL(q(x_t | x0) || N(0, I)) in bits a dimension: what the noisiest level still knows of x0."""
    alpha, sigma = level.expand(x0)
    return mean_flat(normal_kl(alpha * x0, 2 * jnp.log(sigma), 0.0, 0.0)) / math.log(2)


def dequantize(x0: Float[Array, "b ..."], key: Key) -> Float[Array, "b ..."]:
    """8-bit data in [-1, 1] with uniform noise over its bins, +-1/255, for densities of continuous data."""
    return x0 + jax.random.uniform(key, x0.shape, x0.dtype, -1 / 255, 1 / 255)


def ode_bits_per_dim(
    denoise: Denoiser,
    levels: NoiseLevel,
    x0: Float[Array, "b ..."],
    key: Key,
    probes: int | None = 1,
) -> Float[Array, " b"]:
    """`ode_log_density` as bits a dimension of 8-bit data: `-log2 p / dims + log2(127.5)`.

    A bin is 1 / 127.5 wide. On `dequantize`d data this bounds the discrete likelihood.
    """
    dims = x0[0].size
    return -ode_log_density(denoise, levels, x0, key, probes) / (dims * math.log(2)) + math.log2(127.5)


def ode_log_density(
    denoise: Denoiser,
    levels: NoiseLevel,
    x0: Float[Array, "b ..."],
    key: Key,
    probes: int | None = 1,
) -> Float[Array, " b"]:
    """Log density of x0 under the probability flow, in nats an example [b], up to the grid's discretisation.

    The noise at the top of the grid is taken for N(0, alpha^2 + sigma^2), as `process.sample_prior` draws it.

    Args:
        denoise: the denoiser; differentiable in x_t.
        levels: the grid, any schedule's; its clean last level isn't visited.
        x0: continuous data; see `dequantize`.
        key: one key, of the probes and the denoiser.
        probes: number of random directions (+-1) of Hutchinson's estimate of the trace, the same at all
            levels: unbiased, one Jacobian product each. None for the exact trace, one product a dimension.
    """
    directions = _directions(x0, key, probes)
    path = levels.at(slice(None, -1)).at(slice(None, None, -1))
    log_s = jnp.log(path.ratio)

    def velocity(y: Array, level: NoiseLevel) -> tuple[Array, Array]:
        """(dy / dlog s, its trace [b])."""

        def flow(y: Array) -> Array:
            return level.ratio * denoise(level.alpha * y, level, key).eps

        rate, push = jax.linearize(flow, y)
        along = jax.vmap(lambda d: jnp.sum((d * push(d)).reshape(d.shape[0], -1), axis=1))(directions)
        return rate, along.sum(axis=0) if probes is None else along.mean(axis=0)

    def step(state, inputs):
        y, gain = state
        cur, nxt, h = inputs
        rate, trace = velocity(y, cur)
        rate_end, trace_end = velocity(y + h * rate, nxt)
        return (y + h / 2 * (rate + rate_end), gain + h / 2 * (trace + trace_end)), None

    start = (x0.astype(jnp.result_type(x0, levels.alpha)), jnp.zeros(x0.shape[:1], levels.alpha.dtype))
    pairs = (path.at(slice(None, -1)), path.at(slice(1, None)), jnp.diff(log_s))
    (y, gain), _ = jax.lax.scan(step, start, pairs)
    top = path.at(-1)
    variance = 1 + jnp.square(top.ratio)
    log_prior = -0.5 * (jnp.square(y) / variance + jnp.log(2 * math.pi * variance))
    return jnp.sum(log_prior.reshape(y.shape[0], -1), axis=1) + gain


def _directions(x0: Array, key: Key, probes: int | None) -> Array:
    """Directions of the trace [n, b, ...]: the unit vectors, or random signs."""
    if probes is None:
        units = jnp.eye(x0[0].size, dtype=x0.dtype).reshape(-1, 1, *x0.shape[1:])
        return jnp.broadcast_to(units, (units.shape[0], *x0.shape))
    return jax.random.rademacher(process.fold(key, 1), (probes, *x0.shape), x0.dtype)
