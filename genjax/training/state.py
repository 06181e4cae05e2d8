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
    """A function (key, batch, params=None) -> TrainState at step 0.

    What `params` has, player name -> parameters, is taken from there, in the precision of the family's own; None in the
    place of an array is drawn as always. A program that is given all of them draws none.
    """

    def init(key: Key, batch: Batch, params: dict[str, Params] | None = None) -> TrainState:
        own, extra = family.init(rng.stream(key, "init"), batch)
        params = own if params is None else jax.tree.map(_or_given, own, params)
        opt_state = {name: optimizer.init(params[name]) for name, optimizer in optimizers.items()}
        ema = jax.tree.map(jnp.copy, params) if keep_ema else {}
        return TrainState(jnp.zeros((), jnp.int32), params, opt_state, ema, extra)

    return init


def _or_given(own: Array, given: Array | None) -> Array:
    """A parameter in memory of its own: the state is donated, and a family may adopt one array in several places."""
    return own if given is None else jnp.copy(given.astype(own.dtype))


def state_shardings(shapes: TrainState, mesh: Mesh, family: Family) -> TrainState:
    """Where each array of the state lies on the mesh.

    Raises:
        ValueError: if too little of the parameters is sharded over a mesh with `fsdp` or `tensor` axes.
    """
    shardings = sharding.infer(shapes, mesh, family.logical_axes)
    sharding.check_coverage(shapes.params, shardings.params)
    return shardings


def create(init, key: Key, batch: Batch, shardings: TrainState, params: dict[str, Params] | None = None) -> TrainState:
    """The fresh state, of `params` as far as there are any; born sharded: no device ever holds the whole."""
    if params is not None:
        places = jax.tree.map(
            lambda given, place: None if given is None else place, params, shardings.params, is_leaf=_is_none
        )
        params = jax.device_put(params, places)
    return jax.jit(init, out_shardings=shardings)(key, batch, params)


def _is_none(value: PyTree) -> bool:
    return value is None
