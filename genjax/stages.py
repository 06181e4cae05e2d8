"""How one run becomes the input of the next: a workdir in, a `Stage` out.

A stage is what a later stage, a sampler or an evaluation needs of a finished run: its family (rebuilt from the
workdir's own `config.json`), its weights (moving averages where they are kept) and its config.
Nothing else has to be said than where the workdir is.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax.sharding import Mesh
from ml_collections import ConfigDict

from genjax import sharding
from genjax.data import loader
from genjax.families import registry
from genjax.families.base import Family, Weights
from genjax.training import optim, workdir
from genjax.training import state as state_lib
from genjax.training.checkpoint import Checkpoints
from genjax.typing import DataSpec, Params


class Stage(NamedTuple):
    """A trained run.

    Attributes:
        family: its pure functions.
        weights: what to call them with.
        config: what it was trained with, with the overrides that were asked for.
        spec: shape and classes of its data.
        step: the step of the checkpoint.
    """

    family: Family
    weights: Weights
    config: ConfigDict
    spec: DataSpec
    step: int


def build(config: ConfigDict) -> tuple[Family, DataSpec]:
    """The family that a config describes, and what its data is.

    Raises:
        ValueError: for an unknown family or settings that it refuses, or data that isn't there.
    """
    spec = loader.describe(config.data.to_dict())
    return registry.build(config.family, config.model.to_dict(), config.sampling.to_dict(), spec), spec


def load(folder: str | Path, mesh: Mesh | None = None, sampling: Mapping[str, Any] | None = None) -> Stage:
    """The newest whole checkpoint of a workdir.

    Args:
        folder: the workdir.
        mesh: where the weights go; by default all devices, replicated.
        sampling: overrides of `config.sampling`, e.g. {"num_steps": "ddim25", "sampler": {"name": "ddim"}}.

    Raises:
        ValueError: if it is no workdir, or holds no checkpoint yet.
    """
    folder = Path(folder)
    config = workdir.read_config(folder)
    for name, value in (sampling or {}).items():
        config.sampling[name] = value
    family, spec = build(config)
    mesh = mesh or sharding.make_mesh()
    optimizers = optim.make_optimizers(config.optimizer.to_dict(), family, config.training.num_steps)
    init = state_lib.make_init(family, optimizers, keep_ema=config.training.ema.decay > 0)
    shapes = jax.eval_shape(init, jax.random.key(config.seed), example_batch(spec))
    shardings = state_lib.state_shardings(shapes, mesh, family)
    checkpoints = Checkpoints(folder / "checkpoints")
    restored = checkpoints.restore_newest(shapes, shardings)
    checkpoints.close()
    if restored is None:
        raise ValueError(
            f"{folder} holds no checkpoint yet; train it with launch/train.py --workdir={folder}"
        )
    state = restored[0]
    return Stage(family, state_lib.weights(state, {}), config, spec, int(state.step))


def initial_params(folder: str | Path) -> dict[str, Params]:
    """The parameters (moving averages) that `config.init_from` names, for a run that starts from another's."""
    return dict(load(folder).weights.params)


def example_batch(spec: DataSpec) -> dict[str, jax.ShapeDtypeStruct]:
    """The shapes of a batch of one example."""
    batch = {"image": jax.ShapeDtypeStruct((1, *spec.image_shape), jnp.float32)}
    if spec.num_classes:
        batch["label"] = jax.ShapeDtypeStruct((1,), jnp.int32)
    return batch
