"""Checkpoints: asynchronous, atomic, checked, and never deleted for being broken.

Each holds the `TrainState`, and a record (JSON): the loader's state, so that a resumed run sees exactly the batches
that it would have seen, and a checksum of each field of the state. Orbax writes into a temporary folder and renames
it, so a killed run leaves whole checkpoints only; what is damaged later shows in an error of the reader or in the
checksum. Such a checkpoint is warned of and set aside as `checkpoints/damaged/STEP`, and the one before is taken.

The checksum is the sum, modulo 2^32, of all words of the state: it doesn't depend on how the state is sharded, so a
checkpoint written on eight devices can be checked on one.
"""

import shutil
import time
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import orbax.checkpoint as ocp
from absl import logging

from genjax.core import tree as tree_lib
from genjax.training.state import TrainState
from genjax.typing import Array, PyTree

RECORD, STATE = "record", "state"
ALL = TrainState._fields


def checksum(tree: PyTree) -> Array:
    """Sum modulo 2^32, uint32 [], of the words of all leaves, each leaf's multiplied by its odd place number."""
    total = jnp.zeros((), jnp.uint32)
    for place, leaf in enumerate(jax.tree.leaves(tree)):
        width = leaf.dtype.itemsize
        bits = leaf.astype(jnp.uint8) if leaf.dtype == bool else leaf
        words = jax.lax.bitcast_convert_type(bits, {1: jnp.uint8, 2: jnp.uint16}.get(width, jnp.uint32))
        total += jnp.uint32(2 * place + 1) * jnp.sum(words, dtype=jnp.uint32)
    return total


class OtherStateError(ValueError):
    """A whole checkpoint of a state with other arrays than the ones asked for."""


def _arrays(tree: PyTree) -> dict[str, str]:
    """Name -> shape and dtype of every array."""
    leaves = jax.tree_util.tree_leaves_with_path(tree)
    return {tree_lib.path_name(path): f"{leaf.dtype}{list(leaf.shape)}" for path, leaf in leaves}


class Checkpoints:
    """The checkpoints of one workdir.

    Args:
        folder: where they lie, one folder a step; made when the first is written.
        keep: how many of the newest whole ones are kept.
    """

    def __init__(self, folder: Path, keep: int = 3):
        self.folder = folder.absolute()
        options = ocp.CheckpointManagerOptions(max_to_keep=keep, create=False)
        self._options = options
        self._manager: ocp.CheckpointManager | None = None
        self._checksums = jax.jit(lambda state: {name: checksum(tree) for name, tree in state._asdict().items()})

    @property
    def manager(self) -> ocp.CheckpointManager:
        """Orbax's manager, opened at the first use."""
        if self._manager is None:
            self.folder.mkdir(parents=True, exist_ok=True)
            self._manager = ocp.CheckpointManager(self.folder, options=self._options)
        return self._manager

    def save(self, state: TrainState, loader: Any) -> None:
        """Start writing the state and the loader's state; returns once the arrays are copied off the device.

        Saving a step that is there already does nothing.
        """
        step = int(state.step)
        if step in self.manager.all_steps():
            return
        record = {"loader": loader, "checksums": self._sums(state), "arrays": _arrays(state)}
        self.manager.save(
            step,
            args=ocp.args.Composite(state=ocp.args.PyTreeSave(state), record=ocp.args.JsonSave(record)),
        )

    def steps(self) -> list[int]:
        """Steps of which there is a checkpoint, newest first; none if the folder is absent."""
        return sorted(self.manager.all_steps(), reverse=True) if self.folder.is_dir() else []

    def _sums(self, state: TrainState) -> dict[str, int]:
        """Field -> checksum."""
        return {name: int(value) for name, value in jax.device_get(self._checksums(state)).items()}

    def identity(self, step: int) -> dict[str, int]:
        """Field -> checksum of the checkpoint of a step: what tells it from any other."""
        return self._record(step)["checksums"]

    def _record(self, step: int) -> dict[str, Any]:
        return self.manager.restore(step, args=ocp.args.Composite(record=ocp.args.JsonRestore()))[RECORD]

    def restore_newest(
        self, shapes: TrainState, shardings: TrainState, fields: tuple[str, ...] = ALL
    ) -> tuple[TrainState, Any] | None:
        """The newest whole checkpoint as (state, loader's state), or None if there is no checkpoint at all.

        Args:
            shapes: of the whole state.
            shardings: where each array goes.
            fields: the fields of the state to read; the others come back empty.

        Raises:
            ValueError: if there are checkpoints but none is whole.
        """
        steps = self.steps()
        for step in steps:
            try:
                return self.restore(step, shapes, shardings, fields)
            except OtherStateError:
                raise
            except Exception as error:  # whatever a reader throws at damaged bytes
                reason = f"{type(error).__name__}: {error}".splitlines()[0][:200]
                logging.warning("checkpoint %s of step %d can't be read (%s)", self.folder, step, reason)
                self._set_aside(step)
        if steps:
            raise ValueError(
                f"none of the {len(steps)} checkpoints in {self.folder} can be read; they lie in "
                f"{self.folder / 'damaged'}. Restore them from a backup, or start in a new workdir"
            )
        return None

    def restore(
        self, step: int, shapes: TrainState, shardings: TrainState, fields: tuple[str, ...] = ALL
    ) -> tuple[TrainState, Any]:
        """The checkpoint of one step as (state, loader's state), on any mesh; arguments as in `restore_newest`.

        Raises:
            OtherStateError: if it holds other arrays than `shapes`.
            ValueError: if the bytes read are not those written; orbax's errors if they can't be read.
        """
        record = self._record(step)
        found, wanted = record["arrays"], _arrays(shapes)
        if found != wanted:
            differing = sorted(name for name in found.keys() | wanted.keys() if found.get(name) != wanted.get(name))
            raise OtherStateError(
                f"checkpoint {step} in {self.folder} was written by another version of the model: "
                f"{len(differing)} arrays differ, the first {differing[0]} (there {found.get(differing[0])}, "
                f"here {wanted.get(differing[0])}); use the genjax version named in stage.json, or a new workdir"
            )
        left_out = {name: () for name in ALL if name not in fields}
        skipped = {name: jax.tree.map(lambda _: ocp.PLACEHOLDER, getattr(shapes, name)) for name in left_out}
        no_arguments = {name: jax.tree.map(lambda _: ocp.RestoreArgs(), getattr(shapes, name)) for name in left_out}
        arguments = jax.tree.map(lambda sharding: ocp.ArrayRestoreArgs(sharding=sharding), shardings)
        wanted = ocp.args.PyTreeRestore(
            item=shapes._replace(**skipped), restore_args=arguments._replace(**no_arguments)
        )
        state = self.manager.restore(step, args=ocp.args.Composite(state=wanted))[STATE]._replace(**left_out)
        sums = self._sums(state)
        damaged = [name for name in fields if sums[name] != record["checksums"][name]]
        if damaged:
            raise ValueError(f"the checksum of {damaged} is another than when it was written")
        return state, record["loader"]

    def wait(self) -> None:
        """Return when everything is on disk."""
        if self._manager is not None:
            self._manager.wait_until_finished()

    def close(self) -> None:
        """Finish writing and release the manager."""
        if self._manager is not None:
            self._manager.wait_until_finished()
            self._manager.close()
            self._manager = None

    def _set_aside(self, step: int) -> None:
        """Move a damaged checkpoint out of the manager's sight, without deleting anything."""
        target = self.folder / "damaged" / f"{step}-{int(time.time())}"
        if jax.process_index() == 0:
            target.parent.mkdir(exist_ok=True)
            shutil.move(self.folder / str(step), target)
            logging.warning("set aside as %s; going on with the one before", target)
        self.manager.reload()
