"""Noise schedules: from time to the noise level `x_t = alpha * x0 + sigma * eps`.

A schedule is any NamedTuple that is called with `t` and gives a `NoiseLevel`. Its fields are array leaves, so
a schedule passes through `jax.jit` as an argument and other values never recompile. Time is in the schedule's
own unit: integer steps 0..T-1 for discrete ones (T = 1000 in most papers), [0, 1] for the cosine, exponential
and flow schedules, and sigma itself for `edm`.

Variance preserving (`alpha**2 + sigma**2 = 1`), discrete, with `alphas_cumprod = cumprod(1 - betas)`:

    linear_beta    betas from 1e-4 to .02, times 1000 / T             DDPM arXiv:2006.11239
    cosine         betas = min(1 - f(t+1) / f(t), .999), f = cos^2    IDDPM arXiv:2102.09672, eq. 17
    scaled_linear  linear in sqrt(beta), .00085 to .012               latent diffusion arXiv:2112.10752
    from_betas     any betas

and continuous: `continuous_cosine`. Not variance preserving: `variance_exploding` (alpha = 1), `edm` (alpha =
1, t = sigma), `flow` (alpha = 1 - t, sigma = t).

Deviations: the discrete cosine follows the released code in not dividing by f(0), which cancels in the ratio.
Tables are computed in float64 by numpy and stored in float32 (float64 under x64). Between two integer steps a
discrete schedule interpolates log(sigma / alpha) linearly, so that samplers may stop anywhere.
"""

import math
from collections.abc import Callable, Sequence
from typing import NamedTuple, Protocol, runtime_checkable

import jax
import jax.numpy as jnp
import numpy as np

from genjax.core.numerics import expand_to
from genjax.typing import Array, Float

Scalar = float | int | Array
"""A number, or an array of shape [] that may be traced."""


class NoiseLevel(NamedTuple):
    """Noise levels `x_t = alpha * x0 + sigma * eps`.

    Entries have shape [], [b] (one an example) or [n] (a grid).

    Attributes:
        alpha: scale of the data; sqrt(alpha_bar) of DDPM.
        sigma: standard deviation of the noise.
        t: the schedule's own time at this level, as the network sees it.
    """

    alpha: Float[Array, "*n"]
    sigma: Float[Array, "*n"]
    t: Float[Array, "*n"]

    @property
    def ratio(self) -> Float[Array, "*n"]:
        """`sigma / alpha`: the sigma of EDM, where the data keeps its scale."""
        return self.sigma / self.alpha

    @property
    def snr(self) -> Float[Array, "*n"]:
        """Signal-to-noise ratio `alpha**2 / sigma**2`."""
        return jnp.square(self.alpha / self.sigma)

    @property
    def logsnr(self) -> Float[Array, "*n"]:
        """`2 * log(alpha / sigma)`, in nats."""
        return 2 * (jnp.log(self.alpha) - jnp.log(self.sigma))

    def at(self, index: int | slice | Array) -> "NoiseLevel":
        """The levels at `index` of a grid."""
        return NoiseLevel(*(leaf[index] for leaf in self))

    def expand(self, like: Float[Array, "..."]) -> tuple[Float[Array, "..."], Float[Array, "..."]]:
        """(alpha, sigma) with singleton dimensions appended, to broadcast against the data `like`."""
        return expand_to(self.alpha, like), expand_to(self.sigma, like)


@runtime_checkable
class Schedule(Protocol):
    """What every schedule can do; implementations are NamedTuples."""

    @property
    def t_min(self) -> Scalar:
        """The least time that a network is trained on."""
        ...

    @property
    def t_max(self) -> Scalar:
        """The greatest time, of pure noise."""
        ...

    def __call__(self, t: Scalar) -> NoiseLevel:
        """The noise level at `t`, of any shape."""
        ...

    def time(self, ratio: Scalar) -> Array:
        """The time at which `sigma / alpha` equals `ratio`: inverse of `self(t).ratio`."""
        ...


class Discrete(NamedTuple):
    """A table of T noise levels; step 0 is the least noisy and t < 0 means clean data.

    Attributes:
        alpha: sqrt(alphas_cumprod), [T].
        sigma: sqrt(1 - alphas_cumprod), [T].
    """

    alpha: Float[Array, " T"]
    sigma: Float[Array, " T"]

    @property
    def num_steps(self) -> int:
        """T, a static number."""
        return self.alpha.shape[0]

    @property
    def t_min(self) -> float:
        """Step 0."""
        return 0.0

    @property
    def t_max(self) -> float:
        """Step T - 1."""
        return float(self.num_steps - 1)

    def __call__(self, t: Scalar) -> NoiseLevel:
        """The level at step `t`: the table's at whole steps, log-linear between them, clean below 0."""
        t = jnp.asarray(t, self.alpha.dtype)
        low = jnp.clip(jnp.floor(t), 0, self.num_steps - 1).astype(jnp.int32)
        high = jnp.minimum(low + 1, self.num_steps - 1)
        part = jnp.clip(t - low, 0, 1)
        log_ratio = jnp.log(self.sigma) - jnp.log(self.alpha)
        ratio = jnp.exp(log_ratio[low] + jnp.where(part > 0, part * (log_ratio[high] - log_ratio[low]), 0))
        between = part > 0
        alpha = jnp.where(between, 1 / jnp.sqrt(1 + ratio**2), self.alpha[low])
        sigma = jnp.where(between, 1 / jnp.sqrt(1 + 1 / ratio**2), self.sigma[low])
        return NoiseLevel(jnp.where(t < 0, 1.0, alpha), jnp.where(t < 0, 0.0, sigma), t)

    def time(self, ratio: Scalar) -> Array:
        """The (fractional) step at which sigma / alpha equals `ratio`, within [0, T - 1]."""
        log_ratio = jnp.log(self.sigma) - jnp.log(self.alpha)
        return jnp.interp(jnp.log(ratio), log_ratio, jnp.arange(self.num_steps, dtype=self.alpha.dtype))


class Cosine(NamedTuple):
    """alpha = cos(angle), sigma = sin(angle), the angle linear in t in [0, 1] between two log-SNRs."""

    logsnr_min: Scalar
    logsnr_max: Scalar

    @property
    def t_min(self) -> float:
        """0."""
        return 0.0

    @property
    def t_max(self) -> float:
        """1."""
        return 1.0

    def _angles(self) -> tuple[Array, Array]:
        return jnp.arctan(jnp.exp(-self.logsnr_max / 2.0)), jnp.arctan(jnp.exp(-self.logsnr_min / 2.0))

    def __call__(self, t: Scalar) -> NoiseLevel:
        """The level at `t` in [0, 1]."""
        first, last = self._angles()
        t = jnp.asarray(t, jnp.result_type(float, first))
        angle = first + t * (last - first)
        return NoiseLevel(jnp.cos(angle), jnp.sin(angle), t)

    def time(self, ratio: Scalar) -> Array:
        """The t in [0, 1] at which sigma / alpha equals `ratio`."""
        first, last = self._angles()
        return (jnp.arctan(ratio) - first) / (last - first)


class Exponential(NamedTuple):
    """alpha = 1, sigma geometric in t in [0, 1] from sigma_min to sigma_max."""

    sigma_min: Scalar
    sigma_max: Scalar

    @property
    def t_min(self) -> float:
        """0."""
        return 0.0

    @property
    def t_max(self) -> float:
        """1."""
        return 1.0

    def __call__(self, t: Scalar) -> NoiseLevel:
        """The level at `t` in [0, 1]."""
        t = jnp.asarray(t, float)
        sigma = self.sigma_min * (self.sigma_max / jnp.asarray(self.sigma_min, t.dtype)) ** t
        return NoiseLevel(jnp.ones_like(sigma), sigma, t)

    def time(self, ratio: Scalar) -> Array:
        """The t in [0, 1] at which sigma equals `ratio`."""
        span = jnp.log(self.sigma_max / jnp.asarray(self.sigma_min, float))
        return jnp.log(ratio / jnp.asarray(self.sigma_min, float)) / span


class Identity(NamedTuple):
    """alpha = 1, sigma = t: time is the standard deviation of the noise (EDM)."""

    sigma_min: Scalar
    sigma_max: Scalar

    @property
    def t_min(self) -> Scalar:
        """sigma_min."""
        return self.sigma_min

    @property
    def t_max(self) -> Scalar:
        """sigma_max."""
        return self.sigma_max

    def __call__(self, t: Scalar) -> NoiseLevel:
        """The level of standard deviation `t`; beyond [sigma_min, sigma_max] too."""
        t = jnp.asarray(t, float)
        return NoiseLevel(jnp.ones_like(t), t, t)

    def time(self, ratio: Scalar) -> Array:
        """`ratio` itself."""
        return jnp.asarray(ratio, float)


class Flow(NamedTuple):
    """alpha = 1 - t, sigma = t, for t in [0, t_max]."""

    t_max: Scalar = 1.0

    @property
    def t_min(self) -> float:
        """0."""
        return 0.0

    def __call__(self, t: Scalar) -> NoiseLevel:
        """The level at `t`."""
        t = jnp.asarray(t, float)
        return NoiseLevel(1 - t, t, t)

    def time(self, ratio: Scalar) -> Array:
        """The t at which t / (1 - t) equals `ratio`."""
        return 1 / (1 + 1 / jnp.asarray(ratio, float))


def from_betas(betas: Sequence[float] | np.ndarray) -> Discrete:
    """The discrete schedule of `betas` [T], the variances added step by step.

    Raises:
        ValueError: betas that aren't a vector within (0, 1].
    """
    betas = np.asarray(betas, np.float64)
    if betas.ndim != 1 or betas.size == 0:
        raise ValueError(f"betas must be a vector of at least one number, not of shape {betas.shape}")
    if not ((betas > 0) & (betas <= 1)).all():
        raise ValueError(f"betas must lie in (0, 1]; these reach from {betas.min()} to {betas.max()}")
    alphas_cumprod = np.cumprod(1.0 - betas)
    return Discrete(jnp.asarray(np.sqrt(alphas_cumprod)), jnp.asarray(np.sqrt(1.0 - alphas_cumprod)))


def linear_beta(num_steps: int = 1000, beta_start: float | None = None, beta_end: float | None = None) -> Discrete:
    """Betas linear from 1e-4 to .02 (DDPM, arXiv:2006.11239), times 1000 / T (IDDPM, arXiv:2102.09672).

    Args:
        num_steps: T.
        beta_start: first beta; by default 1e-4 * 1000 / T. Given values are used as they are, unscaled.
        beta_end: last beta; by default .02 * 1000 / T.

    Raises:
        ValueError: T <= 20 with the default `beta_end`, which would reach 1.
    """
    scale = 1000.0 / num_steps
    if beta_end is None and 0.02 * scale >= 1:
        raise ValueError(
            f"linear_beta(num_steps={num_steps}) would scale beta_end to {0.02 * scale:g} >= 1: use more "
            "than 20 steps, pass beta_end, or train with 1000 steps and respace at sampling"
        )
    start = 1e-4 * scale if beta_start is None else beta_start
    end = 0.02 * scale if beta_end is None else beta_end
    return from_betas(np.linspace(start, end, num_steps, dtype=np.float64))


def cosine(num_steps: int = 1000, s: float = 0.008, max_beta: float = 0.999) -> Discrete:
    """alpha_bar(t) = cos^2((t / T + s) / (1 + s) * pi / 2), betas <= `max_beta` (IDDPM, arXiv:2102.09672, eq. 17)."""

    def alpha_bar(t: float) -> float:
        return math.cos((t + s) / (1 + s) * math.pi / 2) ** 2

    steps = range(num_steps)
    return from_betas([min(1 - alpha_bar((i + 1) / num_steps) / alpha_bar(i / num_steps), max_beta) for i in steps])


def scaled_linear(num_steps: int = 1000, beta_start: float = 0.00085, beta_end: float = 0.012) -> Discrete:
    """Betas whose square roots are linear (latent diffusion, arXiv:2112.10752)."""
    return from_betas(np.linspace(beta_start**0.5, beta_end**0.5, num_steps, dtype=np.float64) ** 2)


def continuous_cosine(logsnr_min: Scalar = -20.0, logsnr_max: Scalar = 20.0) -> Cosine:
    """logsnr(t) = -2 log tan(a t + b) for t in [0, 1], from logsnr_max to logsnr_min (arXiv:2202.00512;
    Imagen, arXiv:2205.11487).
    """
    return Cosine(logsnr_min, logsnr_max)


def variance_exploding(sigma_min: Scalar = 0.01, sigma_max: Scalar = 50.0) -> Exponential:
    """sigma(t) = sigma_min * (sigma_max / sigma_min)**t for t in [0, 1] (score SDE, arXiv:2011.13456)."""
    return Exponential(sigma_min, sigma_max)


def edm(sigma_min: Scalar = 0.002, sigma_max: Scalar = 80.0) -> Identity:
    """sigma(t) = t (EDM, arXiv:2206.00364); the range is the one that samplers walk."""
    return Identity(sigma_min, sigma_max)


def flow(t_max: Scalar = 1.0) -> Flow:
    """alpha = 1 - t, sigma = t (flow matching, arXiv:2210.02747; rectified flow, arXiv:2209.03003).

    At t = 1 no data is left in x_t, so an eps prediction says nothing of x0 there: with it `t_max` has to be less
    than 1 (`parameterization.failure`).
    """
    return Flow(t_max)


_MAKERS: dict[str, Callable] = {
    maker.__name__: maker
    for maker in (linear_beta, cosine, scaled_linear, from_betas, continuous_cosine, variance_exploding, edm, flow)
}


def make(name: str, **kwargs) -> Schedule:
    """The schedule called `name`, as this module's functions are.

    Raises:
        ValueError: an unknown name.
    """
    if name not in _MAKERS:
        raise ValueError(f"unknown schedule {name!r}; known: {', '.join(sorted(_MAKERS))}")
    return _MAKERS[name](**kwargs)


def stack(levels: Sequence[NoiseLevel]) -> NoiseLevel:
    """Levels of shape [] as one grid [n]."""
    return jax.tree.map(lambda *leaves: jnp.stack(leaves), *levels)
