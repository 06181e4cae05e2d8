"""Where the workdirs lie that a run names: they are found again when a chain of runs is moved, copied or linked to.

A workdir that lies below or beside the one that names it is noted relative to that one (`note`), any other by its whole
path. A name is looked for from the workdir that says it, also behind symbolic links, then from the current folder
(`candidates`). `override` puts any stage elsewhere: `--stage=NAME:DIR`.
"""

import contextlib
import os
from collections.abc import Iterator, Sequence
from contextvars import ContextVar
from pathlib import Path


class _Overrides:
    """Stage name -> its folder, and which names were looked up."""

    def __init__(self, folders: dict[str, Path]):
        self.folders = folders
        self.seen: set[str] = set()


_OVERRIDES: ContextVar[_Overrides | None] = ContextVar("overrides", default=None)

_ENTERED: ContextVar[tuple[Path, ...]] = ContextVar("entered", default=())


@contextlib.contextmanager
def override(texts: Sequence[str]) -> Iterator[None]:
    """While it is open, the stages named here lie where it is said, whoever names them.

    Args:
        texts: `NAME:DIR` each.

    Raises:
        ValueError: for a text of another form, a folder that isn't there, or at the end for a name that nobody has.
    """
    folders = {}
    for text in texts:
        name, colon, folder = text.partition(":")
        if not (name and colon and folder):
            raise ValueError(f"--stage={text} must be NAME:DIR, the name of a stage and its workdir")
        folders[name] = Path(folder).expanduser()
        if not folders[name].is_dir():
            raise ValueError(f"--stage={text}: there is no folder {folder}")
    overrides = _Overrides(folders)
    token = _OVERRIDES.set(overrides)
    try:
        yield
    finally:
        _OVERRIDES.reset(token)
    check_used(overrides)


def check_used(overrides: _Overrides) -> None:
    """Nothing, if every name was looked up.

    Raises:
        ValueError: for one that nothing has.
    """
    unknown = sorted(overrides.folders.keys() - overrides.seen)
    if unknown:
        known = ", ".join(sorted(overrides.seen)) or "none"
        raise ValueError(f"--stage={unknown[0]}:...: no stage has this name; those that were looked for: {known}")


def overridden(name: str) -> Path | None:
    """Where the stage `name` was said to lie, None if nothing was said."""
    overrides = _OVERRIDES.get()
    if overrides is None:
        return None
    overrides.seen.add(name)
    return overrides.folders.get(name)


@contextlib.contextmanager
def entered(workdir: Path) -> Iterator[None]:
    """While the upstream stages of a run are loaded: none of them may be, or build on, the run itself.

    Raises:
        ValueError: if it is entered a second time.
    """
    real = Path(os.path.realpath(workdir))
    if real in _ENTERED.get():
        raise ValueError(f"{workdir} builds on itself: name another run")
    token = _ENTERED.set((*_ENTERED.get(), real))
    try:
        yield
    finally:
        _ENTERED.reset(token)


def member(chain: Path, name: str) -> Path:
    """The workdir of a member of a chain."""
    return overridden(name) or chain / name


def candidates(name: str, child: Path) -> list[Path]:
    """Where a folder that the workdir `child` names may lie, the most likely first; none for an empty name."""
    if not name:
        return []
    name = os.path.expanduser(name)
    real = [os.path.join(os.path.realpath(child), name)]
    return [Path(os.path.normpath(path)) for path in (os.path.join(os.path.abspath(child), name), *real, name)]


def note(folder: Path, child: Path) -> str:
    """How the workdir `child` notes a folder: relative to itself where it lies below or beside it, else whole."""
    for read in (os.path.abspath, os.path.realpath):
        base, target = Path(read(child)), Path(read(folder))
        if target.is_relative_to(base.parent):
            return os.path.relpath(target, base)
    return os.path.abspath(folder)
