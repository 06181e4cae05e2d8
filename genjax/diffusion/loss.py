"""Training losses, one number an example; families reduce them.

`denoising_loss` is `w(level) * mean |x0_hat - x0|^2`, computed on the network's output as
`w c_out^2 * mean (net - target)^2`: equal, and accurate where alpha or sigma is small. With the eps
parameterization and the `simple` weighting it is DDPM's L_simple.

`hybrid_loss` adds IDDPM's variational term (arXiv:2102.09672, eq. 16) that trains a learned-range variance:
the bound's term of the drawn t alone, in bits a dimension, with the mean detached and x0 unclipped.

    T steps, lambda = .001 on the sum over t:  lambda * T * vb = T / 1000 * vb

`vb_weight` is that factor: 1 (ADM; the same at T = 1000) or T / 1000 (IDDPM's "rescaled" loss: 4 at 4000
steps).

`variational_loss` is that term alone, trained through mean and variance: L_vlb, an estimate of the whole bound when
multiplied by T. IDDPM draws t by `time_samplers.loss_aware` for it, for its noise is great.
"""

import math
from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from genjax.core.arguments import ArgumentError, arg
from genjax.core.numerics import expand_to, mean_flat, safe_log
from genjax.diffusion import process
from genjax.diffusion.denoisers import Net, Prediction, apply_net
from genjax.diffusion.parameterization import Parameterizer, target
from genjax.diffusion.schedules import Discrete, NoiseLevel, Scalar, Schedule
from genjax.diffusion.weighting import Weighting
from genjax.typing import Array, Float, Key


class Losses(NamedTuple):
    """The loss of each example, and of a hybrid loss its parts, each [b].

    Attributes:
        loss: what is minimised; simple + vb_weight * vb of a hybrid loss.
        simple: the weighted squared error.
        vb: the bound's term of the drawn t, in bits a dimension.
    """

    loss: Float[Array, " b"]
    simple: Float[Array, " b"] | None = None
    vb: Float[Array, " b"] | None = None

    @property
    def parts(self) -> dict[str, Array]:
        """The parts that there are, by name."""
        return {name: part for name, part in self._asdict().items() if name != "loss" and part is not None}


def denoising_loss(
    net: Net,
    parameterization: Parameterizer,
    weighting: Weighting,
    schedule: Schedule,
    x0: Float[Array, "b ..."],
    t: Float[Array, " b"],
    key: Key,
) -> Losses:
    """Weighted squared error of denoising, mean over dimensions.

    Args:
        net: (c_in * x_t, c_noise [b]) -> output like x0, parameters and conditions bound.
        parameterization: what the network predicts.
        weighting: weight of the squared x0 error at each level.
        schedule: noise schedule.
        x0: clean data.
        t: times [b] in the schedule's unit.
        key: of the noise.
    """
    level = schedule(t)
    eps = process.noise_like(key, x0)
    x_t = process.diffuse(x0, eps, level).astype(x0.dtype)
    output, _ = apply_net(net, parameterization, False, x_t, level)
    return Losses(_squared_error(output, parameterization, weighting, x0, eps, level))


def _squared_error(output, parameterization, weighting, x0, eps, level):
    """`w c_out^2 * mean (output - target)^2`, which is `w * mean |x0_hat - x0|^2`."""
    scalars = parameterization(level)
    wanted = target(scalars, x0, eps, level).astype(x0.dtype)
    weight = weighting(level) * jnp.square(scalars.c_out)
    return weight * mean_flat(jnp.square(output - wanted))


def hybrid_loss(
    net: Net,
    parameterization: Parameterizer,
    weighting: Weighting,
    schedule: Schedule,
    x0: Float[Array, "b ..."],
    t: Float[Array, " b"],
    key: Key,
    vb_weight: Scalar = 1.0,
) -> Losses:
    """`denoising_loss` plus the variational term: L_hybrid of IDDPM (arXiv:2102.09672, eq. 16).

    Args:
        net: as in `denoising_loss`, with twice the channels out: prediction, then variance.
        parameterization, weighting, x0, key: as there.
        schedule: a discrete schedule.
        t: whole steps [b].
        vb_weight: see the module's docstring.

    Raises:
        ValueError: a continuous schedule, which has no previous step.
    """
    cur, nxt, floor = neighbours(schedule, t)
    eps = process.noise_like(key, x0)
    x_t = process.diffuse(x0, eps, cur).astype(x0.dtype)
    output, prediction = apply_net(net, parameterization, True, x_t, cur)
    simple = _squared_error(output, parameterization, weighting, x0, eps, cur)
    detached = prediction._replace(x0=jax.lax.stop_gradient(prediction.x0))
    vb = vb_terms(detached, x0, x_t, cur, nxt, floor, "learned_range")
    return Losses(simple + vb_weight * vb, simple, vb)


def variational_loss(
    net: Net,
    parameterization: Parameterizer,
    schedule: Schedule,
    x0: Float[Array, "b ..."],
    t: Float[Array, " b"],
    key: Key,
    variance: str = "learned_range",
) -> Losses:
    """The bound's term of the drawn t, in bits a dimension: L_vlb / T (IDDPM, arXiv:2102.09672, eq. 4).

    Args:
        net, parameterization, x0, t, key: as in `hybrid_loss`; twice the channels for "learned_range" alone.
        schedule: a discrete schedule.
        variance: kind of model variance, one of `process.VARIANCES`.

    Raises:
        ValueError: a continuous schedule.
    """
    cur, nxt, floor = neighbours(schedule, t)
    x_t = process.diffuse(x0, process.noise_like(key, x0), cur).astype(x0.dtype)
    _, prediction = apply_net(net, parameterization, variance == "learned_range", x_t, cur)
    return Losses(vb_terms(prediction, x0, x_t, cur, nxt, floor, variance))


def neighbours(schedule: Schedule, t: Float[Array, "*b"]) -> tuple[NoiseLevel, NoiseLevel, Float[Array, ""]]:
    """(level at t, level at t - 1, floor of the posterior variance) of a discrete chain.

    t = 0 is followed by clean data.
    """
    if not isinstance(schedule, Discrete):
        raise ValueError(f"a variational bound needs a discrete schedule, not {type(schedule).__name__}")
    chain = schedule(jnp.asarray([1.0, 0.0, -1.0][-min(schedule.num_steps, 2) - 1 :]))
    return schedule(t), schedule(t - 1), process.variance_floor(chain)


def vb_terms(
    prediction: Prediction,
    x0: Float[Array, "b ..."],
    x_t: Float[Array, "b ..."],
    cur: NoiseLevel,
    nxt: NoiseLevel,
    floor: Float[Array, ""],
    variance: str = "learned_range",
) -> Float[Array, " b"]:
    """One term of the negative variational bound, in bits a dimension [b] (arXiv:2006.11239, eq. 5).

    KL(q(x_n | x_c, x0) || p(x_n | x_c)), or where `nxt` is clean the decoder's -log p(x0 | x_c) for 8-bit
    data.

    Args:
        prediction: of a denoiser at (x_t, cur).
        x0: clean data in [-1, 1], at whole 8-bit levels.
        x_t: noisy data at `cur`.
        cur, nxt: neighbouring levels, entries [] or [b].
        floor: `process.variance_floor`, in place of the last step's posterior variance.
        variance: kind of model variance, one of `process.VARIANCES`.
    """
    log_variance = process.model_log_variance(variance, prediction.var_frac, x_t, cur, nxt, floor)
    mean = process.posterior(prediction.x0, x_t, cur, nxt).mean
    truth = process.posterior(x0, x_t, cur, nxt)
    last = expand_to(nxt.sigma, x_t) == 0
    true_log_variance = jnp.log(jnp.where(last, floor, truth.variance))
    kl = normal_kl(truth.mean, true_log_variance, mean, log_variance)
    decoder = discretized_gaussian_nll(x0, mean, 0.5 * log_variance)
    return mean_flat(jnp.where(last, decoder, kl)) / math.log(2)


def normal_kl(
    mean1: Float[Array, "..."],
    logvar1: Float[Array, "..."],
    mean2: Float[Array, "..."] | float,
    logvar2: Float[Array, "..."] | float,
) -> Float[Array, "..."]:
    """KL(N(mean1, exp(logvar1)) || N(mean2, exp(logvar2))) in nats, elementwise; the arguments broadcast."""
    return 0.5 * (logvar2 - logvar1 + jnp.expm1(logvar1 - logvar2) + jnp.square(mean1 - mean2) * jnp.exp(-logvar2))


def discretized_gaussian_nll(
    x: Float[Array, "b ..."], mean: Float[Array, "b ..."], log_scale: Float[Array, "..."]
) -> Float[Array, "b ..."]:
    """-log of a Gaussian's probability of the 8-bit bin around x, in nats (arXiv:2006.11239, eq. 13).

    Elementwise. Bins are x +- 1/255, the outermost open-ended. As published, the cumulative distribution is
    the tanh approximation `(1 + tanh(sqrt(2 / pi) (y + .044715 y^3))) / 2` and probabilities are at least
    1e-12.
    """
    scale = jnp.exp(-log_scale)
    upper = _tanh_cdf(scale * (x - mean + 1 / 255))
    lower = _tanh_cdf(scale * (x - mean - 1 / 255))
    inner = safe_log(upper - lower)
    return -jnp.where(x < -0.999, safe_log(upper), jnp.where(x > 0.999, safe_log(1 - lower), inner))


def _tanh_cdf(y: Array) -> Array:
    return 0.5 * (1 + jnp.tanh(math.sqrt(2 / math.pi) * (y + 0.044715 * y**3)))


OBJECTIVES = ("simple", "variational")
Objective = Callable[..., Losses]
"""(net, x0=, t=, key=) -> Losses."""


def make(
    objective: str, parameterization: Parameterizer, weighting: Weighting, schedule: Schedule,
    learned_variance: bool = False, vb_weight: Scalar = 1.0, variance: str = "",
) -> Objective:  # fmt: skip
    """The training loss that settings name: L_simple, L_hybrid where the variance is learned, or L_vlb.

    Args:
        objective: "simple", or "variational" for L_vlb.
        parameterization, weighting, schedule: as in `denoising_loss`.
        learned_variance: whether the network predicts the variance, too.
        vb_weight: of the variational term in L_hybrid.
        variance: kind of variance of the reverse steps, for L_vlb.

    Raises:
        ValueError: for another objective.
    """
    if objective not in OBJECTIVES:
        raise ArgumentError(f"unknown objective {objective!r}; {arg('objective')} is one of {OBJECTIVES}")
    shared: dict[str, Any] = {"parameterization": parameterization, "schedule": schedule}
    if objective == "variational":
        return partial(variational_loss, variance=variance, **shared)
    if learned_variance:
        return partial(hybrid_loss, weighting=weighting, vb_weight=vb_weight, **shared)
    return partial(denoising_loss, weighting=weighting, **shared)
