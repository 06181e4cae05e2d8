"""Distillation: students that do in a few steps what their teacher, a denoiser, does in many.

With s = sigma / alpha and y = x / alpha, the probability flow of a denoiser is dy / ds = eps(x). DDIM's step is Euler's
on it, and is exact where x0 stays put along the way.

**Progressive** (arXiv:2202.00512). One step of the student, c -> n, is to land where two DDIM steps of the teacher do,
c -> m -> n. The x0 that a single step needs for that, since x_n = alpha_n x0 + sigma_n (x_c - alpha_c x0) / sigma_c:

    target = (x_n - (sigma_n / sigma_c) x_c) / (alpha_n - (sigma_n / sigma_c) alpha_c)

The student is the next round's teacher, with half the steps: 16, 8, 4, ... All rounds walk over one grid of N steps, of
which a student of K keeps every (N / K)-th level.

**Consistency** (arXiv:2303.01469). f maps every point of a path of the flow to its end, at the least noise s_min, where
f is the identity:

    f(x, s) = c_skip y + c_out F,   c_skip = d^2 / ((s - s_min)^2 + d^2),   c_out = d (s - s_min) / sqrt(s^2 + d^2)

F is the network's output under EDM's preconditioning, d = sigma_data. Written with the denoiser's x0 instead, so that
it holds for a network of any parameterization:

    f = (c_skip - g k) y + g x0,   g = 1 - s_min / s,   k = d^2 / (s^2 + d^2)

The loss compares f at two neighbouring levels of a grid. *Distillation*: the teacher makes the cleaner point of the
noisier by one step of Heun or DDIM. *Training*: there is no teacher; both points have the same x0 and the same noise.
Sampling takes f of pure noise, and may add noise again and take f once more (algorithm 1).

**Reflow** (arXiv:2209.03003). Pairs (eps, x0) of the teacher's own, at both ends of a path of its flow, are joined by
straight lines x_t = alpha x0 + sigma eps, which are learned anew: |(eps - x0)^ - (eps - x0)|^2. Lines of such pairs
cross less, so the new flow is straighter, and its Euler steps err less. One round; its student can teach another.

Deviations. Progressive: the paper's teachers predict v on a cosine schedule; here they may be of any kind. Consistency:
the number of levels N is fixed, where consistency training lets it grow; a plain distance stands in for LPIPS; the
times of several steps are spread evenly over the grid instead of searched. Losses are means over dimensions.
"""

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from genjax.core.numerics import expand_to, mean_flat
from genjax.diffusion import grids, process, samplers, time_samplers, weighting
from genjax.diffusion.denoisers import Denoiser, Guide, Prediction, replace_x0
from genjax.diffusion.sample import sample
from genjax.diffusion.samplers import Sampler
from genjax.diffusion.schedules import NoiseLevel, Scalar, Schedule
from genjax.typing import Array, Float, Key

Data = Float[Array, "b ..."]


class Distillation(NamedTuple):
    """One way to learn from a teacher.

    Attributes:
        loss: (student, target, teacher, x0 [b, ...], key) -> [b]. `target` is the student held fast, as it is or as its
            moving average; gradients run through `student` alone.
        walk: (number of steps) -> the sampler of the student and its grid.
        estimate: what the sampler is given for the student's denoiser; None for the denoiser itself, whose student can
            teach in turn.
        target_decay: of the moving average that makes `target`; 0 = the student as it is.
    """

    loss: Callable[[Denoiser, Denoiser, Denoiser, Array, Key], Float[Array, " b"]]
    walk: Callable[[int], tuple[Sampler, NoiseLevel]]
    estimate: Guide | None = None
    target_decay: float = 0.0


def ddim_step(denoise: Denoiser, x: Data, cur: NoiseLevel, nxt: NoiseLevel, key: Key) -> Data:
    """One DDIM step of a denoiser; the levels' entries are [] or [b]."""
    return process.diffuse(*denoise(x, cur, key)[:2], nxt)


def heun_step(denoise: Denoiser, x: Data, cur: NoiseLevel, nxt: NoiseLevel, key: Key) -> Data:
    """One step of Heun over s, to a level with noise; the levels' entries are [] or [b]."""
    first = denoise(x, cur, process.fold(key, 0))
    proposal = process.diffuse(first.x0, first.eps, nxt)
    second = denoise(proposal, nxt, process.fold(key, 1))
    stride = expand_to(nxt.alpha * (nxt.ratio - cur.ratio), x)
    return proposal + 0.5 * stride * (second.eps - first.eps)


SOLVERS = {"ddim": ddim_step, "heun": heun_step}


def implied_x0(x_n: Data, x_c: Data, cur: NoiseLevel, nxt: NoiseLevel) -> Data:
    """The x0 with which one DDIM step leads from x_c to x_n (arXiv:2202.00512, appendix G)."""
    decay = nxt.sigma / cur.sigma
    return (x_n - expand_to(decay, x_c) * x_c) / expand_to(nxt.alpha - decay * cur.alpha, x_c)


def progressive_target(teacher: Denoiser, x: Data, cur: NoiseLevel, mid: NoiseLevel, nxt: NoiseLevel, key: Key) -> Data:
    """The x0 that lets one step from `cur` to `nxt` land where two DDIM steps of the teacher do, by way of `mid`."""
    halfway = ddim_step(teacher, x, cur, mid, process.fold(key, 0))
    return implied_x0(ddim_step(teacher, halfway, mid, nxt, process.fold(key, 1)), x, cur, nxt)


def progressive(levels: NoiseLevel, num_steps: int, weight: Mapping[str, Any]) -> Distillation:
    """Progressive distillation into `num_steps` steps, from a teacher of twice as many.

    Args:
        levels: the grid [N + 1] of all rounds.
        num_steps: K of the student; N is a multiple of 2 K.
        weight: `genjax.diffusion.weighting` of the squared x0 error; "truncated_snr" in the paper.

    Raises:
        ValueError: if the grid can't be halved so.
    """
    weigh, every = weighting.make(**weight), _stride(levels, 2 * num_steps)

    def loss(student, target, teacher, x0, key):
        start = 2 * every * jax.random.randint(process.fold(key, 0), x0.shape[:1], 0, num_steps)
        cur, mid, nxt = (levels.at(start + i * every) for i in range(3))
        x_t = process.diffuse(x0, process.noise_like(process.fold(key, 1), x0), cur).astype(x0.dtype)
        wanted = progressive_target(teacher, x_t, cur, mid, nxt, process.fold(key, 2))
        error = student(x_t, cur, process.fold(key, 3)).x0 - jax.lax.stop_gradient(wanted)
        return weigh(cur) * mean_flat(jnp.square(error))

    def walk(steps: int) -> tuple[Sampler, NoiseLevel]:
        return samplers.ddim(), levels.at(slice(None, None, _stride(levels, steps)))

    return Distillation(loss, walk)


def _stride(levels: NoiseLevel, num_steps: int) -> int:
    """Every how many-th level of a grid a walk of so many steps takes."""
    total = levels.alpha.shape[0] - 1
    if num_steps < 1 or total % num_steps:
        raise ValueError(f"a grid of {total} steps can't be walked in {num_steps}: choose a divisor of {total}")
    return total // num_steps


def consistency_scalars(
    level: NoiseLevel, least: Scalar, sigma_data: Scalar
) -> tuple[Float[Array, "*b"], Float[Array, "*b"]]:
    """(c_skip, c_out) for y = x / alpha and EDM's network (arXiv:2303.01469, appendix C): (1, 0) where s = `least`."""
    s = level.ratio
    c_skip = sigma_data**2 / (jnp.square(s - least) + sigma_data**2)
    return c_skip, sigma_data * (s - least) / jnp.sqrt(jnp.square(s) + sigma_data**2)


def consistency_function(least: Scalar, sigma_data: Scalar) -> Guide:
    """From a denoiser to the consistency function made of it, whose x0 is the estimate f.

    Args:
        least: s_min, where f is the identity.
        sigma_data: standard deviation of the data.
    """

    def guide(denoise: Denoiser) -> Denoiser:
        def estimate(x_t: Data, level: NoiseLevel, key: Key) -> Prediction:
            s, (c_skip, _) = level.ratio, consistency_scalars(level, least, sigma_data)
            share = 1 - least / s
            of_x = (c_skip - share * sigma_data**2 / (jnp.square(s) + sigma_data**2)) / level.alpha
            prediction = denoise(x_t, level, key)
            f = expand_to(of_x, x_t) * x_t + expand_to(share, x_t) * prediction.x0
            return replace_x0(prediction, f.astype(x_t.dtype), x_t, level)

        return estimate

    return guide


def _l2(difference: Data) -> Float[Array, " b"]:
    return mean_flat(jnp.square(difference))


def _l1(difference: Data) -> Float[Array, " b"]:
    return mean_flat(jnp.abs(difference))


def _huber(difference: Data) -> Float[Array, " b"]:
    """sqrt(|d|^2 + c^2) - c with c = .00054 sqrt(dimensions), over the square root of the dimensions."""
    return jnp.sqrt(mean_flat(jnp.square(difference)) + 0.00054**2) - 0.00054


METRICS = {"l2": _l2, "l1": _l1, "huber": _huber}
"""Distances of two estimates; "huber" is that of arXiv:2310.14189."""


def consistency(
    levels: NoiseLevel,
    sigma_data: float,
    metric: str = "l2",
    solver: str = "heun",
    target_decay: float = 0.0,
) -> Distillation:
    """A consistency model of a teacher, or, with the solver "none", of data alone.

    Args:
        levels: the grid [N + 1], whose last level but one is s_min.
        sigma_data: standard deviation of the data.
        metric: one of `METRICS`.
        solver: the teacher's step, one of `SOLVERS`; "none" for consistency training.
        target_decay: of the moving average that the loss compares with.

    Raises:
        ValueError: an unknown metric or solver, or fewer than two levels with noise.
    """
    count = levels.alpha.shape[0] - 1
    if metric not in METRICS or solver not in (*SOLVERS, "none"):
        raise ValueError(
            f"unknown metric {metric!r} or solver {solver!r}; known: {', '.join(METRICS)}; {', '.join(SOLVERS)}, none"
        )
    if count < 2:
        raise ValueError(f"a consistency model needs a grid of 2 steps or more, not {count}")
    least = levels.at(-2).ratio
    make_estimate = consistency_function(least, sigma_data)

    def loss(student, target, teacher, x0, key):
        step = jax.random.randint(process.fold(key, 0), x0.shape[:1], 0, count - 1)
        cur, nxt = levels.at(step), levels.at(step + 1)
        eps = process.noise_like(process.fold(key, 1), x0)
        x_c = process.diffuse(x0, eps, cur).astype(x0.dtype)
        if solver == "none":
            x_n = process.diffuse(x0, eps, nxt).astype(x0.dtype)
        else:
            x_n = SOLVERS[solver](teacher, x_c, cur, nxt, process.fold(key, 2)).astype(x0.dtype)
        wanted = make_estimate(target)(jax.lax.stop_gradient(x_n), nxt, process.fold(key, 3)).x0
        found = make_estimate(student)(x_c, cur, process.fold(key, 3)).x0
        return METRICS[metric](found - jax.lax.stop_gradient(wanted))

    def walk(steps: int) -> tuple[Sampler, NoiseLevel]:
        if not 1 <= steps < count:
            raise ValueError(f"this consistency model knows {count} levels of noise: sample in 1 to {count - 1} steps")
        kept = [round(i * (count - 1) / steps) for i in range(steps)]
        return multistep(least), levels.at(jnp.array([*kept, count]))

    return Distillation(loss, walk, make_estimate, target_decay)


def multistep(least: Scalar) -> Sampler:
    """Sampling with a consistency function (arXiv:2303.01469, algorithm 1): estimate, noise anew, estimate, ...

    Args:
        least: s_min, the noise that the estimates still have.
    """

    def step(estimate, x, carry, cur, nxt, key):
        x0 = estimate(x, cur, process.fold(key, 0)).x0
        fresh = jnp.sqrt(jnp.maximum(jnp.square(nxt.ratio) - jnp.square(least), 0))
        return nxt.alpha * (x0 + fresh * process.noise_like(process.fold(key, 1), x)), carry

    return Sampler(lambda x_T, levels: (), step)


def reflow(levels: NoiseLevel, schedule: Schedule) -> Distillation:
    """A straighter flow through the teacher's pairs of noise and sample, which its Heun steps down a grid make anew for
    every batch; of the batch's x0 only the shape is used.

    Args:
        levels: the teacher's grid [N + 1].
        schedule: of the flow; times are even.
    """
    times = time_samplers.uniform(schedule)

    def loss(student, target, teacher, x0, key):
        x_T = process.sample_prior(process.fold(key, 0), x0.shape, levels).astype(x0.dtype)
        drawn = sample(teacher, samplers.heun(), levels, x_T, process.fold(key, 1))
        drawn, eps = jax.lax.stop_gradient(drawn), x_T / jnp.hypot(levels.alpha[0], levels.sigma[0])
        level = schedule(times(process.fold(key, 2), x0.shape[0])[0])
        found = student(process.diffuse(drawn, eps, level).astype(x0.dtype), level, process.fold(key, 3))
        return mean_flat(jnp.square((found.eps - found.x0) - (eps - drawn)))

    def walk(steps: int) -> tuple[Sampler, NoiseLevel]:
        return samplers.euler(), grids.uniform(schedule, steps)

    return Distillation(loss, walk)


_MAKERS: dict[str, Callable[..., Distillation]] = {
    "progressive": progressive,
    "consistency": consistency,
    "reflow": reflow,
}


def make(name: str, schedule: Schedule, grid: str | int, **settings) -> Distillation:
    """The distillation called `name`, along a grid in the notation of `grids.make`.

    Raises:
        ValueError: an unknown name, a grid that the schedule can't satisfy, or settings that don't fit it.
    """
    if name not in _MAKERS:
        raise ValueError(f"unknown distillation {name!r}; known: {', '.join(sorted(_MAKERS))}")
    if name == "reflow":
        settings["schedule"] = schedule
    return _MAKERS[name](grids.make(schedule, grid), **settings)
