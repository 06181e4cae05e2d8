"""How the state of a run is made, and what it is where a fresh run starts: scratch, or parameters from elsewhere."""

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
import optax
from jax.sharding import Mesh
from ml_collections import ConfigDict

from genjax.core import tree as tree_lib
from genjax.core.arguments import named
from genjax.families.base import Family
from genjax.training import optim
from genjax.training import state as state_lib
from genjax.training.finite import NotFiniteError
from genjax.training.state import TrainState
from genjax.training.step import Ema
from genjax.typing import Batch, Key, Params, PyTree

Load = Callable[[PyTree], dict[str, Params]]
"""(shapes of the parameters) -> the parameters that `config.init_from` names."""


class Making(NamedTuple):
    """How the state of a run is made.

    Attributes:
        family: whose state it is.
        optimizers: player name -> optimizer.
        ema: of its parameters.
        init: (key, batch, parameters or None) -> state.
        shapes: of the state.
        shardings: where each array of it lies.
    """

    family: Family
    optimizers: dict[str, optax.GradientTransformation]
    ema: Ema
    init: Callable[..., TrainState]
    shapes: TrainState
    shardings: TrainState

    def start(self, key: Key, example: Batch, load: Load | None = None) -> TrainState:
        """The state of a fresh run.

        Args:
            key: of the run.
            example: a batch.
            load: where the parameters come from that the family adopts; None for scratch.

        Raises:
            ValueError: for parameters of another network.
        """
        return state_lib.create(self.init, key, example, self.shardings, self._adopted(load) if load else None)

    def _adopted(self, load: Load) -> dict[str, Params]:
        """Parameters from elsewhere as the family adopts them, None where it wants fresh ones."""
        own, params = self.shapes.params, load(self.shapes.params)
        params = named("config.")(self.family.adopt)(own, params) if self.family.adopt else params
        differing = tree_lib.summary(tree_lib.differences(own, params))
        if differing:
            raise ValueError(f"config.init_from names parameters of another network than this config's: {differing}")
        return jax.tree.map(lambda leaf: None if isinstance(leaf, jax.ShapeDtypeStruct) else leaf, params)


def making(config: ConfigDict, family: Family, mesh: Mesh, example: PyTree) -> Making:
    """How the state of a run is made.

    Args:
        config: of the run.
        family: that it describes.
        mesh: of the devices.
        example: a batch, or its shapes.
    """
    optimizers = optim.make_optimizers(config.optimizer.to_dict(), family, config.training.num_steps)
    ema = Ema(**config.training.ema)
    init = state_lib.make_init(family, optimizers, keep_ema=ema.decay > 0)
    shapes = jax.eval_shape(init, jax.random.key(config.seed), example)
    return Making(family, optimizers, ema, init, shapes, state_lib.state_shardings(shapes, mesh, family))


def check_finite(params: PyTree) -> None:
    """Nothing, if a run can start from these.

    Raises:
        NotFiniteError: otherwise.
    """
    if not jax.jit(tree_lib.all_finite)(params):
        raise NotFiniteError("the parameters that the run starts from are not finite: config.init_from, or config")


def zeros(shapes: PyTree) -> PyTree:
    """A batch of these shapes, where only they matter."""
    return jax.tree.map(lambda leaf: jnp.zeros(leaf.shape, leaf.dtype), shapes)
