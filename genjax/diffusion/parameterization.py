"""What a network predicts, as four scalars a noise level instead of a table of conversions.

With EDM's preconditioning (arXiv:2206.00364, eq. 7),

    x0 = c_skip * x_t + c_out * net(c_in * x_t, c_noise)

With x_t = alpha x0 + sigma eps, solving for the network's output at the true x0 gives its regression target

    target = ((1 - alpha c_skip) x0 - sigma c_skip eps) / c_out

    eps     c_skip = 1 / alpha                  c_out = -sigma / alpha              target eps
    x0      c_skip = 0                          c_out = 1                           target x0
    v       c_skip = alpha / (alpha^2+sigma^2)  c_out = -sigma / (alpha^2+sigma^2)  target v
            v = alpha eps - sigma x0 (arXiv:2202.00512; the denominator is 1 where variance is preserved)
    flow    c_skip = 1 / (alpha + sigma)        c_out = -sigma / (alpha + sigma)    target eps - x0
            (arXiv:2209.03003; the denominator is 1 for the flow schedule)
    edm     c_skip = d^2 / (s^2+d^2) / alpha    c_out = s d / sqrt(s^2+d^2)
            c_in = 1 / sqrt(s^2+d^2) / alpha, c_noise = log(s) / 4, with s = sigma / alpha, d = sigma_data

c_in is 1 and c_noise is t but for edm.

Deviation: EDM states its scalars for alpha = 1; here x_t / alpha takes the place of its noisy input.
"""

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from genjax.core.numerics import expand_to
from genjax.diffusion.schedules import Flow, NoiseLevel, Scalar, Schedule
from genjax.typing import Array, Float


class Parameterization(NamedTuple):
    """The four scalars at a noise level, each of the level's shape [] or [b]."""

    c_skip: Float[Array, "*b"]
    c_out: Float[Array, "*b"]
    c_in: Float[Array, "*b"]
    c_noise: Float[Array, "*b"]


Parameterizer = Callable[[NoiseLevel], Parameterization]
"""NoiseLevel -> Parameterization."""


def eps(noise_scale: Scalar = 1.0) -> Parameterizer:
    """The network predicts the noise (DDPM, arXiv:2006.11239). Undefined where alpha = 0.

    Args:
        noise_scale: c_noise is `noise_scale * t`: 1 for discrete schedules, 1000 for those whose t is in
            [0, 1], 1000 / T for IDDPM's rescaled timesteps.
    """
    return lambda level: Parameterization(
        1 / level.alpha, -level.sigma / level.alpha, jnp.ones_like(level.alpha), noise_scale * level.t
    )


def x0(noise_scale: Scalar = 1.0) -> Parameterizer:
    """The network predicts clean data. `noise_scale` as in `eps`."""
    return lambda level: Parameterization(
        jnp.zeros_like(level.alpha),
        jnp.ones_like(level.alpha),
        jnp.ones_like(level.alpha),
        noise_scale * level.t,
    )


def v(noise_scale: Scalar = 1.0) -> Parameterizer:
    """The network predicts `v = alpha * eps - sigma * x0` (arXiv:2202.00512). `noise_scale` as in `eps`."""

    def at(level: NoiseLevel) -> Parameterization:
        power = jnp.square(level.alpha) + jnp.square(level.sigma)
        return Parameterization(
            level.alpha / power, -level.sigma / power, jnp.ones_like(level.alpha), noise_scale * level.t
        )

    return at


def flow(noise_scale: Scalar = 1.0) -> Parameterizer:
    """The network predicts the velocity `eps - x0` of a straight path (arXiv:2209.03003).

    `noise_scale` as in `eps`.
    """

    def at(level: NoiseLevel) -> Parameterization:
        total = level.alpha + level.sigma
        return Parameterization(1 / total, -level.sigma / total, jnp.ones_like(total), noise_scale * level.t)

    return at


def edm(sigma_data: Scalar = 0.5) -> Parameterizer:
    """EDM's preconditioning (arXiv:2206.00364, table 1).

    For data of standard deviation `sigma_data` the network's input and target have unit variance.
    """

    def at(level: NoiseLevel) -> Parameterization:
        s = level.ratio
        total = jnp.square(s) + sigma_data**2
        return Parameterization(
            sigma_data**2 / (total * level.alpha),
            s * sigma_data / jnp.sqrt(total),
            1 / (jnp.sqrt(total) * level.alpha),
            jnp.log(s) / 4,
        )

    return at


def target(
    parameterization: Parameterization,
    x0: Float[Array, "b ..."],
    eps: Float[Array, "b ..."],
    level: NoiseLevel,
) -> Float[Array, "b ..."]:
    """What the network should output at `x_t = alpha * x0 + sigma * eps`; see the module's docstring."""
    alpha, sigma = level.expand(x0)
    c_skip, c_out = expand_to(parameterization.c_skip, x0), expand_to(parameterization.c_out, x0)
    return ((1 - alpha * c_skip) * x0 - sigma * c_skip * eps) / c_out


_MAKERS: dict[str, Callable[..., Parameterizer]] = {"eps": eps, "x0": x0, "v": v, "flow": flow, "edm": edm}


def make(name: str, **kwargs) -> Parameterizer:
    """The parameterization called `name`.

    Raises:
        ValueError: an unknown name.
    """
    if name not in _MAKERS:
        raise ValueError(f"unknown parameterization {name!r}; known: {', '.join(sorted(_MAKERS))}")
    return _MAKERS[name](**kwargs)


LARGEST = 1e6
"""Of c_skip and c_out: what multiplies a float32's rounding by more leaves no digit of x0."""


def failure(parameterizer: Parameterizer, schedule: Schedule) -> str:
    """Why the parameterization can't be used with the schedule, by its scalars at both ends; "" if it can.

    The clean end of the flow schedule, t = 0, is never visited: there it is a time shortly after it that counts.
    """
    first = 1e-5 * schedule.t_max if isinstance(schedule, Flow) else schedule.t_min

    def ends(t):
        level = schedule(t)
        # A number that is the same at all times comes without their axis.
        return [jnp.broadcast_to(value, t.shape) for value in (level.alpha, level.sigma, *parameterizer(level))]

    times = np.asarray([first, schedule.t_max], float)
    with jax.ensure_compile_time_eval():  # in one program: operation by operation it took a second and a half
        found = np.asarray(jax.jit(lambda: jnp.stack(ends(jnp.asarray(times))))())
    for end, t, (alpha, sigma, *scalars) in zip(("least", "most"), times, found.T, strict=True):
        where = f"at the time of {end} noise, t={t:g}, where alpha={alpha:g} and sigma={sigma:g}"
        if not sigma > 0:
            return f"there is no noise {where}"
        if not np.isfinite(scalars).all() or scalars[1] == 0:
            return f"it divides by 0 {where}"
        if np.abs(scalars[:2]).max() > LARGEST:
            return f"it multiplies rounding errors by {np.abs(scalars[:2]).max():.1g} {where}"
    return ""


def fitting(schedule: Schedule) -> list[str]:
    """Names of the parameterizations, at their defaults, that can be used with the schedule."""
    return sorted(name for name, maker in _MAKERS.items() if not failure(maker(), schedule))
