"""Networks of noisy images that guide diffusion models, such as classifiers: what they are trained on and measured at.

x_t = alpha x0 + sigma eps,    t uniform over the schedule
"""

from collections.abc import Callable

import jax

from genjax.core import rng
from genjax.diffusion import process, time_samplers
from genjax.diffusion.schedules import Schedule
from genjax.families.terms import present
from genjax.typing import Array, Batch, Image, Key, PerExample

QUARTERS = 4


def draw(schedule: Schedule, x0: Image, key: Key) -> tuple[Image, PerExample]:
    """(x_t, t) of each example, for training."""
    t, _ = time_samplers.uniform(schedule)(rng.stream(key, "time"), x0.shape[0])
    return _diffuse(schedule, x0, t, rng.stream(key, "noise")), t


def by_quarters(
    schedule: Schedule, batch: Batch, key: Key, score: Callable[[Image, PerExample], tuple[PerExample, PerExample]]
) -> dict[str, Array]:
    """Loss and accuracy of each example at four times, one in each quarter of the schedule, and their means.

    Args:
        schedule: of the noise.
        batch: of evaluation.
        key: of times and noise.
        score: (x_t, t) -> (loss, accuracy) of each example.
    """
    # An example's four times are a quarter of the range apart: one lies in each quarter.
    quarters = time_samplers.even(schedule, rng.stream(key, "time"), present(batch), QUARTERS)

    def one(quarter: tuple[PerExample, Key]) -> tuple[PerExample, PerExample]:
        t, noise = quarter
        return score(_diffuse(schedule, batch["image"], t, noise), t)

    loss, right = jax.lax.map(one, (quarters, jax.random.split(rng.stream(key, "noise"), QUARTERS)))
    by_quarter = {f"accuracy_q{i + 1}": right[i] for i in range(QUARTERS)}
    return {"loss": loss.mean(0), "accuracy": right.mean(0), **by_quarter}


def _diffuse(schedule: Schedule, x0: Image, t: PerExample, key: Key) -> Image:
    return process.diffuse(x0, process.noise_like(key, x0), schedule(t))
