"""Likelihoods, in bits a dimension: the variational bound of a discrete chain, and the exact one of the flow.

`bits_per_dim` sums the negative bound (DDPM, arXiv:2006.11239, eq. 5), one noise draw a term:

    KL(q(x_T | x0) || N(0, I)) + sum_t KL(q(x_{t-1} | x_t, x0) || p(x_{t-1} | x_t)) - log p(x0 | x_1)

`ode_log_density` follows the probability flow (score SDE, arXiv:2011.13456, section 4.3) from clean data up
to noise. In the angle a = atan(sigma / alpha) and u = x / sqrt(alpha^2 + sigma^2) = cos(a) x0 + sin(a) eps
the flow is

    du / da = cos(a) eps - sin(a) x0 = w

which stays bounded from clean data (a = 0) to pure noise (a = pi / 2) and vanishes for data N(0, 1).
By the change of variables, with u = cos(a_0) x0 at the start,

    log p(x0) = log N(u_T; 0, 1) + integral of tr(dw / du) da + dims * log cos(a_0)

integrated with Heun's rule along a grid, order 2.

Deviation: the flow starts at the grid's least noise, sigma > 0, taking x0 for x / alpha there, as is usual;
the density is then that of data blurred by that noise.
"""

import math
from typing import NamedTuple

import jax
import jax.numpy as jnp

from genjax.core.numerics import mean_flat
from genjax.diffusion import grids, process
from genjax.diffusion.denoisers import Denoiser
from genjax.diffusion.loss import normal_kl, vb_terms
from genjax.diffusion.schedules import NoiseLevel, Schedule
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
    schedule: Schedule,
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


def ode_bits_per_dim(
    denoise: Denoiser,
    levels: NoiseLevel,
    x0: Float[Array, "b ..."],
    key: Key,
    probes: int | None = 1,
) -> Float[Array, " b"]:
    """`ode_log_density` as bits a dimension of 8-bit data: `-log2 p / dims + log2(127.5)`.

    A bin is 1 / 127.5 wide. On data with noise over its bins (`genjax.core.images.dequantize`) this bounds the discrete
    likelihood.
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
        x0: continuous data; of 8-bit images see `genjax.core.images.dequantize`.
        key: one key, of the probes and the denoiser.
        probes: number of random directions (+-1) of Hutchinson's estimate of the trace, the same at all
            levels: unbiased, one Jacobian product each. None for the exact trace, one product a dimension.
    """
    directions = _directions(x0, key, probes)
    path = levels.at(slice(None, -1)).at(slice(None, None, -1))
    angles = jnp.arctan2(path.sigma, path.alpha)

    def velocity(u: Array, level: NoiseLevel, angle: Array) -> tuple[Array, Array]:
        """(du / dangle, its trace [b])."""

        def flow(u: Array) -> Array:
            prediction = denoise(jnp.hypot(level.alpha, level.sigma) * u, level, key)
            return jnp.cos(angle) * prediction.eps - jnp.sin(angle) * prediction.x0

        rate, push = jax.linearize(flow, u)
        along = jax.vmap(lambda d: jnp.sum((d * push(d)).reshape(d.shape[0], -1), axis=1))(directions)
        return rate, along.sum(axis=0) if probes is None else along.mean(axis=0)

    def step(state, inputs):
        u, gain = state
        cur, nxt, angle, end = inputs
        rate, trace = velocity(u, cur, angle)
        rate_end, trace_end = velocity(u + (end - angle) * rate, nxt, end)
        half = (end - angle) / 2
        return (u + half * (rate + rate_end), gain + half * (trace + trace_end)), None

    shrink = jnp.cos(angles[0])
    start = (shrink * x0.astype(angles.dtype), jnp.full(x0.shape[:1], x0[0].size * jnp.log(shrink)))
    pairs = (path.at(slice(None, -1)), path.at(slice(1, None)), angles[:-1], angles[1:])
    (u, gain), _ = jax.lax.scan(step, start, pairs)
    log_prior = -0.5 * (jnp.square(u) + math.log(2 * math.pi))
    return jnp.sum(log_prior.reshape(u.shape[0], -1), axis=1) + gain


def _directions(x0: Array, key: Key, probes: int | None) -> Array:
    """Directions of the trace [n, b, ...]: the unit vectors, or random signs."""
    if probes is None:
        units = jnp.eye(x0[0].size, dtype=x0.dtype).reshape(-1, 1, *x0.shape[1:])
        return jnp.broadcast_to(units, (units.shape[0], *x0.shape))
    return jax.random.rademacher(process.fold(key, 1), (probes, *x0.shape), x0.dtype)
