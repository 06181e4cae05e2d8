"""Checkpoints that other runs build on are kept, however far their own run is trained.

A run that builds on a checkpoint of another leaves a pin in that one's workdir: the file `pins/STEP-HASH.json`, which
says whose it is. A pinned checkpoint isn't deleted by `config.checkpoint.keep`; whoever deletes the run that pinned it
may delete the pin too.
"""

import dataclasses
import hashlib
from collections.abc import Callable
from pathlib import Path

from absl import logging
from orbax.checkpoint import checkpoint_managers

from genjax.core.files import write_json

FOLDER = "pins"


def pin(parent: Path, step: int, child: Path) -> None:
    """Keep the checkpoint of a step of `parent` for the run in `child`, instead of any that it had pinned before.

    A parent that can't be written to is warned of: its owner has to see to it then.

    Raises:
        ValueError: if the checkpoint was deleted meanwhile.
    """
    mark = hashlib.sha256(str(child.resolve()).encode()).hexdigest()[:12]
    path = parent / FOLDER / f"{step}-{mark}.json"
    try:
        if not path.exists():
            write_json(path, {"step": step, "child": str(child.resolve())})
        for old in (parent / FOLDER).glob(f"*-{mark}.json"):
            if old != path:
                old.unlink(missing_ok=True)
    except OSError as error:
        logging.warning("can't note in %s that %s needs its step %d (%s): keep it", parent, child, step, error)
    if not (parent / "checkpoints" / str(step)).is_dir():
        raise ValueError(f"{parent} deleted its step {step} just now, which {child} was to build on; run again")


def steps(workdir: Path) -> set[int]:
    """The pinned steps of a workdir."""
    names = [path.name.split("-")[0] for path in (workdir / FOLDER).glob("*-*.json")]
    return {int(name) for name in names if name.isdigit()}


@dataclasses.dataclass
class Keep(checkpoint_managers.PreservationPolicy):
    """Keeps the checkpoints that others have pinned.

    Attributes:
        pinned: the pinned steps; requested whenever a checkpoint is to be deleted.
    """

    pinned: Callable[[], set[int]]

    def should_preserve(self, checkpoints, *, context):
        """For each checkpoint whether it is pinned."""
        pinned = self.pinned()
        return [checkpoint.step in pinned for checkpoint in checkpoints]
