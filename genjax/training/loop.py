"""The loop: one function that reads from top to bottom, for every family.

Where a run starts:

1. the newest whole checkpoint in its workdir, with the loader where it stood;
2. else the parameters that `config.init_from` names, of another run or of a public checkpoint, at step 0;
3. else scratch.

A run of no steps saves what it starts from: so public checkpoints become workdirs.

SIGTERM and Ctrl-C save a checkpoint first and then end the program. In several processes, all agree on the step.
"""

import signal
from collections.abc import Callable, Mapping
from pathlib import Path
from types import MappingProxyType

import jax
import jax.numpy as jnp
import numpy as np
from jax.experimental import multihost_utils
from jax.sharding import Mesh
from ml_collections import ConfigDict

from genjax import sharding
from genjax.core import tree as tree_lib
from genjax.data import loader
from genjax.families.base import Family, ImageSampler, Weights
from genjax.training import evaluators, generate, optim, workdir
from genjax.training import state as state_lib
from genjax.training.checkpoint import Checkpoints
from genjax.training.log import Logger, NotFiniteError
from genjax.training.state import TrainState
from genjax.training.step import Ema, make_train_step
from genjax.typing import Params, PyTree


class Interrupted(SystemExit):
    """A run that was told to stop, and has saved; its exit code is 128 + the signal's number."""


class Signals:
    """Notes SIGTERM and Ctrl-C while it is open. Of several processes, jax's own service notices SIGTERM."""

    def __enter__(self):
        self.received = 0
        self._alone = jax.process_count() == 1
        numbers = (signal.SIGTERM, signal.SIGINT) if self._alone else ()
        self._before = {number: signal.signal(number, self._note) for number in numbers}
        return self

    def _note(self, number, frame):
        if self.received:
            raise KeyboardInterrupt
        self.received = number

    def __exit__(self, *exception):
        for number, handler in self._before.items():
            signal.signal(number, handler)

    def stop_at(self, step: int) -> bool:
        """Whether to save and stop after this step; the same answer in all processes."""
        if not self._alone and multihost_utils.reached_preemption_sync_point(step):
            self.received = signal.SIGTERM
        return bool(self.received)


class Run:
    """Everything that a run needs beside its state, made from the config once."""

    def __init__(self, config: ConfigDict, family: Family, folder: Path, frozen: PyTree):
        self.config, self.family, self.frozen = config, family, frozen
        self.mesh = sharding.make_mesh(**config.mesh)
        self.key = jax.random.key(config.seed)
        self.data = workdir.data_settings(folder, config)
        self.tokenizer = loader.text_tokenizer(self.data)
        _check_batch_size(config, self.mesh)
        self.batches = loader.train_iterator(self.data, config.seed, jax.process_index(), jax.process_count())
        self.checkpoints = Checkpoints(folder / "checkpoints", config.checkpoint.keep)
        self.optimizers = optim.make_optimizers(config.optimizer.to_dict(), family, config.training.num_steps)
        ema = Ema(**config.training.ema)
        self.init = state_lib.make_init(family, self.optimizers, keep_ema=ema.decay > 0)
        self.example = self._example()
        self.shapes = jax.eval_shape(self.init, self.key, self.example)
        self.shardings = state_lib.state_shardings(self.shapes, self.mesh, family)
        self.train_step = jax.jit(
            make_train_step(family, self.optimizers, ema, config.training.microbatches),
            donate_argnums=0,
            out_shardings=(self.shardings, sharding.replicated(self.mesh)),
        )
        self.evaluate = evaluators.make_evaluate(family, self.mesh)
        self.generate = generate.make_generate(family, self.mesh)
        self.reconstruct = generate.make_reconstruct(family, self.mesh) if family.reconstruct else None

    def _example(self):
        """The first batch, for its shapes; the loader goes back to where it stood."""
        start = self.batches.get_state()
        batch = evaluators.to_device(next(self.batches), self.mesh)
        self.batches.set_state(start)
        return batch

    def start(self, load_initial: Callable[[PyTree], dict[str, Params]] | None) -> TrainState:
        """The state to go on from, by the order of precedence above."""
        restored = self.checkpoints.restore_newest(self.shapes, self.shardings)
        if restored is not None:
            state, position = restored
            self.batches.set_state(position)
            print(f"resuming at step {int(state.step)}", flush=True)
            return state
        state = state_lib.create(self.init, self.key, self.example, self.shardings)
        if load_initial is None:
            return state
        return _with_params(state, load_initial(state.params), self.family, self.shardings)

    def evaluate_held_out(self, state: TrainState) -> dict[str, float]:
        """Metrics of the family on the held-out split, under `eval/`."""
        batches = loader.eval_batches(
            self.data,
            self.config.data.eval_split,
            self.config.data.batch_size,
            jax.process_index(),
            jax.process_count(),
        )
        values = self.evaluate(state_lib.weights(state, self.frozen), batches, self.key)
        return {f"eval/{name}": value for name, value in values.items()}

    def draw_grid(self, state: TrainState) -> generate.Pictures:
        """The pictures of the sample grid, of the same noise and labels, or held-out captions, at every step.

        A family that draws none, but encodes and decodes, shows held-out pictures, each with its reconstruction.
        """
        count, weights = self.config.log.num_samples, state_lib.weights(state, self.frozen)
        if self.reconstruct and not isinstance(self.family.interface, ImageSampler):
            images = loader.load_arrays(self.data, self.config.data.eval_split)["image"][: count // 2]
            both = np.stack([images, self.reconstruct(weights, images, self.key, len(images))], axis=1)
            return generate.Pictures(both.reshape(-1, *images.shape[1:]), None)
        interface = self.family.interface
        classes = getattr(interface, "num_classes", 0)
        each = {"label": generate.class_labels(count, classes)} if classes else {}
        captions = None
        if getattr(interface, "text_length", 0):
            found = loader.captions(self.data, self.config.data.eval_split, count)
            captions = tuple(" ".join(found[number % len(found)][:1]) for number in range(count))
            each["tokens"] = np.stack([self.tokenizer.encode(caption) for caption in captions])
        each = each or {"index": np.arange(count)}
        shared = (
            generate.options(interface, self.config.sampling.to_dict(), {})
            if isinstance(interface, ImageSampler)
            else {}
        )
        drawn = self.generate(weights, each, shared, self.key, self.config.sampling.get("batch_size", count))
        return drawn._replace(captions=captions)


def train(
    config: ConfigDict,
    family: Family,
    folder: Path,
    frozen: Mapping[str, Weights] = MappingProxyType({}),
    stages: Mapping[str, Mapping[str, int]] = MappingProxyType({}),
    load_initial: Callable[[PyTree], dict[str, Params]] | None = None,
) -> TrainState:
    """Train `family` to `config.training.num_steps` in the workdir `folder`; returns the final state.

    Args:
        config: the resolved config (fields as in `configs/common.py`).
        family: what `families.registry.build` made of it.
        folder: the workdir; a run that is there is resumed.
        frozen: stage name -> weights of upstream stages.
        stages: stage name -> which checkpoint they are of, to be kept in `stage.json`.
        load_initial: (fresh parameters) -> those that `config.init_from` names; called by a fresh run only.

    Raises:
        ValueError: for a workdir of another config, or settings that don't fit together.
        NotFiniteError: when a loss is NaN; the last good checkpoint is kept.
        Interrupted: after SIGTERM or Ctrl-C, when the state is saved.
    """
    workdir.check_config(folder, config)
    run = Run(config, family, folder, dict(frozen))
    state = run.start(load_initial)
    workdir.claim(folder, config, family.interface, stages, loader.describe(run.data), run.tokenizer)
    logger = Logger(folder, int(state.step), config.training.num_steps, config.data.batch_size)
    try:
        if not config.training.num_steps:
            run.checkpoints.save(state, run.batches.get_state())
        with Signals() as signals:
            for step in range(int(state.step) + 1, config.training.num_steps + 1):
                batch = evaluators.to_device(next(run.batches), run.mesh)
                state, metrics = run.train_step(state, batch, run.frozen, run.key)
                logger.step(step, metrics)
                stopping = signals.stop_at(step)
                after_step(run, state, logger, step, stopping)
                if stopping:
                    run.checkpoints.wait()
                    logger.say(f"signal {signals.received}: saved step {step} in {folder}, stopping")
                    raise Interrupted(128 + signals.received)
    except NotFiniteError as error:
        kept = run.checkpoints.steps()
        raise NotFiniteError(
            f"{error}; stopped. Last good checkpoint: {f'step {kept[0]}' if kept else 'none'} in {folder}. "
            "Lower the learning rate or set clip_norm"
        ) from None
    finally:
        run.checkpoints.close()
        logger.close()
    return state


def after_step(run: Run, state: TrainState, logger: Logger, step: int, stopping: bool) -> None:
    """Whatever is due after `step`: report, evaluate, draw samples, save. Nothing is saved that is not finite."""
    config, last = run.config, step == run.config.training.num_steps

    def due(every: int) -> bool:
        return every > 0 and (step % every == 0 or last)

    saving = due(config.checkpoint.every) or last or stopping
    evaluating = due(config.log.eval_every) and not stopping
    drawing = due(config.log.sample_every) and not stopping
    if due(config.log.every) or saving or evaluating or drawing:
        logger.report()
    if saving:
        run.checkpoints.save(state, run.batches.get_state())
    if evaluating:
        logger.write(step, run.evaluate_held_out(state))
    if drawing:
        pictures = run.draw_grid(state)
        logger.images(step, pictures.images, pictures.trajectory, pictures.captions)
    if saving or evaluating or drawing:
        logger.restart_clock()


def _check_batch_size(config: ConfigDict, mesh: Mesh) -> None:
    """The batch must be cut evenly over microbatches and devices."""
    pieces = config.training.microbatches * mesh.shape["data"] * mesh.shape["fsdp"]
    if config.data.batch_size % pieces:
        raise ValueError(
            f"config.data.batch_size={config.data.batch_size} can't be cut into {pieces} equal pieces "
            f"({config.training.microbatches} microbatches x {pieces // config.training.microbatches} devices)"
        )


def _with_params(state: TrainState, params: dict[str, Params], family: Family, shardings: TrainState) -> TrainState:
    """The fresh state with the parameters, and their moving averages, of another run, as the family adopts them."""
    params = family.adopt(state.params, params) if family.adopt else params
    differing = tree_lib.summary(tree_lib.differences(state.params, params))
    if differing:
        raise ValueError(f"config.init_from names parameters of another network than this config's: {differing}")
    params = jax.tree.map(lambda given, own: given.astype(own.dtype), params, state.params)
    # Each in memory of its own: the state is donated, and a family may adopt one array in several places.
    params = jax.tree.map(jnp.copy, jax.device_put(params, shardings.params))
    return state._replace(params=params, ema=jax.tree.map(jnp.copy, params) if state.ema else {})
