"""Samplers: one step from a noise level `cur` (c) down to a cleaner one `nxt` (n).

A `Sampler` is two pure functions. Steps receive the denoiser itself, not its value, and call it as often as
they need. All are written for any alpha and sigma, in x0 and eps of the prediction; with r = exp(-h) =
alpha_c sigma_n / (alpha_n sigma_c), h the step in log(alpha / sigma), and z fresh noise,

    ancestral    alpha_n (1 - r^2) x0 + r (sigma_n / sigma_c) x + Sigma g + sqrt(Sigma) z
    ddim         alpha_n x0 + sqrt(sigma_n^2 - s^2) eps + s z,              s = eta sigma_n sqrt(1 - r^2)
    euler        alpha_n x0 + sigma_n eps                                   (ddim's at eta = 0, after churn)
    heun         euler, then corrected by the mean of both ends' eps        (order 2)
    dpmpp_2m     (sigma_n / sigma_c) x + alpha_n (1 - r) D                  (order 2)
    dpmpp_sde    r (sigma_n / sigma_c) x + alpha_n (1 - r^2) D + sigma_n sqrt(1 - r^2) z
                 with D = x0 + h / (2 h_prev) (x0 - x0_prev)

A step to sigma = 0 (r = 0) returns x0 and adds no noise, in each of them. A step of no length (r = 1, but for a
rounding) changes nothing and isn't remembered: a multistep sampler would divide by it.
"""

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from genjax.diffusion import process
from genjax.diffusion.denoisers import Denoiser, Prediction
from genjax.diffusion.schedules import NoiseLevel, Scalar, Schedule
from genjax.typing import Array, Key, PyTree


class Sampler(NamedTuple):
    """One way to walk down a grid of noise levels.

    Attributes:
        init: (x_T, levels [N + 1]) -> carry, a pytree of arrays.
        step: (denoise, x, carry, cur, nxt, key) -> (x, carry); cur and nxt have entries of shape [].
    """

    init: Callable[[Array, NoiseLevel], PyTree]
    step: Callable[[Denoiser, Array, PyTree, NoiseLevel, NoiseLevel, Key], tuple[Array, PyTree]]


def ancestral(variance: str = "fixed_small") -> Sampler:
    """Samples the model's own reverse chain (DDPM, arXiv:2006.11239, algorithm 2; IDDPM, arXiv:2102.09672).

    The only sampler that takes `Prediction.mean_grad`: it shifts the mean by variance * mean_grad. On the step
    to clean data no noise is added, but mean_grad is still weighed as in ADM's release: by beta tilde for
    "fixed_small", which is 0 there, and with the floor of the grid in its place for the others.

    Args:
        variance: "fixed_small" (beta tilde), "fixed_large" (beta) or "learned_range" (the prediction's
            var_frac).

    Raises:
        ValueError: an unknown variance; on use, "learned_range" with a denoiser that has no var_frac.
    """
    if variance not in process.VARIANCES:
        raise ValueError(f"unknown variance {variance!r}; known: {', '.join(process.VARIANCES)}")

    def init(x_T: Array, levels: NoiseLevel) -> Array:
        return process.variance_floor(levels)

    def step(denoise, x, floor, cur, nxt, key):
        prediction = denoise(x, cur, process.fold(key, 0))
        mean = process.posterior(prediction.x0, x, cur, nxt).mean
        log_variance = process.model_log_variance(variance, prediction.var_frac, x, cur, nxt, floor)
        if prediction.mean_grad is not None:
            vanishes = (variance == "fixed_small") & (nxt.sigma == 0)
            mean = mean + jnp.where(vanishes, 0, jnp.exp(log_variance)) * prediction.mean_grad
        noise = process.noise_like(process.fold(key, 1), x)
        std = jnp.where(nxt.sigma > 0, jnp.exp(0.5 * log_variance), 0)
        return mean + std * noise, floor

    return Sampler(init, _moving(step))


def ddim(eta: Scalar = 0.0) -> Sampler:
    """DDIM (arXiv:2010.02502, eqs. 12 and 16).

    Deterministic and of order 1 at eta 0, the ancestral sampler with "fixed_small" at eta 1.

    Args:
        eta: share of the posterior's standard deviation that is drawn anew; may be traced.
    """

    def step(denoise, x, carry, cur, nxt, key):
        prediction = _without_mean_grad(denoise(x, cur, process.fold(key, 0)), "ddim")
        noise = process.noise_like(process.fold(key, 1), x)
        fresh = jnp.square(eta) * (1 - jnp.square(process.decay(cur, nxt)))
        kept = nxt.sigma * jnp.sqrt(jnp.maximum(1 - fresh, 0))
        return nxt.alpha * prediction.x0 + kept * prediction.eps + nxt.sigma * jnp.sqrt(fresh) * noise, carry

    return Sampler(_no_carry, _moving(step))


def euler(
    churn: Scalar = 0.0,
    schedule: Schedule | None = None,
    churn_min: Scalar = 0.0,
    churn_max: Scalar = float("inf"),
    churn_noise: Scalar = 1.0,
) -> Sampler:
    """EDM's algorithm 2 without the correction (arXiv:2206.00364): order 1, one denoising a step.

    Arguments as in `heun`.
    """
    return _edm(False, _Churn(churn, schedule, churn_min, churn_max, churn_noise))


def heun(
    churn: Scalar = 0.0,
    schedule: Schedule | None = None,
    churn_min: Scalar = 0.0,
    churn_max: Scalar = float("inf"),
    churn_noise: Scalar = 1.0,
) -> Sampler:
    """EDM's stochastic second-order sampler (arXiv:2206.00364, algorithm 2), over s = sigma / alpha.

    Where alpha is constant this is the paper's trapezoid over s. Where alpha falls to 0, s runs to infinity
    and a trapezoid over it fails, so the integration variable is the angle atan(s) there: the same order,
    finite everywhere. The last step, to sigma = 0, is Euler's as in the paper.

    Args:
        churn: S_churn; 0 is the deterministic algorithm 1. The paper's ImageNet-64 setting is 40.
        schedule: needed with churn: it tells which t belongs to the raised noise. Noise isn't raised beyond
            its range.
        churn_min: S_tmin, least s to churn at (paper: .05).
        churn_max: S_tmax, greatest s (paper: 50).
        churn_noise: S_noise, inflation of the new noise (paper: 1.003).

    Raises:
        ValueError: churn without a schedule.
    """
    return _edm(True, _Churn(churn, schedule, churn_min, churn_max, churn_noise))


STILL = 1e-6
"""Steps with |1 - r| up to this have no length: about what rounding makes of equal levels in float32."""


def _moving(step: Callable) -> Callable:
    """The step, but where it has no length nothing of x and of what is remembered changes."""

    def guarded(denoise, x, carry, cur, nxt, key):
        moved, remembered = step(denoise, x, carry, cur, nxt, key)
        no_data = (cur.alpha == 0) & (nxt.alpha == 0)
        still = no_data | (jnp.abs(process.decay(cur, nxt) - 1) <= STILL)
        return jnp.where(still, x, moved), jax.tree.map(lambda old, new: jnp.where(still, old, new), carry, remembered)

    return guarded


class _Churn(NamedTuple):
    amount: Scalar
    schedule: Schedule | None
    low: Scalar
    high: Scalar
    noise: Scalar


def _edm(correct: bool, churn: _Churn) -> Sampler:
    """Euler or Heun with churn."""
    if churn.schedule is None and not (isinstance(churn.amount, int | float) and churn.amount == 0):
        raise ValueError(f"churn={churn.amount} needs schedule=..., to find the time of the raised noise level")

    def init(x_T: Array, levels: NoiseLevel) -> Array:
        return jnp.minimum(churn.amount / (levels.alpha.shape[0] - 1), 2**0.5 - 1).astype(levels.alpha.dtype)

    def step(denoise, x, gamma, cur, nxt, key):
        if churn.schedule is not None:
            x, cur = _raise_noise(x, cur, gamma, churn, process.fold(key, 1))
        first = _without_mean_grad(denoise(x, cur, process.fold(key, 0)), "heun" if correct else "euler")
        proposal = nxt.alpha * first.x0 + nxt.sigma * first.eps
        if not correct:
            return proposal, gamma

        def corrected(_):
            second = denoise(proposal, nxt, process.fold(key, 2))
            return proposal + (0.5 * _stride(cur, nxt) * (second.eps - first.eps)).astype(proposal.dtype)

        return jax.lax.cond(nxt.sigma > 0, corrected, lambda _: proposal, None), gamma

    return Sampler(init, _moving(step))


def _stride(cur: NoiseLevel, nxt: NoiseLevel) -> Array:
    """By how much one unit of eps moves x: alpha_n ds where alpha is constant, else (1 + s_n^2) d(angle)."""
    turn = jnp.arctan2(nxt.sigma, nxt.alpha) - jnp.arctan2(cur.sigma, cur.alpha)
    by_angle = (jnp.square(nxt.alpha) + jnp.square(nxt.sigma)) / nxt.alpha * turn
    return jnp.where(cur.alpha == nxt.alpha, nxt.sigma - cur.sigma, by_angle)


def _raise_noise(x: Array, cur: NoiseLevel, gamma: Array, churn: _Churn, key: Key) -> tuple[Array, NoiseLevel]:
    """x with noise added up to s (1 + gamma), and the level that this is."""
    s = cur.ratio
    gamma = jnp.where((churn.low <= s) & (s <= churn.high), gamma, 0)
    time = jnp.clip(churn.schedule.time(s * (1 + gamma)), churn.schedule.t_min, churn.schedule.t_max)
    raised = churn.schedule(time)
    up = raised.ratio > s
    raised = NoiseLevel(*(jnp.where(up, high, low).astype(low.dtype) for high, low in zip(raised, cur)))
    added = jnp.sqrt(jnp.maximum(jnp.square(raised.ratio) - jnp.square(s), 0)) * churn.noise
    noisier = raised.alpha * (x / cur.alpha + added * process.noise_like(key, x))
    return jnp.where(up, noisier, x), raised


class _Memory(NamedTuple):
    """What a multistep sampler remembers: the last x0 estimate and stride h (infinite before the first)."""

    x0: Array
    stride: Array


def dpmpp_2m(max_slope: Scalar | None = None) -> Sampler:
    """DPM-Solver++(2M) (arXiv:2211.01095, algorithm 2): order 2 with one denoising a step.

    The first step and the one to clean data are of order 1.

    Args:
        max_slope: limit of h / (2 h_prev), the factor by which x0's last change is extrapolated. None as
            published. On grids even in t the stride before the last level is several times the one before,
            and with few steps the extrapolation overshoots there; .5 stops that, and changes nothing on grids
            even in log-SNR.
    """
    return _dpmpp("dpmpp_2m", False, max_slope)


def dpmpp_sde(max_slope: Scalar | None = None) -> Sampler:
    """SDE-DPM-Solver++(2M) (arXiv:2211.01095, section 5, midpoint form): its first step is the ancestral one.

    Args:
        max_slope: as in `dpmpp_2m`.
    """
    return _dpmpp("dpmpp_sde", True, max_slope)


def _dpmpp(name: str, stochastic: bool, max_slope: Scalar | None) -> Sampler:
    """Both multistep solvers; the stochastic one keeps r times less of x and draws the missing variance
    anew.
    """

    def init(x_T: Array, levels: NoiseLevel) -> _Memory:
        return _Memory(jnp.zeros_like(x_T), jnp.full((), jnp.inf, levels.alpha.dtype))

    def step(denoise, x, memory, cur, nxt, key):
        x0 = _without_mean_grad(denoise(x, cur, process.fold(key, 0)), name).x0
        r = process.decay(cur, nxt)
        stride = -jnp.log(r)
        # 0 on the first step (the last stride is infinite) and on the step to clean data (this one is).
        slope = jnp.where(jnp.isfinite(stride), stride / (2 * memory.stride), 0)
        slope = slope if max_slope is None else jnp.minimum(slope, max_slope)
        estimate = x0 + slope * (x0 - memory.x0)
        damp = r if stochastic else jnp.ones_like(r)
        x = damp * (nxt.sigma / cur.sigma) * x + nxt.alpha * (1 - damp * r) * estimate
        if stochastic:
            fresh = nxt.sigma * jnp.sqrt(1 - jnp.square(r))
            x = x + fresh * process.noise_like(process.fold(key, 1), x)
        return x, _Memory(x0, stride)

    return Sampler(init, _moving(step))


def _no_carry(x_T: Array, levels: NoiseLevel) -> tuple[()]:
    return ()


def _without_mean_grad(prediction: Prediction, name: str) -> Prediction:
    if prediction.mean_grad is not None:
        raise ValueError(
            f"{name} can't use guidance of mode 'mean'; guide with mode='score', or sample with 'ancestral'"
        )
    return prediction


_MAKERS: dict[str, Callable[..., Sampler]] = {
    "ancestral": ancestral,
    "ddim": ddim,
    "euler": euler,
    "heun": heun,
    "dpmpp_2m": dpmpp_2m,
    "dpmpp_sde": dpmpp_sde,
}


def make(name: str, **kwargs) -> Sampler:
    """The sampler called `name`.

    Raises:
        ValueError: an unknown name.
    """
    if name not in _MAKERS:
        raise ValueError(f"unknown sampler {name!r}; known: {', '.join(sorted(_MAKERS))}")
    return _MAKERS[name](**kwargs)


def make_for(settings: Mapping[str, Any], schedule: Schedule, variance: str) -> Sampler:
    """The sampler of a config, with what its kind needs to know of the model.

    Args:
        settings: "name" and what else is requested.
        schedule: of the model; samplers with churn add noise by it.
        variance: of the model's reverse steps; the ancestral sampler's.

    Raises:
        ValueError: an unknown name.
    """
    needed: dict[str, Any] = {"schedule": schedule} if "churn" in settings else {}
    return make(**settings, **needed) if settings["name"] != "ancestral" else make(**{**settings, "variance": variance})
