"""Grids: the noise levels that a sampler visits, from the noisiest down to clean data.

A grid of N steps is a `NoiseLevel` of arrays [N + 1]. Its last entry is clean (alpha = 1, sigma = 0; t = -1
for discrete schedules, 0 for continuous ones) and never shown to a network. The other entries keep the
schedule's own t, so a respaced model sees original timesteps.

Respacing a discrete chain (IDDPM, arXiv:2102.09672, section 4) keeps a subset of its steps; the new beta
between neighbours, `1 - alphas_cumprod[i] / alphas_cumprod[previous kept]`, is never formed: samplers use
level pairs.
"""

import functools
import itertools
import math
import re
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from genjax.diffusion.schedules import Discrete, Identity, NoiseLevel, Scalar, Schedule
from genjax.typing import Array, Float, Int


class Walk(NamedTuple):
    """Steps of a grid in another order than once each, for samplers that add noise where they must (`editing.inpaint`).

    Attributes:
        levels: the grid [N + 1].
        order: the steps to make; step i leads from level i to level i + 1.
    """

    levels: NoiseLevel
    order: Int[Array, " M"]


def timesteps(num_steps: int, spec: str | int) -> list[int]:
    """The original steps kept by a published respacing, ascending.

    Args:
        num_steps: T of the training chain.
        spec: "25" or 25: that many steps spread over the whole chain with both ends; "10,10,3,2,2": so many
            in each of equal sections, the least noisy first; "ddim25": the whole stride of the DDIM paper (0,
            40, ..., 960, never the last step); "fast27": GLIDE's "10,10,3,2,2" with the last step moved two
            down (999 -> 997).

    Raises:
        ValueError: a notation that isn't one of these, or that T can't satisfy.
    """
    spec = str(spec).strip()
    if spec == "fast27":
        kept = timesteps(num_steps, "10,10,3,2,2")
        return [*kept[:-1], num_steps - 3]
    if re.fullmatch(r"ddim\d+", spec):
        count = int(spec[4:])
        for stride in range(1, num_steps):
            if len(range(0, num_steps, stride)) == count:
                return list(range(0, num_steps, stride))
        raise ValueError(f"no whole stride takes {count} of {num_steps} steps; use {count!r} instead of {spec!r}")
    if not re.fullmatch(r"\d+(,\d+)*", spec):
        raise ValueError(f"unknown respacing {spec!r}; write '25', 'ddim25', '10,10,3,2,2' or 'fast27'")
    return _sections(num_steps, [int(count) for count in spec.split(",")])


def _sections(num_steps: int, counts: list[int]) -> list[int]:
    """So many steps in each of `len(counts)` sections, rounded as published: running sum, half to even."""
    if counts in ([0], [1]):
        # The published rule starts at step 0, so a single step would be the one that sees almost no noise.
        raise ValueError(f"can't respace to {counts[0]} steps; take 2 or more, or grids.uniform(schedule, 1)")
    size, extra = divmod(num_steps, len(counts))
    kept, start = [], 0
    for index, count in enumerate(counts):
        length = size + (index < extra)
        if count > length:
            raise ValueError(f"can't take {count} of the {length} steps of section {index} (T = {num_steps})")
        stride = (length - 1) / (count - 1) if count > 1 else 1.0
        offsets = itertools.accumulate([stride] * (count - 1), initial=0.0) if count else ()
        kept += [start + round(offset) for offset in offsets]
        start += length
    return kept


def respace(schedule: Schedule, spec: str | int) -> NoiseLevel:
    """The grid of the steps that `timesteps` keeps.

    `respace(schedule, schedule.num_steps)` is the whole chain.

    Raises:
        ValueError: a bad spec, or a continuous schedule.
    """
    if not isinstance(schedule, Discrete):
        raise ValueError(f"respacing needs a discrete schedule, not {type(schedule).__name__}; use grids.uniform")
    kept = timesteps(schedule.num_steps, spec)
    return _with_clean(schedule, np.array(kept[::-1], float))


def uniform(schedule: Schedule, num_steps: int) -> NoiseLevel:
    """`num_steps` levels evenly spaced in t from t_max, then clean.

    A discrete schedule is divided into `num_steps` equal strides counted from its last step ("trailing"), at
    whole steps. A continuous one takes `linspace(t_max, t_min, num_steps + 1)` with clean data in place of
    t_min.

    Raises:
        ValueError: fewer than one step, or more than a discrete schedule has.
    """
    _check_count(num_steps)
    if isinstance(schedule, Discrete):
        if num_steps > schedule.num_steps:
            raise ValueError(f"can't take {num_steps} of {schedule.num_steps} steps")
        stride = schedule.num_steps / num_steps
        times = jnp.asarray([round(schedule.num_steps - i * stride) - 1 for i in range(num_steps)], float)
    else:
        times = jnp.linspace(schedule.t_max, schedule.t_min, num_steps + 1)[:-1]
    return _with_clean(schedule, times)


def karras(
    schedule: Schedule,
    num_steps: int,
    rho: Scalar = 7.0,
    sigma_min: Scalar | None = None,
    sigma_max: Scalar | None = None,
) -> NoiseLevel:
    """EDM's grid (arXiv:2206.00364, eq. 5): sigma / alpha evenly spaced to the power 1 / rho, then clean.

    Args:
        schedule: any; a discrete one is met between its steps.
        num_steps: N levels of noise.
        rho: 7 in the paper; large values tend to even spacing in log-SNR.
        sigma_min: least sigma / alpha; by default .002, or the schedule's least where that is more.
        sigma_max: greatest sigma / alpha; by default 80, or the schedule's greatest where that is less.

    Raises:
        ValueError: fewer than one step, a rho that isn't positive, or bounds outside the schedule. Traced values aren't
            looked at.
    """
    _check_count(num_steps)
    _check_karras(schedule, rho, sigma_min, sigma_max)
    return _karras(schedule, num_steps, rho, sigma_min, sigma_max)


def _check_karras(schedule: Schedule, rho: Scalar, sigma_min: Scalar | None, sigma_max: Scalar | None) -> None:
    """Bounds outside the schedule would put several levels on its end: steps of no length."""
    ends = [schedule(t).ratio for t in (schedule.t_min, schedule.t_max)]
    if any(isinstance(value, jax.core.Tracer) for value in (*ends, rho, sigma_min, sigma_max)):
        return
    least, greatest = (float(end) for end in ends)
    if not 0 < rho < math.inf:
        raise ValueError(f"rho={rho} must be positive")
    for name, bound in (("sigma_min", sigma_min), ("sigma_max", sigma_max)):
        if bound is not None and not (0 < bound < math.inf and _meets(schedule, bound)):
            raise ValueError(
                f"{name}={bound} is outside the schedule, whose sigma / alpha goes from {least:.4g} to {greatest:.4g}"
            )
    low = max(least, 0.002) if sigma_min is None else sigma_min
    high = min(greatest, 80.0) if sigma_max is None else sigma_max
    if not low < high:
        raise ValueError(f"sigma_min={low} must be less than sigma_max={high}")


def _meets(schedule: Schedule, ratio: Scalar) -> bool:
    """Whether the schedule has a time of this sigma / alpha, but for rounding; EDM's has, also beyond its own ends."""
    return math.isclose(float(schedule(schedule.time(ratio)).ratio), ratio, rel_tol=2e-3)


@functools.partial(jax.jit, static_argnums=1)
def _karras(
    schedule: Schedule, num_steps: int, rho: Scalar, sigma_min: Scalar | None, sigma_max: Scalar | None
) -> NoiseLevel:
    """`karras`, compiled as one."""
    low = jnp.maximum(schedule(schedule.t_min).ratio, 0.002) if sigma_min is None else sigma_min
    high = jnp.minimum(schedule(schedule.t_max).ratio, 80.0) if sigma_max is None else sigma_max
    ramp = jnp.linspace(0.0, 1.0, num_steps)
    ratios = (high ** (1 / rho) + ramp * (low ** (1 / rho) - high ** (1 / rho))) ** rho
    return _with_clean(schedule, schedule.time(ratios))


def make(schedule: Schedule, spec: str | int) -> NoiseLevel:
    """A grid from a short notation, as configs and command lines write it.

    Args:
        schedule: the schedule to walk.
        spec: "karras18", "uniform25", or a plain number or respacing: on a discrete schedule as in
            `timesteps`, on a continuous one the number of uniform steps, on `edm` of Karras steps.

    Raises:
        ValueError: a notation that the schedule can't satisfy.
    """
    match = re.fullmatch(r"(karras|uniform)?(\d+)", str(spec).strip())
    name, count = match.groups() if match else (None, None)
    if name == "karras" or (name is None and match and isinstance(schedule, Identity)):
        return karras(schedule, int(count))
    if name == "uniform" or (match and not isinstance(schedule, Discrete)):
        return uniform(schedule, int(count))
    return respace(schedule, spec)


def _check_count(num_steps: int) -> None:
    if num_steps < 1:
        raise ValueError(f"a grid needs at least one step, not {num_steps}")


@jax.jit
def _with_clean(schedule: Schedule, times: Float[Array, " n"] | Float[np.ndarray, " n"]) -> NoiseLevel:
    """The levels at `times`, then clean data; compiled as one."""
    clean = (1.0, 0.0, -1.0 if isinstance(schedule, Discrete) else 0.0)
    return NoiseLevel(*(jnp.append(leaf, end) for leaf, end in zip(schedule(jnp.asarray(times)), clean)))
