"""The loop: one function that reads from top to bottom, for every family.

Where a run starts:

1. the newest whole checkpoint in its workdir, with the loader where it stood;
2. else the parameters that `config.init_from` names, of another run or of a public checkpoint, at step 0;
3. else scratch.

A run of no steps saves what it starts from.

One run at a time holds a workdir (`lock`, taken by `genjax.stages.train`). SIGTERM and Ctrl-C save a checkpoint first
and then end the program (`signals`), and so does a dead worker of the loader. An update that is not finite is never
kept (`finite`); what the disk doesn't take is skipped or ends the run (`log`, `checkpoint`). What was due at the step
of a checkpoint, and was not made because the run was killed in between, is made when it is resumed.
"""

import contextlib
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from types import MappingProxyType

import jax
import numpy as np
from jax.sharding import Mesh
from ml_collections import ConfigDict

from genjax import generate, sharding
from genjax.core.arguments import named
from genjax.data import loader
from genjax.families.base import Family
from genjax.families.interfaces import Conditions, Weights, generates
from genjax.nn.layers import kernels
from genjax.training import evaluators, initial, pins, workdir
from genjax.training import state as state_lib
from genjax.training.checkpoint import Checkpoints
from genjax.training.due import Due, due, missing
from genjax.training.finite import NotFiniteError, Watch
from genjax.training.lock import Lock
from genjax.training.log import Logger
from genjax.training.processes import lead
from genjax.training.signals import Interrupted, Signals
from genjax.training.state import TrainState
from genjax.training.step import make_train_step
from genjax.training.workdir import Notes
from genjax.typing import Batch, PyTree


class Run:
    """Everything that a run needs beside its state, made from the config once."""

    def __init__(self, config: ConfigDict, family: Family, folder: Path, data: loader.Data, mesh: Mesh, frozen: PyTree):
        self.config, self.family, self.folder, self.frozen = config, family, folder, frozen
        self.data, self.mesh = data, mesh
        self.key = jax.random.key(config.seed)
        _check_batch_size(config, self.mesh)
        self.batches = data.train_iterator(config.seed, jax.process_index(), jax.process_count())
        keep = config.checkpoint.keep
        self.checkpoints = Checkpoints(folder / "checkpoints", keep, pinned=lambda: pins.steps(folder))
        self.example = self._example()
        self.making = making = initial.making(config, family, mesh, self.example)
        attention = config.training.attention
        train_step = make_train_step(family, making.optimizers, making.ema, config.training.microbatches)
        self.train_step = jax.jit(
            named("", attention="config.training.")(kernels.kernel(attention, mesh)(train_step)),
            donate_argnums=0,
            out_shardings=(making.shardings, sharding.replicated(self.mesh)),
        )
        beside = "xla" if attention == "xla" else "auto"  # a kernel that is set by name need not fit sampling
        self.evaluate = evaluators.make_evaluate(family.evaluate, self.mesh, beside)
        self.generate = generate.make_generate(family.interface, self.mesh, beside)
        self.reconstruct = None
        if family.reconstruct:
            self.reconstruct = generate.make_reconstruct(family.reconstruct, self.mesh, beside)
        if config.log.sample_every > 0 and not family.reconstruct:
            generate.require_sampler(family.interface, "with config.log.sample_every=0 it trains, but this family")

    def _example(self):
        """The first batch, for its shapes; the loader goes back to where it stood."""
        start = self.batches.get_state()
        batch = evaluators.to_device(next(self.batches), self.mesh)
        self.batches.set_state(start)
        return batch

    def start(self, notes: Notes, load_initial: initial.Load | None) -> TrainState:
        """The state to go on from, by the order of precedence above.

        Args:
            notes: what the workdir says of the run so far.
            load_initial: as of `train`.

        Raises:
            ValueError: if the run is past its last step already, or its learning rate would jump.
            NotFiniteError: if it would start from parameters that are not finite.
        """
        restored = self.checkpoints.restore_newest(self.making.shapes, self.making.shardings)
        if restored is not None:
            state = restored.state
            step = int(state.step)
            workdir.check_resumed(notes, self.config, step)
            self.batches.set_state(restored.loader)
            print(f"resuming at step {step}", flush=True)
        else:
            state = self.making.start(self.key, self.example, load_initial)
        initial.check_finite(state.params)
        return state

    def next_batch(self, signals: Signals) -> Batch:
        """The next batch, on the devices.

        Of several processes, one whose worker died starts new ones, and all save and stop soon.

        Raises:
            WorkerDied: if a worker of the only process died.
        """
        try:
            batch = next(self.batches)
        except loader.WorkerDied as error:
            if jax.process_count() == 1:
                raise
            print(f"{error}; all processes save and stop", file=sys.stderr, flush=True)
            signals.stop_all()
            self.batches.set_state(self.batches.get_state())
            batch = next(self.batches)
        return evaluators.to_device(batch, self.mesh)

    def close(self) -> None:
        """Release files, threads and workers."""
        self.checkpoints.close()
        self.batches.close()

    def evaluate_held_out(self, state: TrainState) -> dict[str, float]:
        """Metrics of the family on the held-out split, under `eval/`."""
        batches = self.data.eval_batches(process_index=jax.process_index(), process_count=jax.process_count())
        values = self.evaluate(state_lib.weights(state, self.frozen), batches, self.key)
        return {f"eval/{name}": value for name, value in values.items()}

    def draw_grid(self, state: TrainState) -> generate.Drawn:
        """The images of the sample grid, of the same noise and labels, or held-out captions, at every step.

        A family that draws none, but encodes and decodes, shows held-out images, each with its reconstruction.
        """
        count, weights = self.config.log.num_samples, state_lib.weights(state, self.frozen)
        if self.reconstruct and not generates(self.family.interface):
            images = self.data.load_arrays()["image"][: count // 2]
            both = np.stack([images, self.reconstruct(weights, images, self.key, len(images))], axis=1)
            return generate.Drawn(both.reshape(-1, *images.shape[1:]))
        interface = self.family.interface
        conditions = Conditions(options=generate.options(interface, self.config.sampling.to_dict(), {}))
        if interface.num_classes:
            conditions = conditions._replace(label=generate.class_labels(count, interface.num_classes))
        prompts = None
        if interface.text_length:
            found = self.data.captions(count=count)
            prompts = tuple(" ".join(found[number % len(found)][:1]) for number in range(count))
            tokens = np.stack([self.data.tokenizer.encode(prompt) for prompt in prompts])
            conditions = conditions._replace(tokens=tokens)
        batch_size = self.config.sampling.get("batch_size", count)
        return self.generate(weights, count, conditions, self.key, batch_size)._replace(prompts=prompts)


def train(
    config: ConfigDict,
    family: Family,
    data: loader.Data,
    mesh: Mesh,
    notes: Notes,
    lock: Lock,
    frozen: Mapping[str, Weights] = MappingProxyType({}),
    stages: Mapping[str, Mapping[str, int]] = MappingProxyType({}),
    load_initial: initial.Load | None = None,
    accept_changed_data: bool = False,
) -> TrainState:
    """Train `family` to `config.training.num_steps` in a workdir; returns the final state.

    Args:
        config: the resolved config (fields as in `configs/recipes/common.py`).
        family: what `families.registry.build` made of it.
        data: what it is trained on.
        mesh: the devices.
        notes: what the workdir says of the run so far; a run that is there is resumed.
        lock: that holds the workdir.
        frozen: stage name -> weights of upstream stages.
        stages: stage name -> which checkpoint they are of, to be kept in `stage.json`.
        load_initial: gives the parameters that `config.init_from` names; called by a fresh run only.
        accept_changed_data: go on also if images or captions are others than when the run began.

    Raises:
        ValueError: for a workdir of other data, or settings that don't fit together.
        NotFiniteError: when an update is not finite; the last good checkpoint is kept.
        NotSavedError: when a checkpoint can't be written; the last whole one is kept.
        WorkerDied: when a worker of the loader died, and the state is saved.
        Interrupted: after SIGTERM or Ctrl-C, when the state is saved.
        LockedError: when another run has taken the workdir over.
    """
    folder, watch = notes.folder, Watch(config.training.on_nonfinite, config.training.max_nonfinite)
    with contextlib.closing(Run(config, family, folder, data, mesh, dict(frozen))) as run:
        workdir.check_data(notes, data.spec, accept_changed_data)
        workdir.clean(folder)
        state = run.start(notes, load_initial)
        workdir.claim(folder, config, family.interface, stages, data.spec, data.tokenizer)
        logger = Logger(folder, int(state.step), config.training.num_steps, config.data.batch_size, watch)
        with contextlib.closing(logger):
            return run_steps(run, state, logger, lock)


def run_steps(run: Run, state: TrainState, logger: Logger, lock: Lock) -> TrainState:
    """All steps that are left, with whatever is due after each; returns the final state. It raises as `train` does."""
    first, last = int(state.step), run.config.training.num_steps
    if not last:
        run.checkpoints.save(state, run.batches.get_state())
    make_up(run, state, logger)
    with Signals() as signals, _last_words(run):
        for step in range(first + 1, last + 1):
            try:
                batch = run.next_batch(signals)
            except loader.WorkerDied as error:
                after_step(run, state, logger, step - 1, stopping=True)
                run.checkpoints.wait()
                error.args = (f"{error}. Saved step {step - 1} in {run.folder}: run again to go on",)
                raise error from None
            state, metrics = run.train_step(state, batch, run.frozen, run.key)
            logger.step(step, metrics)
            stopping = signals.stop_at(step)
            lock.check()
            after_step(run, state, logger, step, stopping)
            if stopping:
                run.checkpoints.wait()
                logger.say(f"signal {signals.received}: saved step {step} in {run.folder}, stopping")
                raise Interrupted(128 + signals.received)
    run.checkpoints.wait()
    return state


@contextlib.contextmanager
def _last_words(run: Run) -> Iterator[None]:
    """Names the last good checkpoint when a run ends badly; waits for nothing when it is interrupted twice."""
    try:
        yield
    except NotFiniteError as error:
        run.checkpoints.close()
        kept = run.checkpoints.steps()
        last = f"step {kept[0]}" if kept else "none"
        raise NotFiniteError(f"{error}. Last good checkpoint: {last} in {run.folder}") from None
    except Interrupted as stop:
        if stop.at_once:
            run.checkpoints.abandon()
        raise


def after_step(run: Run, state: TrainState, logger: Logger, step: int, stopping: bool) -> None:
    """Whatever is due after `step`: report, save, evaluate, draw samples. Nothing is saved that is not finite."""
    now = due(run.config, step, stopping)
    if now.report:
        logger.report()
    if now.save:
        run.checkpoints.save(state, run.batches.get_state())
    show(run, state, logger, step, now)


def show(run: Run, state: TrainState, logger: Logger, step: int, now: Due) -> None:
    """Evaluate and draw samples, as far as due."""
    if now.evaluate:
        logger.write(step, run.evaluate_held_out(state))
    if now.draw:
        logger.images(step, run.draw_grid(state))
    if now.save or now.evaluate or now.draw:
        logger.restart_clock()


def make_up(run: Run, state: TrainState, logger: Logger) -> None:
    """Make what was due at the step that the run is resumed at and isn't there: it was killed, or stopped, before."""
    now = missing(run.config, run.folder, int(state.step))
    evaluate, draw = bool(lead(now.evaluate)), bool(lead(now.draw))
    show(run, state, logger, int(state.step), Due(False, False, evaluate, draw))


def _check_batch_size(config: ConfigDict, mesh: Mesh) -> None:
    """The batch must be cut evenly over microbatches and devices."""
    parts = config.training.microbatches * mesh.shape["data"] * mesh.shape["fsdp"]
    if config.data.batch_size % parts:
        raise ValueError(
            f"config.data.batch_size={config.data.batch_size} can't be cut into {parts} equal parts "
            f"({config.training.microbatches} microbatches x {parts // config.training.microbatches} devices)"
        )
