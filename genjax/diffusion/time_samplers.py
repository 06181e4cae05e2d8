"""Time samplers: which noise levels a training batch is drawn at.

A `TimeSampler` is three pure functions; its history is a pytree that lives in the training state:

    history = times.init()
    t, weight = times(key, batch, history)            # [b], [b]; the loss is mean(weight * per-example loss)
    history = times.update(history, t, losses)        # losses [b], unweighted

`uniform` and `stratified` draw t evenly (log t of the `edm` schedule) with weight 1 and `lognormal` defines an
objective of its own (weight 1); `loss_aware` is importance sampling: its weights 1 / (T p_t) keep the loss's
expectation that of uniform times.
"""

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from genjax.diffusion.schedules import Discrete, Identity, Scalar, Schedule
from genjax.typing import Array, Bool, Float, Int, Key, PyTree


class TimeSampler(NamedTuple):
    """Draws training times.

    Attributes:
        init: () -> history, a pytree of arrays; () where nothing is remembered.
        draw: (key, batch size, history) -> (t [b] in the schedule's unit, weight [b]).
        update: (history, t [b], losses [b]) -> history.
    """

    init: Callable[[], PyTree]
    draw: Callable[[Key, int, PyTree], tuple[Array, Array]]
    update: Callable[[PyTree, Array, Array], PyTree]

    def __call__(self, key: Key, batch: int, history: PyTree = ()) -> tuple[Float[Array, " b"], Float[Array, " b"]]:
        """(t [b], weight [b]) for a batch of that size."""
        return self.draw(key, batch, history)


def _memoryless(draw: Callable[[Key, int], Array]) -> TimeSampler:
    """A sampler of weight 1 that remembers nothing."""

    def weighted(key: Key, batch: int, history: PyTree) -> tuple[Array, Array]:
        times = draw(key, batch)
        return times, jnp.ones_like(times)

    return TimeSampler(lambda: (), weighted, lambda history, t, losses: history)


def _spread(schedule: Schedule, u: Float[Array, "*b"]) -> Float[Array, "*b"]:
    """u in [0, 1) to t: whole steps of a discrete schedule, (t_min, t_max] of a continuous one.

    t_min is excluded because many schedules have no noise there. Where t is sigma itself, log t is spread evenly: sigma
    runs over five orders of magnitude, and even ones would almost all be of pure noise.
    """
    if isinstance(schedule, Discrete):
        return jnp.minimum(jnp.floor(u * schedule.num_steps), schedule.num_steps - 1)
    if isinstance(schedule, Identity):
        return schedule.t_max * (schedule.t_min / jnp.asarray(schedule.t_max, u.dtype)) ** u
    return schedule.t_max - u * (schedule.t_max - schedule.t_min)


def uniform(schedule: Schedule) -> TimeSampler:
    """Independent, even times: steps 0..T-1 of a discrete schedule, (t_min, t_max] of a continuous one.

    Of the `edm` schedule log t is even.
    """
    return _memoryless(lambda key, batch: _spread(schedule, jax.random.uniform(key, (batch,), float)))


def stratified(schedule: Schedule) -> TimeSampler:
    """Even times that cover the range together: `(u + i / b) mod 1`, one u a batch (VDM, arXiv:2107.00630).

    Each example's time is uniform by itself, yet the loss varies less from batch to batch.
    """
    return _memoryless(lambda key, batch: even(schedule, key, jnp.ones(batch, bool))[0])


def even(schedule: Schedule, key: Key, present: Bool[Array, " b"], rows: int = 1) -> Float[Array, "rows b"]:
    """Times that cover the range evenly, `rows` of each example that is present, an equal part of the range apart.

        (u + (r + i / n) / rows) mod 1,     i = 0..n-1 of the n that are present,   one u a batch

    So a batch that is filled up with padding covers the range as a full one. Each example's times are in order.
    """
    place = (jnp.cumsum(present) - 1) / jnp.maximum(jnp.sum(present), 1)
    u = jax.random.uniform(key, (), float) + (jnp.arange(rows)[:, None] + jnp.maximum(place, 0)) / rows
    return jnp.sort(_spread(schedule, u % 1.0), axis=0)


def lognormal(schedule: Schedule, mean: Scalar = -1.2, std: Scalar = 1.2) -> TimeSampler:
    """log(sigma / alpha) ~ N(mean, std^2) (EDM, arXiv:2206.00364, table 1), in the schedule's own time.

    A discrete schedule gets fractional steps, and its ends where the normal reaches beyond them. Of the `flow` schedule
    t has a logit-normal distribution, as in arXiv:2403.03206: at mean 0, std 1 most are around 1/2.
    """

    def draw(key: Key, batch: int) -> Array:
        return schedule.time(jnp.exp(mean + std * jax.random.normal(key, (batch,), float)))

    return _memoryless(draw)


class LossHistory(NamedTuple):
    """The last losses seen at each step of a discrete schedule.

    Attributes:
        losses: ring buffers [T, n].
        counts: losses ever seen at each step [T].
        skipped: losses that were not finite, which are kept nowhere: one of them would make all weights NaN.
    """

    losses: Float[Array, "T n"]
    counts: Int[Array, " T"]
    skipped: Int[Array, ""] = np.int32(0)  # type: ignore[assignment]  # as good as an array


def loss_aware(schedule: Schedule, history_per_step: int = 10, uniform_prob: Scalar = 0.001) -> TimeSampler:
    """Times in proportion to the root mean square of each step's last losses (IDDPM, arXiv:2102.09672).

    Uniform until every step has seen `history_per_step` losses. Needed to train on L_vlb alone.

    Args:
        schedule: a discrete schedule.
        history_per_step: losses remembered a step.
        uniform_prob: total probability that is spread evenly, so no weight grows without bound.

    Raises:
        ValueError: a continuous schedule.
    """
    if not isinstance(schedule, Discrete):
        raise ValueError(
            f"loss_aware counts losses by step: it needs a discrete schedule, not {type(schedule).__name__}; "
            "use uniform, stratified or lognormal"
        )
    num_steps = schedule.num_steps

    def init() -> LossHistory:
        return LossHistory(jnp.zeros((num_steps, history_per_step)), jnp.zeros((num_steps,), jnp.int32), jnp.int32(0))

    def draw(key: Key, batch: int, history: LossHistory) -> tuple[Array, Array]:
        probs = step_probs(history, uniform_prob)
        steps = jax.random.categorical(key, jnp.log(probs), shape=(batch,))
        return steps.astype(probs.dtype), 1 / (num_steps * probs[steps])

    return TimeSampler(init, draw, remember)


def step_probs(history: LossHistory, uniform_prob: Scalar) -> Float[Array, " T"]:
    """Probability of each step: uniform before every buffer is full, else by root mean square loss."""
    num_steps, size = history.losses.shape
    # In units of the greatest, whose square may be more than a float32 can be.
    unit = jnp.maximum(jnp.max(jnp.abs(history.losses)), 1e-30)
    rms = jnp.sqrt(jnp.mean(jnp.square(history.losses / unit), axis=1))
    probs = (1 - uniform_prob) * rms / jnp.maximum(jnp.sum(rms), 1e-30) + uniform_prob / num_steps
    return jnp.where(jnp.all(history.counts >= size), probs / jnp.sum(probs), 1 / num_steps)


def remember(history: LossHistory, t: Float[Array, " b"], losses: Float[Array, " b"]) -> LossHistory:
    """The history with a batch of losses put in, each in place of its step's oldest, in the batch's order.

    Those that aren't finite are counted alone.
    """
    num_steps, size = history.losses.shape
    finite = jnp.isfinite(losses)
    # Those that are skipped count as of a step that there isn't.
    steps = jnp.where(finite, t.astype(jnp.int32), num_steps)
    same = steps[:, None] == steps[None, :]
    earlier = jnp.sum(jnp.tril(same, -1), axis=1)
    # Of more than `size` losses of one step in a batch only the last stay: two writes to one slot have no
    # order.
    stays = jnp.sum(same, axis=1) - earlier <= size
    slots = jnp.where(stays, (history.counts[steps] + earlier) % size, size)
    kept = history.losses.at[steps, slots].set(jax.lax.stop_gradient(losses).astype(history.losses.dtype), mode="drop")
    counts = history.counts.at[steps].add(1, mode="drop")
    return LossHistory(kept, counts, history.skipped + jnp.sum(~finite, dtype=jnp.int32))


_MAKERS: dict[str, Callable[..., TimeSampler]] = {
    "uniform": uniform,
    "stratified": stratified,
    "lognormal": lognormal,
    "loss_aware": loss_aware,
}


def make(name: str, schedule: Schedule, **kwargs) -> TimeSampler:
    """The time sampler called `name` for a schedule.

    Raises:
        ValueError: an unknown name, or one that doesn't suit the schedule.
    """
    if name not in _MAKERS:
        raise ValueError(f"unknown time sampler {name!r}; known: {', '.join(sorted(_MAKERS))}")
    return _MAKERS[name](schedule, **kwargs)
