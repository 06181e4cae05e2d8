"""How one run becomes the input of the next: a workdir in, a `Stage` out.

A stage is what a later stage, a sampler or an evaluation needs of a finished run: its family (rebuilt from the
workdir's own `config.json`), its weights (moving averages where they are kept) and its config.
Nothing else has to be said than where the workdir is. A stage that builds on others names their workdirs in
`config.stages`, and nothing else of them; `stage.json` keeps which checkpoint of each it was trained on.
"""

from collections.abc import Mapping
from functools import partial
from pathlib import Path
from types import MappingProxyType
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax.sharding import Mesh
from ml_collections import ConfigDict

from genjax import sharding
from genjax.core import paths
from genjax.data import encoded, loader, tokenizers
from genjax.data.tokenizers import TextTokenizer
from genjax.families import registry
from genjax.families.base import Family
from genjax.families.interfaces import Weights
from genjax.pretrained import registry as pretrained
from genjax.training import config_check, loop, pins, places, workdir
from genjax.training import state as state_lib
from genjax.training.checkpoint import Checkpoints, Restored
from genjax.typing import DataSpec, Params, PyTree


class Stage(NamedTuple):
    """A trained run.

    Attributes:
        family: its pure functions.
        weights: what to call them with.
        config: what it was trained with, with the overrides that were requested.
        spec: shape and classes of its data.
        step: the step of the checkpoint.
        checksum: of the weights, uint32: what tells them from any others; 0 of those that come from no checkpoint.
        parents: interfaces of the upstream stages, by name; their weights are in `weights.frozen`.
        tokenizer: how its texts become tokens; None of a run without texts.
        folder: its workdir; None of what is made of several.
        members: of what is made of several, these by name; see `genjax.pipelines.folders`.
    """

    family: Family
    weights: Weights
    config: ConfigDict
    spec: DataSpec
    step: int
    checksum: int = 0
    parents: Mapping[str, Any] = MappingProxyType({})
    tokenizer: TextTokenizer | None = None
    folder: Path | None = None
    members: Mapping[str, "Stage"] = MappingProxyType({})

    @property
    def record(self) -> dict[str, int]:
        """Which checkpoint this is, as children keep it in their `stage.json`."""
        return {"step": self.step, "checksum": self.checksum}


def build(
    config: ConfigDict, parents: Mapping[str, Stage] = MappingProxyType({}), spec: DataSpec | None = None
) -> tuple[Family, DataSpec]:
    """The family that a config describes, and what its data is.

    Args:
        config: of the run.
        parents: the upstream stages that `config.stages` names.
        spec: what the data is; by default the data is requested.

    Raises:
        ValueError: for an unknown family or settings that it refuses, or data that isn't there.
    """
    spec = spec or loader.describe(config.data.to_dict())
    interfaces = {name: stage.family.interface for name, stage in parents.items()}
    family = registry.build(config.family, config.model.to_dict(), config.sampling.to_dict(), spec, interfaces)
    return family, spec


def train(config: ConfigDict, folder: Path, accept_changed_data: bool = False) -> None:
    """Train what a config describes in the workdir `folder`, on the upstream stages that it names.

    Args:
        config: of the run.
        folder: its workdir.
        accept_changed_data: go on also if images or captions are others than when the run began.

    Raises:
        ValueError: as `config_check.check`, `load_parents`, `build` and `training.loop.train`, for codes of another
            tokenizer, or for a parent that reads captions otherwise.
    """
    config = config_check.check(config)
    parents = load_parents(config, folder, sharding.make_mesh(**config.mesh))
    data = workdir.data_settings(folder, config)
    family, spec = build(config, parents, loader.describe(data))
    if config.log.eval_every > 0 or config.log.sample_every > 0:
        loader.check_eval_split(data)
    _check_vocabulary(loader.text_tokenizer(data), parents)
    if data["encoded"]:
        _check_encoded(data["encoded"], parents)
    for name, parent in parents.items():
        if jax.process_index() == 0:
            pins.pin(parent.folder, parent.step, folder)
        config.stages[name].workdir = str(parent.folder)
    loop.train(
        config,
        family,
        folder,
        frozen={name: stage.weights for name, stage in parents.items()},
        stages={name: stage.record for name, stage in parents.items()},
        load_initial=partial(_initial, config) if config.init_from else None,
        spec=spec,
        accept_changed_data=accept_changed_data,
    )


def _initial(config: ConfigDict, fresh: PyTree) -> dict[str, Params]:
    """The parameters that `config.init_from` names: of a public checkpoint, or of a run."""
    if pretrained.is_named(config.init_from):
        return pretrained.convert(config.init_from, config.model.network.to_dict(), fresh)
    return dict(load(config.init_from).weights.params)


def _check_vocabulary(tokenizer: TextTokenizer | None, parents: Mapping[str, Stage]) -> None:
    """The tokens of a batch have to mean to the parents what they mean to the run."""
    for name, parent in parents.items():
        if tokenizer and parent.tokenizer and parent.tokenizer.checksum != tokenizer.checksum:
            settings = {field: value for field, value in parent.config.data.tokenizer.items() if field != "file"}
            raise ValueError(
                f"config.stages.{name}.workdir makes other tokens of captions than config.data.tokenizer: set it to "
                f"the parent's, {settings}, of the same captions"
            )


def _check_encoded(folder: str, parents: Mapping[str, Stage]) -> None:
    """The codes in a folder have to be those of one of the parents."""
    made_by = encoded.read_manifest(folder).stage
    if made_by not in [stage.record for stage in parents.values()]:
        raise ValueError(
            f"config.data.encoded={folder} was written by another stage (its step {made_by['step']}) than those in "
            f"config.stages ({', '.join(f'{name}: step {stage.step}' for name, stage in parents.items()) or 'none'}); "
            "run genjax-encode again"
        )


def load_parents(config: ConfigDict, folder: Path, mesh: Mesh) -> dict[str, Stage]:
    """The upstream stages of a run, by name: at the checkpoint that it was trained on, the newest of a fresh run.

    Args:
        config: of the run; `config.stages.NAME.workdir` is relative to `folder` or to the current one.
        folder: its workdir.
        mesh: where the weights go.

    Raises:
        ValueError: if one isn't there, or if it is not the one that the run was trained on.
    """
    parents = {}
    for name, settings in config.get("stages", {}).items():
        where, before = f"config.stages.{name}.workdir", workdir.read_stages(folder).get(name)
        elsewhere = places.overridden(name)
        if not (elsewhere or settings.workdir):
            raise ValueError(f"{where} is empty: name the run that this one builds on, --{where}=DIR")
        try:
            parent = workdir.find(str(elsewhere.absolute() if elsewhere else settings.workdir), folder)
            parents[name] = load(parent, mesh, step=before["step"] if before else None)
        except ValueError as error:
            raise ValueError(f"{where}: {error}") from error
        if before and parents[name].record != before:
            raise ValueError(
                f"{where}={parent} has other weights than those that {folder} was trained on "
                f"(checksum {parents[name].checksum} instead of {before['checksum']}); name the right one"
            )
    return parents


def load(
    folder: str | Path, mesh: Mesh | None = None, sampling: Mapping[str, Any] | None = None, step: int | None = None
) -> Stage:
    """The newest whole checkpoint of a workdir, without its optimizer's state.

    Args:
        folder: the workdir; of a pipeline's folder, its last stage.
        mesh: where the weights go; by default all devices, replicated.
        sampling: overrides of `config.sampling`, e.g. {"num_steps": "ddim25", "sampler": {"name": "ddim"}}.
        step: a certain checkpoint instead.

    Raises:
        ValueError: if it is no workdir, or holds no checkpoint yet, or not that of `step`.
    """
    folder = workdir.locate(paths.local(folder))
    config = workdir.read_config(folder)
    for name, value in (sampling or {}).items():
        config.sampling[name] = value
    mesh = mesh or sharding.make_mesh()
    with places.entered(folder):
        parents = load_parents(config, folder, mesh)
    config.data.update(workdir.data_settings(folder, config))
    family, spec = build(config, parents, workdir.read_spec(folder))
    init = state_lib.make_init(family, {}, keep_ema=config.training.ema.decay > 0)
    shapes = jax.eval_shape(init, jax.random.key(config.seed), example_batch(spec))
    shardings = state_lib.state_shardings(shapes, mesh, family)
    fields = ("step", "ema" if shapes.ema else "params", "extra")
    checkpoints = Checkpoints(folder / "checkpoints", read_only=True)
    try:
        state, _, sums = _restore(checkpoints, folder, config, (shapes, shardings, fields), step)
    finally:
        checkpoints.close()
    frozen = {name: stage.weights for name, stage in parents.items()}
    weights = Weights(dict(state.ema or state.params), state.extra, frozen)
    checksum = sum(sums[name] for name in fields[1:]) % 2**32
    interfaces = {name: stage.family.interface for name, stage in parents.items()}
    return Stage(family, weights, config, spec, int(state.step), checksum, interfaces, _tokenizer(config), folder)


def with_sampling(stage: Stage, sampling: Mapping[str, Any]) -> Stage:
    """The stage sampled in another way; its weights stay where they are, and nothing is read.

    Args:
        stage: one run; of what is made of several, `genjax.pipelines.folders.with_sampling`.
        sampling: overrides of `config.sampling`.

    Raises:
        ValueError: for settings that the family refuses.
    """
    config = ConfigDict(stage.config.to_dict())
    for name, value in sampling.items():
        config.sampling[name] = value
    family = registry.build(config.family, config.model.to_dict(), config.sampling.to_dict(), stage.spec, stage.parents)
    return stage._replace(family=family, config=config)


def _tokenizer(config: ConfigDict) -> TextTokenizer | None:
    """How the texts of a run become tokens: by the vocabulary that its workdir keeps, for which no data is needed."""
    settings = config.data.get("tokenizer")
    if not settings:
        return None
    return tokenizers.make(settings.to_dict()) if settings.file else loader.text_tokenizer(config.data.to_dict())


def _restore(checkpoints: Checkpoints, folder: Path, config: ConfigDict, wanted: tuple, step: int | None) -> Restored:
    """The checkpoint of a step, or the newest, as far as it is `wanted`: shapes, shardings, fields."""
    steps = checkpoints.steps()
    if not steps:
        last = config.training.num_steps
        first = min(config.checkpoint.every or last, last)
        raise ValueError(
            f"{folder} holds no checkpoint yet, the first is that of step {first}: train it so far with "
            f"genjax-train --workdir={folder}"
        )
    if step is None:
        return checkpoints.restore_newest(*wanted)
    if step not in steps:
        raise ValueError(
            f"{folder} no longer holds step {step}, which its child was trained on (there are {steps}); "
            "train the child anew"
        )
    return checkpoints.restore(step, *wanted)


def example_batch(spec: DataSpec) -> dict[str, jax.ShapeDtypeStruct]:
    """The shapes of a batch of one example."""
    batch = {"image": jax.ShapeDtypeStruct((1, *spec.image_shape), jnp.float32)}
    if spec.num_classes:
        batch["label"] = jax.ShapeDtypeStruct((1,), jnp.int32)
    if spec.text_length:
        batch["tokens"] = jax.ShapeDtypeStruct((1, spec.text_length), jnp.int32)
    return batch
