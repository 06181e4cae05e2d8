"""The one train step: for each player in order, gradient of its loss, its optimizer, its moving average.

    for player in family.players:
        gradient of player.loss on its own parameters, averaged over the microbatches
        updates from its own optax chain
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
from genjax.families.base import Family, LossInputs, LossOutputs, Player
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
        microbatches: pieces into which the batch is cut, whose gradients are averaged before the update.

    The metrics are the losses' own, each under `player/name`, with `player/loss` and `player/grad_norm`. A player
    that rests in a step (`every`) reports NaN there, which means "nothing to report"; `finite` is 1 as long as
    every loss and gradient of the step was finite.
    """

    def train_step(state: TrainState, batch: Batch, frozen: PyTree, key: Key):
        metrics, finite = {}, jnp.asarray(True)
        for player in family.players:
            update = _make_update(player, optimizers[player.name], microbatches)
            inputs = (state, batch, frozen, rng.stream(key, player.name, state.step))
            acts = state.step % player.every == 0
            state, own = update(*inputs) if player.every == 1 else _update_if(acts, update, inputs)
            finite &= ~acts | (jnp.isfinite(own["loss"]) & jnp.isfinite(own["grad_norm"]))
            metrics |= {f"{player.name}/{name}": value for name, value in own.items()}
        if state.ema:
            weight = 1.0 - ema_decay(ema, state.step)
            state = state._replace(ema=tree_lib.lerp(state.ema, state.params, weight))
        return state._replace(step=state.step + 1), metrics | {"finite": finite.astype(jnp.float32)}

    return train_step


def _update_if(acts: Bool[Array, ""], update, inputs):
    """The update where `acts` holds; else the state as it was, and NaN for each metric."""
    metrics = jax.eval_shape(update, *inputs)[1]

    def rest(state, *_):
        return state, jax.tree.map(lambda metric: jnp.full(metric.shape, jnp.nan, metric.dtype), metrics)

    return jax.lax.cond(acts, update, rest, *inputs)


def _make_update(player: Player, optimizer: optax.GradientTransformation, microbatches: int):
    """The function (state, batch, frozen, key) -> (state, metrics) that trains one player."""

    def update(state: TrainState, batch: Batch, frozen: PyTree, key: Key):
        own = state.params[player.name]
        others = {name: params for name, params in state.params.items() if name != player.name}

        def gradient(extra, piece, key):
            inputs = LossInputs(others, extra, frozen, piece, key, state.step)
            return jax.value_and_grad(player.loss, has_aux=True)(own, inputs)

        if microbatches == 1:
            (loss, outputs), grads = gradient(state.extra, batch, key)
        else:
            (loss, outputs), grads = _accumulate(gradient, state.extra, batch, key, microbatches)
        updates, opt_state = optimizer.update(grads, state.opt_state[player.name], own)
        metrics = {**outputs.metrics, "loss": loss, "grad_norm": optax.tree.norm(grads)}
        state = state._replace(
            params={**state.params, player.name: optax.apply_updates(own, updates)},
            opt_state={**state.opt_state, player.name: opt_state},
            extra=outputs.extra,
        )
        return state, metrics

    return update


def _accumulate(gradient, extra: PyTree, batch: Batch, key: Key, microbatches: int):
    """Mean gradient, loss and metrics over pieces of the batch; `extra` passes from piece to piece.

    Every n-th example goes into the same piece, so that each device cuts up its own share of the batch.
    """
    pieces = jax.tree.map(
        lambda x: x.reshape(x.shape[0] // microbatches, microbatches, *x.shape[1:]).swapaxes(0, 1), batch
    )

    def body(extra, inputs):
        (loss, outputs), grads = gradient(extra, *inputs)
        return outputs.extra, (loss, outputs.metrics, grads)

    def accumulate(carry, inputs):
        extra, total = carry
        extra, values = body(extra, inputs)
        return (extra, jax.tree.map(jnp.add, total, values)), None

    keys = jax.random.split(key, microbatches)
    shapes = jax.eval_shape(body, extra, jax.tree.map(lambda x: x[0], (pieces, keys)))[1]
    zeros = jax.tree.map(lambda x: jnp.zeros(x.shape, x.dtype), shapes)
    (extra, total), _ = jax.lax.scan(accumulate, (extra, zeros), (pieces, keys))
    loss, metrics, grads = jax.tree.map(lambda x: x / microbatches, total)
    return (loss, LossOutputs(extra, metrics)), grads
