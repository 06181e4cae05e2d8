"""Checkpoints: asynchronous, atomic, checked, and never deleted for being broken.

Each holds the `TrainState`, and a record (JSON): the loader's state, so that a resumed run sees exactly the batches
that it would have seen, and a checksum of each field of the state. Orbax writes into a temporary folder and renames
it, so a killed run leaves whole checkpoints only. Only a state whose parameters are finite is saved.

Whoever opens checkpoints to go on from them (the run that owns the workdir) moves a damaged one out of the way, to
`checkpoints/damaged/STEP`, with a warning, and takes the one before; whoever only reads moves nothing. What can't be
read for another reason than damage (`genjax.training.damage`) is tried again, then named, and nothing is moved. Of
several processes the first says which checkpoint is tried, and all take it or none does. A run may be read while it is
trained: a checkpoint that it deletes under the reader's hands is given up for the newest there is by then.

A disk that is full: a checkpoint that can't be written ends the run with one line, since all that is trained from there
on could be lost; the last whole one stays as it is.

The checksum is the sum, modulo 2^32, of all words of the state: it doesn't depend on how the state is sharded, so a
checkpoint written on eight devices can be checked on one.
"""

import contextlib
import hashlib
import json
import shutil
import time
from collections.abc import Callable, Iterator
from logging import WARNING
from pathlib import Path
from typing import Any, NamedTuple

import jax
import orbax.checkpoint as ocp
from absl import logging
from orbax.checkpoint import checkpoint_managers

from genjax.core import tree as tree_lib
from genjax.training import damage, pins
from genjax.training.damage import DamagedError, GoneError, OtherStateError, UnreadableError, Verdict, diagnose
from genjax.training.finite import NotFiniteError
from genjax.training.processes import lead, worst
from genjax.training.state import TrainState
from genjax.typing import PyTree

# Of orbax's log errors alone are for people: it warns of what it is set to do.
logging.get_absl_logger().addFilter(lambda record: record.levelno > WARNING or "orbax" not in record.pathname)

RECORD, STATE = "record", "state"
ALL = TrainState._fields
TEMPORARY = "*.orbax-checkpoint-tmp*"
PAUSES = (0.2, 1.0)
"""Seconds between tries to read what can't be read: so many tries and one more."""
GONE_LIMIT = 5
"""Checkpoints deleted while they were read, after which a reader gives up."""


class NotSavedError(OSError):
    """A checkpoint can't be written."""


class Restored(NamedTuple):
    """What a checkpoint holds.

    Attributes:
        state: the requested fields; the others are empty.
        loader: the loader's state.
        checksums: field -> checksum, of all fields: what tells the checkpoint from any other.
    """

    state: TrainState
    loader: Any
    checksums: dict[str, int]


def _digest(record: dict[str, Any]) -> str:
    """A hash of a record, which also tells a key that was altered."""
    return hashlib.sha256(json.dumps(record, sort_keys=True).encode()).hexdigest()


def _arrays(tree: PyTree) -> dict[str, str]:
    """Name -> shape and dtype of every array."""
    leaves = jax.tree_util.tree_leaves_with_path(tree)
    return {tree_lib.path_name(path): f"{leaf.dtype}{list(leaf.shape)}" for path, leaf in leaves}


class Checkpoints:
    """The checkpoints of one workdir.

    Args:
        folder: where they lie, one folder a step; made when the first is written.
        keep: how many of the newest whole ones are kept, beside those in `pinned`.
        read_only: whether they are somebody else's: nothing is written, moved or deleted then.
        pinned: the steps that are kept, however old; requested whenever one is to be deleted.
    """

    def __init__(
        self, folder: Path, keep: int = 3, read_only: bool = False, pinned: Callable[[], set[int]] = lambda: set()
    ):
        self.folder = folder.absolute()
        self._read_only = read_only
        policies = checkpoint_managers.LatestN(keep), pins.Keep(pinned)
        self._options = ocp.CheckpointManagerOptions(
            preservation_policy=checkpoint_managers.AnyPreservationPolicy(policies),
            create=False,
            async_options=ocp.options.AsyncOptions(post_finalization_callback=self._note_files),
        )
        self._manager: ocp.CheckpointManager | None = None
        self._reader: ocp.CheckpointManager | None = None
        self._saving: int | None = None
        self._checksums = jax.jit(
            lambda state: {name: tree_lib.checksum(tree) for name, tree in state._asdict().items()}
        )
        self._finite = jax.jit(lambda state: tree_lib.all_finite((state.params, state.ema)))

    @property
    def manager(self) -> ocp.CheckpointManager:
        """What writes: Orbax's manager, opened at the first use."""
        if self._manager is None:
            self.folder.mkdir(parents=True, exist_ok=True)
            self._manager = ocp.CheckpointManager(self.folder, options=self._options)
        return self._manager

    @property
    def reader(self) -> ocp.CheckpointManager:
        """What reads, each process for itself, so that none waits for another that can't."""
        if self._reader is None:
            own = jax.process_index()
            alone = ocp.options.MultiprocessingOptions(own, {own}, barrier_sync_key_prefix=f"reader{own}")
            options = ocp.CheckpointManagerOptions(create=False, read_only=True, multiprocessing_options=alone)
            self._reader = ocp.CheckpointManager(self.folder, options=options)
        return self._reader

    def save(self, state: TrainState, loader: Any) -> None:
        """Start writing the state and the loader's state; returns once the arrays are copied off the device.

        Saving a step that is there already does nothing.

        Raises:
            NotFiniteError: for parameters, or moving averages of them, that are not finite; nothing is written.
            NotSavedError: if this checkpoint, or the one before that was still being written, can't be written.
        """
        step = int(state.step)
        if step == self._saving or step in self.steps():
            return
        if not self._finite(state):
            raise NotFiniteError(f"step {step}: parameters, or their moving averages, are not finite; nothing is saved")
        record = {"loader": loader, "checksums": self._sums(state), "arrays": _arrays(state)}
        record["digest"] = _digest(record)
        with self._writing(step):
            self.manager.save(
                step, args=ocp.args.Composite(state=ocp.args.PyTreeSave(state), record=ocp.args.JsonSave(record))
            )
        self._saving = step

    def steps(self) -> list[int]:
        """Steps of which there is a checkpoint, newest first; none if the folder is absent."""
        if not self.folder.is_dir():
            return []
        return sorted((int(path.name) for path in self.folder.iterdir() if path.name.isdigit()), reverse=True)

    def _sums(self, state: TrainState) -> dict[str, int]:
        """Field -> checksum."""
        return {name: int(value) for name, value in jax.device_get(self._checksums(state)).items()}

    def identity(self, step: int) -> dict[str, int]:
        """Field -> checksum of the checkpoint of a step: what tells it from any other.

        Raises:
            ValueError: as `restore`.
        """
        return self._retry(step, lambda: self._record(step))["checksums"]

    def restore_newest(
        self, shapes: TrainState, shardings: TrainState, fields: tuple[str, ...] = ALL
    ) -> Restored | None:
        """The newest whole checkpoint, or None if there is no checkpoint at all.

        All processes get that of the same step, the newest that is whole for each of them.

        Args:
            shapes: of the whole state; of fields that are not read, anything.
            shardings: where each array goes.
            fields: the fields of the state to read; the others come back empty.

        Raises:
            OtherStateError, UnreadableError: as `restore`.
            ValueError: if there are checkpoints but none is whole, or each is deleted while it is read.
        """
        seen: list[int] = []
        gone = 0
        while (step := lead(self._newest_but(seen))) >= 0:
            seen.append(step)
            try:
                return self.restore(step, shapes, shardings, fields)
            except GoneError as error:
                gone += 1
                if gone == GONE_LIMIT:
                    raise GoneError(
                        f"{error}, and so were {gone - 1} before it: its run keeps too few checkpoints, for too short; "
                        "resume it with a greater --config.checkpoint.keep or --config.checkpoint.every"
                    ) from error
            except DamagedError as error:
                logging.warning("checkpoint %s of step %d can't be read: %s", self.folder, step, error)
                self._set_aside(step)
        if not seen:
            return None
        where = self.folder if self._read_only else self.folder / "damaged"
        raise ValueError(
            f"none of the {len(seen)} checkpoints in {self.folder} can be read; they lie in {where}. "
            "Restore them from a backup, or start in a new workdir"
        )

    def _newest_but(self, seen: list[int]) -> int:
        """The newest step that is not among `seen`, -1 if there is none."""
        return next((step for step in self.steps() if step not in seen), -1)

    def restore(self, step: int, shapes: TrainState, shardings: TrainState, fields: tuple[str, ...] = ALL) -> Restored:
        """The checkpoint of one step, on any mesh; arguments as in `restore_newest`.

        Raises:
            OtherStateError: if it holds other arrays than `shapes`.
            GoneError: if it is deleted meanwhile, as the run that writes them does with old ones.
            DamagedError: if the bytes read are not those written, or some are missing.
            UnreadableError: if it can't be read for any other reason, after several tries.
        """
        record, state = self._retry(step, lambda: self._read(step, shapes, shardings, fields))
        sums = self._sums(state)
        damaged = [name for name in fields if sums[name] != record["checksums"][name]]
        if worst(len(damaged)):
            raise DamagedError(f"the checksum of {damaged or 'what another process read'} is another than when written")
        return Restored(state, record["loader"], record["checksums"])

    def _retry(self, step: int, read: Callable[[], Any]) -> Any:
        """What `read` gives, in all processes or in none; tried again where it fails, for what may pass."""
        for pause in (*PAUSES, None):
            verdict, reason, value = Verdict.WHOLE, "", None
            try:
                value = read()
            except Exception as error:  # whatever a reader throws at damaged bytes
                verdict, reason = diagnose(self.folder / str(step), error)
            everybody = Verdict(worst(verdict))
            if everybody in (Verdict.WHOLE, Verdict.OTHER) or pause is None:
                break
            time.sleep(pause)
        reason = reason or f"as another process found: {everybody.name.lower()}"
        if everybody is Verdict.OTHER:
            raise OtherStateError(reason)
        if everybody is Verdict.DAMAGED:
            raise DamagedError(reason)
        if everybody is Verdict.GONE and self._read_only:
            raise GoneError(f"checkpoint {step} in {self.folder} was deleted while it was read")
        if everybody is not Verdict.WHOLE:
            raise UnreadableError(
                f"checkpoint {step} in {self.folder} can't be read, but nothing shows that it is damaged ({reason}); "
                "it was left where it is: see to the disk or the permissions, then run again"
            )
        return value

    def _record(self, step: int) -> dict[str, Any]:
        record = self.reader.restore(step, args=ocp.args.Composite(record=ocp.args.JsonRestore()))[RECORD]
        digest = record.pop("digest", None)
        if record.keys() != {"loader", "checksums", "arrays"} or digest not in (None, _digest(record)):
            raise DamagedError("its record is another than when it was written")
        return record

    def _read(self, step: int, shapes: TrainState, shardings: TrainState, fields: tuple[str, ...]):
        """The record and the state of a checkpoint, as far as it is in `fields`."""
        record = self._record(step)
        found, wanted = (
            {name: kind for name, kind in arrays.items() if name.split("/")[0] in fields}
            for arrays in (record["arrays"], _arrays(shapes))
        )
        if found != wanted:
            differing = sorted(name for name in found.keys() | wanted.keys() if found.get(name) != wanted.get(name))
            raise OtherStateError(
                f"checkpoint {step} in {self.folder} was written by another version of the model: "
                f"{len(differing)} arrays differ, the first {differing[0]} (there {found.get(differing[0])}, "
                f"here {wanted.get(differing[0])}); use the genjax version named in stage.json, or a new workdir"
            )
        arguments = jax.tree.map(lambda sharding: ocp.ArrayRestoreArgs(sharding=sharding), shardings)
        item, places = ({name: getattr(tree, name) for name in fields} for tree in (shapes, arguments))
        wanted = ocp.args.PyTreeRestore(item=item, restore_args=places, partial_restore=True)
        state = self.reader.restore(step, args=ocp.args.Composite(state=wanted))[STATE]
        if not all(isinstance(leaf, jax.Array) for leaf in jax.tree.leaves(state)):
            raise DamagedError("state/_METADATA lacks some of the arrays")
        whole: dict[str, Any] = {name: state[name] if name in fields else () for name in ALL}
        return record, TrainState(**whole)

    def wait(self) -> None:
        """Return when everything is on disk.

        Raises:
            NotSavedError: if it can't be written.
        """
        if self._manager is not None and self._saving is not None:
            with self._writing(self._saving):
                self._manager.wait_until_finished()

    def close(self) -> None:
        """Finish writing and release the managers. What couldn't be written was reported by `save` or `wait`."""
        for manager in (self._manager, self._reader):
            if manager is not None:
                with contextlib.suppress(Exception):
                    manager.close()
        self._manager = self._reader = None

    def abandon(self) -> None:
        """Don't wait for what is being written: it stays half written, in a temporary folder."""
        self._manager = self._reader = None

    @contextlib.contextmanager
    def _writing(self, step: int) -> Iterator[None]:
        """Whatever Orbax throws while it writes, as one line."""
        try:
            yield
        except Exception as error:
            reason = " ".join(f"{error}".split())[:200]
            kept = [other for other in self.steps() if other != step]
            raise NotSavedError(
                f"the checkpoint of step {step} can't be written to {self.folder} ({reason}); the last whole one is "
                f"{f'that of step {kept[0]}' if kept else 'missing: none was written yet'}. Make room, then run again"
            ) from error

    def _note_files(self) -> None:
        """Note the files of the checkpoint that is written, before it gets its name; without the note it is as good."""
        for path in self.folder.glob(TEMPORARY):
            with contextlib.suppress(OSError):
                damage.note(path)

    def _set_aside(self, step: int) -> None:
        """Move a damaged checkpoint out of sight, without deleting anything; only in one's own workdir."""
        if self._read_only:
            logging.warning("taking the one before; nothing was moved")
            return
        target = self.folder / "damaged" / f"{step}-{int(time.time())}"
        if jax.process_index() == 0:
            target.parent.mkdir(exist_ok=True)
            shutil.move(self.folder / str(step), target)
            logging.warning("set aside as %s; going on with the one before", target)
        worst(0)  # nobody goes on before it is moved
        self._reader = None
        if self._manager is not None:
            self._manager.reload()
