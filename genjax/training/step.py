"""The one train step: for each player in order, gradient of its loss, its optimizer, its moving average.

    for player in family.players:
        gradient of player.loss on its own parameters, of the batch at once or in pieces (`accumulate`)
        updates from its own optax chain, kept only if loss, gradient and the new parameters are finite
        ema <- ema + (1 - decay) (params - ema),   decay = min(d, (1 + step) / (10 + step)) while warming up

The state goes in and comes out with the same shardings and is donated. The seed key, the batch and frozen weights are
arguments, so one compilation serves a whole run and any seed.
"""

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
import optax

from genjax.core import rng
from genjax.core import tree as tree_lib
from genjax.families.base import Family, LossInputs, Player
from genjax.training import accumulate
from genjax.training.finite import ACTS, FAULT, faults
from genjax.training.state import TrainState
from genjax.typing import Array, Batch, Bool, Float, Int, Key, PyTree


class Ema(NamedTuple):
    """Moving average of the parameters: `decay` (0 = keep none), and whether it warms up as (1 + step)/(10 + step)."""

    decay: float
    warmup: bool = True


def ema_decay(ema: Ema, step: Int[Array, ""]) -> Float[Array, ""]:
    """The decay in force at `step`, counted from 0."""
    ramp = (1.0 + step) / (10.0 + step)
    return jnp.minimum(ema.decay, ramp) if ema.warmup else jnp.asarray(ema.decay, jnp.float32)


def make_train_step(
    family: Family, optimizers: dict[str, optax.GradientTransformation], ema: Ema, microbatches: int = 1
) -> Callable[[TrainState, Batch, PyTree, Key], tuple[TrainState, dict[str, Float[Array, ""]]]]:
    """The function (state, batch, frozen, seed key) -> (state, metrics), to be jitted with the state donated.

    Args:
        family: its players are trained in their order, each seeing what those before it became.
        optimizers: player name -> optax chain.
        ema: moving average of all players' parameters.
        microbatches: pieces into which the batch is cut, whose gradients are added up before the update.

    Raises:
        ValueError: microbatches for a player that needs the batch as a whole.

    The metrics are the losses' own, each under `player/name`, with `player/loss` and `player/grad_norm`;
    `player/acts` is 0 for a player that rests in a step (`every`), whose other metrics mean nothing then;
    `player/fault` says what was not finite (`genjax.training.finite`), and `finite` is 1 if nothing was.
    """
    accumulate.check(family, microbatches)

    def train_step(state: TrainState, batch: Batch, frozen: PyTree, key: Key):
        metrics: dict[str, Array] = {}
        finite = jnp.ones((), jnp.float32)
        for player in family.players:
            update = _make_update(player, optimizers[player.name], microbatches)
            inputs = (state, batch, frozen, rng.stream(key, player.name, state.step))
            acts = state.step % player.every == 0
            state, own = update(*inputs) if player.every == 1 else _update_if(acts, update, inputs)
            own[ACTS], own[FAULT] = acts.astype(jnp.float32), jnp.where(acts, own[FAULT], 0.0)
            finite *= own[FAULT] == 0
            metrics |= {f"{player.name}/{name}": value for name, value in own.items()}
        if state.ema:
            weight = 1.0 - ema_decay(ema, state.step)
            state = state._replace(ema=tree_lib.lerp(state.ema, state.params, weight))
        return state._replace(step=state.step + 1), metrics | {"finite": finite}

    return train_step


def _update_if(acts: Bool[Array, ""], update, inputs):
    """The update where `acts` holds; else the state as it was, and metrics that mean nothing."""
    metrics = jax.eval_shape(update, *inputs)[1]

    def rest(state, *_):
        return state, jax.tree.map(lambda metric: jnp.full(metric.shape, jnp.nan, metric.dtype), metrics)

    return jax.lax.cond(acts, update, rest, *inputs)


def _make_update(player: Player, optimizer: optax.GradientTransformation, microbatches: int):
    """The function (state, batch, frozen, key) -> (state, metrics) that trains one player.

    The state comes back as it went in where the update would not be finite. The optimizer is given the global `step`,
    so that a schedule doesn't depend on how often the player acts.
    """
    optimizer = optax.with_extra_args_support(optimizer)

    def update(state: TrainState, batch: Batch, frozen: PyTree, key: Key):
        own = state.params[player.name]
        others = {name: params for name, params in state.params.items() if name != player.name}
        inputs = LossInputs(others, state.extra, frozen, batch, key, state.step)
        found = accumulate.compute(player, own, inputs, microbatches)
        before = own, state.opt_state[player.name], state.extra
        updates, opt_state = optimizer.update(found.grads, before[1], own, step=state.step)
        after = optax.apply_updates(own, updates), opt_state, found.extra
        grad_norm = optax.tree.norm(found.grads)
        fault = faults(found.loss, grad_norm, after[0], after[2], batch)
        params, opt_state, extra = jax.tree.map(lambda old, new: jnp.where(fault == 0, new, old), before, after)
        state = state._replace(
            params={**state.params, player.name: params},
            opt_state={**state.opt_state, player.name: opt_state},
            extra=extra,
        )
        return state, {**found.metrics, "loss": found.loss, "grad_norm": grad_norm, FAULT: fault}

    return update
