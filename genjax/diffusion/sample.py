"""Sampling: one `lax.scan` of a sampler's steps down a grid of noise levels, or along a walk over one."""

from typing import NamedTuple

import jax
import jax.numpy as jnp

from genjax.diffusion.denoisers import Denoiser, Prediction
from genjax.diffusion.grids import Walk
from genjax.diffusion.process import fold
from genjax.diffusion.samplers import Sampler
from genjax.diffusion.schedules import NoiseLevel
from genjax.typing import Array, Float, Key


class Trajectory(NamedTuple):
    """What was seen on the way down, step by step, noisiest first.

    Attributes:
        x_t: the noisy data after each step; the last is the result.
        x0: the estimate of clean data that each step began with.
    """

    x_t: Float[Array, "N b ..."]
    x0: Float[Array, "N b ..."]


def sample(
    denoise: Denoiser, sampler: Sampler, levels: NoiseLevel | Walk, x_T: Float[Array, "b ..."], key: Key,
    *, trajectory: bool = False,
) -> Float[Array, "b ..."] | tuple[Float[Array, "b ..."], Trajectory]:  # fmt: skip
    """Walk from x_T at `levels[0]` down to clean data.

    Args:
        denoise: the denoiser, guided or not.
        sampler: how to step.
        levels: a grid of N + 1 levels, or a walk of N steps over one.
        x_T: start, of the first level's distribution (`process.sample_prior`), or any x_t for editing.
        key: one key; or one an example, [b] keys, so that no sample depends on the batch it's drawn in.
        trajectory: also give every step, at N times the memory.

    Returns:
        x0, or (x0, Trajectory).
    """
    levels, order = levels if isinstance(levels, Walk) else (levels, None)
    x_T = x_T.astype(jnp.result_type(x_T, levels.alpha))

    def body(state, inputs):
        x, carry = state
        cur, nxt, index = inputs
        seen: list[Prediction] = []

        def watched(x_t: Array, level: NoiseLevel, step_key: Key) -> Prediction:
            prediction = denoise(x_t, level, step_key)
            seen.append(prediction)
            return prediction

        x, carry = sampler.step(watched, x, carry, cur, nxt, fold(key, index))
        return (x.astype(x_T.dtype), carry), Trajectory(x, seen[0].x0) if trajectory else None

    pairs: tuple[NoiseLevel, ...] = (levels.at(slice(None, -1)), levels.at(slice(1, None)))
    if order is not None:
        pairs = tuple(level.at(order) for level in pairs)
    num_steps = pairs[0].alpha.shape[0]
    (x0, _), path = jax.lax.scan(body, (x_T, sampler.init(x_T, levels)), (*pairs, jnp.arange(num_steps)))
    return (x0, path) if trajectory else x0
