"""A chain of runs, trained one after the other: tokenizer, its codes, the prior over them. A public checkpoint may be
one of them: a run of no steps that starts from it.

The config of a chain (`configs/vqvae_digits_pipeline.py`) has

    stages    name -> config of a run, in the order of training
    order     the names in this order
    encode    the names of the stages whose codes, or states of captions, are written before the next stage
    sampling  "last": images are drawn from the last stage; "cascade": from the first, upsampled by all others; "none":
              the last stage draws none; "dalle2": from prior, decoder and upsamplers (`genjax.pipelines.dalle2`)
    cascade   the names of the stages of these, the base or the prior first; the others are what these build on
    samples   how many are drawn at the end

and its folder gets one workdir a stage, by the same names. A stage that builds on another of the chain says so by its
name, with an empty workdir; one that starts from the parameters of another names it in `init_from`. Whatever is
finished is left alone, so the chain goes on where it was stopped.
"""

from functools import partial
from pathlib import Path

import jax
from ml_collections import ConfigDict

from genjax import stages
from genjax.pipelines import encoding, folders, needs
from genjax.pipelines import sampling as sampling_lib
from genjax.training import config_check, due, nesting, workdir
from genjax.training.nesting import Nesting

SAMPLING = ("last", "none", *folders.KINDS)


def run(config: ConfigDict, folder: Path, accept_changed_data: bool = False) -> Path:
    """Check what all of a chain needs, train what is left to train of it, then draw samples; returns the path of their
    grid, of `pipeline.json` if none are drawn.

    Args:
        config: of the chain, see above.
        folder: of the chain.
        accept_changed_data: go on also if images or captions are others than when a run began.

    Raises:
        ValueError: for a config of one run, an order that names no stage, what `needs.check` misses, and all that a
            stage's own training refuses.
    """
    _check(config)
    left = {name for name in config.order if not _is_finished(wire(config.stages[name], config, folder), folder / name)}
    for name in config.order:
        if name in left:
            needs.check(wire(config.stages[name], config, folder), folder / name, config.order)
    train = partial(stages.train, accept_changed_data=True) if accept_changed_data else stages.train
    for place, name in enumerate(config.order, start=1):
        stage = wire(config.stages[name], config, folder)
        print(f"[{place}/{len(config.order)}] {name}: {folder / name}", flush=True)
        if name in left:
            train(stage, folder / name)
        if name in config.encode:
            encoding.encode(stages.load(folder / name), folder / name / encoding.FOLDER)
    written = Nesting(folder, tuple(config.order), config.sampling, _members(config))
    if jax.process_index() == 0:
        nesting.write(written)
    if config.sampling == "none":
        return folder / nesting.PIPELINE
    trained = folders.load(written)
    drawn = sampling_lib.draw(trained, config.samples)
    return sampling_lib.save(folder / "samples", drawn, trained.interface.num_classes or None)


def wire(stage: ConfigDict, config: ConfigDict, folder: Path) -> ConfigDict:
    """The config of a stage with the workdirs, and the codes, of the stages of the chain that it builds on.

    Args:
        stage: its config.
        config: of the chain.
        folder: of the chain.
    """
    stage = ConfigDict(stage.to_dict())
    for name, settings in stage.stages.items():
        if name in config.order and not settings.workdir:
            settings.workdir = f"../{name}"
            if name in config.encode:
                stage.data.encoded = str(folder / name / encoding.FOLDER)
    if stage.init_from in config.order:
        stage.init_from = str(folder / stage.init_from)
    return stage


def _check(config: ConfigDict) -> None:
    if not config_check.is_chain(config):
        raise ValueError(
            "this config is of one run, not of a chain: train it by genjax-train, with the same --config and --workdir"
        )
    named = (*config.order, *config.encode, *config.cascade)
    missing = [name for name in named if name not in config.stages]
    if missing or not config.order:
        raise ValueError(
            f"config.order, config.encode and config.cascade name {missing}; config.stages has {sorted(config.stages)}"
        )
    if untrained := [name for name in config.cascade if name not in config.order]:
        raise ValueError(f"config.cascade names {untrained}, which are not in config.order={tuple(config.order)}")
    if config.sampling not in SAMPLING:
        raise ValueError(f"unknown config.sampling={config.sampling!r} of a chain; it is one of {SAMPLING}")
    _members(config)


def _members(config: ConfigDict) -> dict[str, str]:
    """Role -> name of the stages that sample together; none where the last one alone does.

    Raises:
        ValueError: for stages that don't fill the roles.
    """
    kind = folders.KINDS.get(config.sampling)
    return kind.roles(tuple(config.cascade or config.order)) if kind else {}


def _is_finished(stage: ConfigDict, folder: Path) -> bool:
    """Whether nothing is left to do; another config in the same folder is announced."""
    workdir.check_config(workdir.read(folder), stage)
    return due.is_finished(stage, folder)
