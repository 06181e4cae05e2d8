"""How one run becomes the input of the next: a workdir in, a `Stage` out.

A stage is what a later stage, a sampler or an evaluation needs of a finished run: its family (rebuilt from the
workdir's own `config.json`), its weights (moving averages where they are kept) and its config.
Nothing else has to be said than where the workdir is. A stage that builds on others names their workdirs in
`config.stages`, and nothing else of them; `stage.json` keeps which checkpoint of each it was trained on.
"""

import contextlib
from collections.abc import Callable, Mapping
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
from genjax.core.arguments import named
from genjax.data import declared, loader, tokenizers
from genjax.data.records import SplitNotFound
from genjax.data.tokenizers import TextTokenizer
from genjax.families import registry
from genjax.families.base import Family
from genjax.families.interfaces import EvaluateFn, Interface, Weights
from genjax.pretrained import registry as pretrained
from genjax.training import config_check, initial, loop, nesting, pins, places, workdir
from genjax.training import state as state_lib
from genjax.training.checkpoint import Checkpoints, Restored
from genjax.training.lock import Lock
from genjax.typing import DataSpec, Image, Key, Params, PyTree


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
        folder: its workdir; None of one that was made by hand.
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

    @property
    def interface(self) -> Interface:
        """What later stages, samplers and evaluations see of its family."""
        return self.family.interface

    @property
    def evaluate(self) -> EvaluateFn:
        """Its family's metrics of held-out images."""
        return self.family.evaluate

    @property
    def reconstruct(self) -> Callable[[Weights, Image, Key], Image] | None:
        """What its family makes of images; None where it encodes none."""
        return self.family.reconstruct

    @property
    def record(self) -> dict[str, int]:
        """Which checkpoint this is, as children keep it in their `stage.json`."""
        return {"step": self.step, "checksum": self.checksum}


def build(config: ConfigDict, spec: DataSpec, interfaces: Mapping[str, Any] = MappingProxyType({})) -> Family:
    """The family that a config describes.

    Args:
        config: of the run.
        spec: what its data is.
        interfaces: of the upstream stages that `config.stages` names.

    Raises:
        ValueError: for an unknown family or settings that it refuses.
    """
    return registry.build(config.family, config.model.to_dict(), config.sampling.to_dict(), spec, interfaces)


def train(config: ConfigDict, folder: Path, accept_changed_data: bool = False) -> None:
    """Train what a config describes in the workdir `folder`, on the upstream stages that it names.

    Args:
        config: of the run.
        folder: its workdir.
        accept_changed_data: go on also if images or captions are others than when the run began.

    Raises:
        ValueError: as `config_check.check`, `load_parents`, `build` and `training.loop.train`, for a workdir of another
            config or that another run is at work in, for codes of another tokenizer, or for a parent that reads
            captions otherwise.
    """
    config = config_check.check(config)
    with Lock(folder) as lock:
        notes = workdir.read(folder)
        workdir.check_config(notes, config)
        mesh = sharding.make_mesh(**config.mesh)
        parents = load_parents(config, notes, mesh)
        data = loader.Data(workdir.data_settings(folder, config))
        family = build(config, data.spec, _interfaces(parents))
        if config.log.eval_every > 0 or config.log.sample_every > 0:
            try:
                data.check_eval_split()
            except SplitNotFound as error:
                raise ValueError(f"{error}, or config.log.eval_every=0 and config.log.sample_every=0") from error
        _check_parents(data, parents)
        _pin(config, folder, parents)
        loop.train(
            config,
            family,
            data,
            mesh,
            notes,
            lock,
            frozen={name: stage.weights for name, stage in parents.items()},
            stages=_records(parents),
            load_initial=partial(_initial, config) if config.init_from else None,
            accept_changed_data=accept_changed_data,
        )


def _initial(config: ConfigDict, shapes: PyTree) -> dict[str, Params]:
    """The parameters that `config.init_from` names: of a public checkpoint, or of a run."""
    if pretrained.is_named(config.init_from):
        return pretrained.read(config.init_from).params(config.model.network.to_dict(), shapes)
    return dict(load(config.init_from).weights.params)


def convert(config: ConfigDict, folder: Path) -> None:
    """Write the workdir of a run of no steps that starts from the public checkpoint that `config.init_from` names.

    Its data needn't be there, and no weights are drawn but those that the family wants fresh. Classes are counted in
    the checkpoint, tokens in the vocabulary.

    Args:
        config: of the run.
        folder: its workdir; one that holds this run is left as it is.

    Raises:
        ValueError: for a checkpoint that can't be read or is of another network, a workdir of another config, and all
            that `build` and `load_parents` refuse.
    """
    config = config_check.check(config)
    config.training.num_steps = 0
    with Lock(folder):
        notes = workdir.read(folder)
        workdir.check_config(notes, config)
        mesh = sharding.make_mesh(**config.mesh)
        parents, found = load_parents(config, notes, mesh), pretrained.read(config.init_from)
        config.data.update(workdir.data_settings(folder, config))
        tokenizer = _tokenizer(config)
        null = config.model.get("label_dropout", 0) > 0  # The row after those of the classes.
        spec = declared.spec(config.data.to_dict(), tokenizer, max(found.num_classes - null, 0))
        family = build(config, spec, _interfaces(parents))
        example = example_batch(spec)
        making = initial.making(config, family, mesh, example)
        with contextlib.closing(Checkpoints(folder / "checkpoints")) as checkpoints:
            if steps := checkpoints.steps():
                return workdir.check_resumed(notes, config, steps[0])
            load_initial = partial(found.params, config.model.network.to_dict())
            state = making.start(jax.random.key(config.seed), initial.zeros(example), load_initial)
            initial.check_finite(state.params)
            _pin(config, folder, parents)
            workdir.claim(folder, config, family.interface, _records(parents), spec, tokenizer)
            checkpoints.save(state, loader.START)


def _interfaces(stages: Mapping[str, Stage]) -> dict[str, Any]:
    return {name: stage.family.interface for name, stage in stages.items()}


def _pin(config: ConfigDict, folder: Path, parents: Mapping[str, Stage]) -> None:
    """Keep the checkpoints of the parents for the run in a folder, and note in its config where they lie."""
    for name, parent in parents.items():
        if jax.process_index() == 0:
            pins.pin(parent.folder, parent.step, folder)
        config.stages[name].workdir = str(parent.folder)


def _records(stages: Mapping[str, Stage]) -> dict[str, dict[str, int]]:
    return {name: stage.record for name, stage in stages.items()}


def _check_parents(data: loader.Data, parents: Mapping[str, Stage]) -> None:
    """The tokens of a batch have to mean to the parents what they mean to the run, and its codes to be of one of them.

    Raises:
        ValueError: if they aren't.
    """
    tokenizer = data.tokenizer
    for name, parent in parents.items():
        if tokenizer and parent.tokenizer and parent.tokenizer.checksum != tokenizer.checksum:
            settings = {field: value for field, value in parent.config.data.tokenizer.items() if field != "file"}
            raise ValueError(
                f"config.stages.{name}.workdir makes other tokens of captions than config.data.tokenizer: set it to "
                f"the parent's, {settings}, of the same captions"
            )
    made_by = data.manifest.stage if data.manifest else None
    if made_by is not None and made_by not in [stage.record for stage in parents.values()]:
        known = ", ".join(f"{name}: step {stage.step}" for name, stage in parents.items())
        raise ValueError(
            f"config.data.encoded={data.fields.encoded} was written by another stage (its step {made_by['step']}) than "
            f"those in config.stages ({known or 'none'}); run genjax-encode again"
        )


def load_parents(config: ConfigDict, notes: workdir.Notes, mesh: Mesh) -> dict[str, Stage]:
    """The upstream stages of a run, by name: at the checkpoint that it was trained on, the newest of a fresh run.

    Args:
        config: of the run; `config.stages.NAME.workdir` is relative to its workdir or to the current folder.
        notes: of its workdir.
        mesh: where the weights go.

    Raises:
        ValueError: if one isn't there, or if it is not the one that the run was trained on.
    """
    parents, folder, noted = {}, notes.folder, notes.stages
    for name, settings in config.get("stages", {}).items():
        where, before = f"config.stages.{name}.workdir", noted.get(name)
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
    folder = nesting.locate(paths.local(folder))
    notes = workdir.read(folder)
    config = notes.config
    for name, value in (sampling or {}).items():
        config.sampling[name] = value
    mesh = mesh or sharding.make_mesh()
    with places.entered(folder):
        parents = load_parents(config, notes, mesh)
    config.data.update(workdir.data_settings(folder, config))
    spec, interfaces = notes.spec or loader.Data(config.data.to_dict()).spec, _interfaces(parents)
    family = build(config, spec, interfaces)
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
    return Stage(family, weights, config, spec, int(state.step), checksum, interfaces, _tokenizer(config), folder)


def with_sampling(stage: Stage, sampling: Mapping[str, Any]) -> Stage:
    """The stage sampled in another way; its weights stay where they are, and nothing is read.

    Args:
        stage: one run; of a chain, `genjax.pipelines.folders.with_sampling`.
        sampling: overrides of `config.sampling`.

    Raises:
        ValueError: for settings that the family refuses.
    """
    config = ConfigDict(stage.config.to_dict())
    for name, value in sampling.items():
        config.sampling[name] = value
    return stage._replace(family=build(config, stage.spec, stage.parents), config=config)


@named("config.data.")
def _tokenizer(config: ConfigDict) -> TextTokenizer | None:
    """How the texts of a run become tokens: by the vocabulary that its workdir keeps, for which no data is needed."""
    settings = config.data.get("tokenizer")
    if not settings:
        return None
    trained = settings.name == "bpe" and not settings.file  # on the captions of the data
    return loader.Data(config.data.to_dict()).tokenizer if trained else tokenizers.make(settings.to_dict())


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
