"""The state of a run: everything that changes from step to step, and nothing random."""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import optax
from jax.sharding import Mesh

from genjax import sharding
from genjax.core import rng
from genjax.families.base import Family
from genjax.families.interfaces import Weights
from genjax.typing import Array, Batch, Int, Key, Params, PyTree


class TrainState(NamedTuple):
    """One pytree, donated to every step.

    Attributes:
        step: number of finished steps, int32.
        params: player name -> parameters.
        opt_state: player name -> optimizer state.
        ema: player name -> moving average of the parameters; empty where none is kept.
        extra: state of the family that is not optimised.
    """

    step: Int[Array, ""]
    params: dict[str, Params]
    opt_state: dict[str, PyTree]
    ema: dict[str, Params]
    extra: PyTree


def weights(state: TrainState, frozen: PyTree) -> Weights:
    """What to sample with: moving averages where they are kept, parameters elsewhere."""
    return Weights({**state.params, **state.ema}, state.extra, frozen)


def make_init(family: Family, optimizers: dict[str, optax.GradientTransformation], keep_ema: bool):
    """A function (key, batch) -> TrainState at step 0."""

    def init(key: Key, batch: Batch) -> TrainState:
        params, extra = family.init(rng.stream(key, "init"), batch)
        opt_state = {name: optimizer.init(params[name]) for name, optimizer in optimizers.items()}
        ema = jax.tree.map(jnp.copy, params) if keep_ema else {}
        return TrainState(jnp.zeros((), jnp.int32), params, opt_state, ema, extra)

    return init


def state_shardings(shapes: TrainState, mesh: Mesh, family: Family) -> TrainState:
    """Where each array of the state lies on the mesh.

    Raises:
        ValueError: if too little of the parameters is sharded over a mesh with `fsdp` or `tensor` axes.
    """
    shardings = sharding.infer(shapes, mesh, family.logical_axes)
    sharding.check_coverage(shapes.params, shardings.params)
    return shardings


def create(init, key: Key, batch: Batch, shardings: TrainState) -> TrainState:
    """The fresh state, born sharded: no device ever holds the whole."""
    return jax.jit(init, out_shardings=shardings)(key, batch)
