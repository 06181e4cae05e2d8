"""Not finite is an error with a cause: a player's loss, gradient or parameters, or the batch before all of them.

The train step checks before it keeps an update (`faults`, on the device): where the loss, the gradient, the parameters
after the update or the state beside them are not finite, the player stays as it was. The host hears of it at the next
report (`Watch`), and then, as `config.training.on_nonfinite` says,

    stop    ends the run, naming the cause; no checkpoint is written of what came after
    skip    goes on without the update, and says so, until `max_nonfinite` updates in a row were skipped
"""

import math
from collections.abc import Mapping

import jax.numpy as jnp

from genjax.core import tree as tree_lib
from genjax.typing import Array, Float, PyTree

POLICIES = ("stop", "skip")
LOSS, GRADIENT, UPDATE, EXTRA, BATCH = 1, 2, 4, 8, 16
"""What was not finite, as bits of a player's `fault`."""

FAULT, ACTS = "fault", "acts"
"""Names among the metrics of a player: what was wrong, and whether it was its turn."""


class NotFiniteError(ValueError):
    """A loss, a gradient or a parameter became NaN or infinite."""


def faults(
    loss: Float[Array, ""], grad_norm: Float[Array, ""], params: PyTree, extra: PyTree, batch: PyTree
) -> Float[Array, ""]:
    """What is not finite in a player's update, as the sum of the bits above; 0 where all that is to be kept is.

    Args:
        loss: its loss.
        grad_norm: norm of its gradient.
        params: its parameters after the update.
        extra: the family's state after it.
        batch: the batch, whose bit is set only together with another.
    """
    finite = {LOSS: jnp.isfinite(loss), GRADIENT: jnp.isfinite(grad_norm), UPDATE: tree_lib.all_finite(params)}
    finite[EXTRA] = tree_lib.all_finite(extra)
    found = sum(jnp.where(fine, 0.0, float(bit)) for bit, fine in finite.items())
    return jnp.where((found > 0) & ~tree_lib.all_finite(batch), found + BATCH, found)


class Watch:
    """Reads what steps report, and stops the run where its policy says so.

    Args:
        policy: "stop" or "skip".
        limit: with "skip", how many updates in a row may be skipped.

    Raises:
        ValueError: for another policy, or a limit below 1.
    """

    def __init__(self, policy: str = "stop", limit: int = 100):
        if policy not in POLICIES:
            raise ValueError(f"unknown config.training.on_nonfinite={policy!r}; it is one of {POLICIES}")
        if limit < 1:
            raise ValueError(f"config.training.max_nonfinite={limit} must be at least 1")
        self._policy, self._limit, self._row = policy, limit, 0

    def check(self, step: int, metrics: Mapping[str, float]) -> str:
        """Why the update of a step was skipped, in one line; empty if it was kept.

        Args:
            step: counted from 1.
            metrics: of the step, with `finite`, and of each player its `fault`.

        Raises:
            NotFiniteError: if the run is to stop for it.
        """
        if metrics.get("finite", 1.0):
            self._row = 0
            return ""
        self._row += 1
        line = f"step {step}: {_cause(metrics)}; the update was skipped"
        if self._policy == "stop":
            raise NotFiniteError(f"{line}. {_advice(step, metrics)}")
        if self._row > self._limit:
            raise NotFiniteError(f"{line}, and {self._limit} before it in a row. {_advice(step, metrics)}")
        return line


def _failed(metrics: Mapping[str, float]) -> tuple[str, int]:
    """The first player with a fault, and its bits."""
    players = [name.removesuffix("/loss") for name in metrics if name.endswith("/loss")]
    for player in players:
        loss = metrics[f"{player}/loss"]
        bits = int(metrics.get(f"{player}/{FAULT}", 0 if math.isfinite(loss) else LOSS))
        if bits:
            return player, bits
    return (players or [""])[0], GRADIENT


def _cause(metrics: Mapping[str, float]) -> str:
    """What was not finite, the first in the order of cause and effect, with the figures."""
    player, bits = _failed(metrics)
    figures = {name: metrics[name] for name in (f"{player}/loss", f"{player}/grad_norm") if name in metrics}
    said = ", ".join(f"{name} {value:.4g}" for name, value in figures.items())
    words = {
        BATCH: "the batch of data",
        LOSS: f"the loss of {player!r}",
        GRADIENT: f"the gradient of {player!r}",
        UPDATE: f"what the update makes of the parameters of {player!r}",
        EXTRA: f"the state that {player!r} keeps beside its parameters",
    }
    return f"{next(word for bit, word in words.items() if bits & bit)} is not finite ({said})"


def _advice(step: int, metrics: Mapping[str, float]) -> str:
    """What to try, by the cause."""
    player, bits = _failed(metrics)
    if bits & BATCH:
        return "Look at the data of config.data: it holds NaN or infinity"
    rate = f"config.optimizer.{player}.learning_rate"
    if step == 1 and bits & (LOSS | GRADIENT):
        return f"No update was made before it, so {rate} is not the cause: look at config.model, its dtype and the data"
    return (
        f"Lower {rate} or set config.optimizer.{player}.clip_norm and run again, both may change in this workdir; "
        "or leave such updates out, --config.training.on_nonfinite=skip"
    )
