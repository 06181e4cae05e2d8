"""What lies below a folder: every file with its size and time, and what can't be reached, by name.

Links to files and folders are followed, each folder once. A folder that is reached both directly and by a link goes
by its own name. What systems and their trash leave behind (`@eaDir`, `$RECYCLE.BIN`, `lost+found`, hidden names) is
not looked at.
"""

import os
import stat
from collections import deque
from typing import NamedTuple

JUNK = frozenset(
    {
        "__macosx",
        "__pycache__",
        "@eadir",
        "@recycle",
        "@tmp",
        "#recycle",
        "#snapshot",
        "$recycle.bin",
        "recycler",
        "lost+found",
        "found.000",
        "system volume information",
        "network trash folder",
        "temporary items",
        "thumbs.db",
        "ehthumbs.db",
        "desktop.ini",
    }
)
"""Names that are not a person's data, in lower case."""


class File(NamedTuple):
    """A file: its name below the folder, size in bytes, time of change in ns, and what all its links share."""

    name: str
    size: int
    mtime: int
    inode: tuple[int, int] = (0, 0)


class Listing(NamedTuple):
    """What lies below a folder; names are relative to it and sorted part by part.

    Attributes:
        files: all regular files.
        folders: all folders.
        lost: (name, reason) of links that lead nowhere, and of what is neither a file nor a folder.
        closed: (name, reason) of folders that can't be listed.
        twins: (name, other) of folders that are another one by a link.
    """

    files: tuple[File, ...]
    folders: tuple[str, ...]
    lost: tuple[tuple[str, str], ...]
    closed: tuple[tuple[str, str], ...]
    twins: tuple[tuple[str, str], ...]


def is_junk(name: str) -> bool:
    """Whether a name is hidden, or one that systems leave behind."""
    return name.startswith(".") or name.lower() in JUNK


def walk(root: str) -> Listing:
    """List a folder, to any depth.

    Raises:
        OSError: if the folder itself can't be listed.
    """
    found: dict[str, list] = {field: [] for field in Listing._fields}
    here = os.stat(root)
    seen = {(here.st_dev, here.st_ino): "."}
    direct: deque[str] = deque([""])
    linked: deque[str] = deque()
    while direct or linked:
        name = direct.popleft() if direct else linked.popleft()
        if name:
            try:
                place = os.stat(os.path.join(root, name))
            except OSError as error:
                found["closed"].append((name, _reason(error)))
                continue
            if (place.st_dev, place.st_ino) in seen:
                found["twins"].append((name, seen[place.st_dev, place.st_ino]))
                continue
            seen[place.st_dev, place.st_ino] = name
        try:
            with os.scandir(os.path.join(root, name)) as entries:
                children = sorted(entries, key=lambda entry: entry.name)
        except OSError as error:
            if not name:
                raise
            found["closed"].append((name, _reason(error)))
            continue
        if name:
            found["folders"].append(name)
        for child in children:
            _note(child, f"{name}/{child.name}" if name else child.name, found, direct, linked)
    return Listing(**{field: tuple(sorted(names, key=_parts)) for field, names in found.items()})


def _note(child: os.DirEntry, name: str, found: dict[str, list], direct: deque, linked: deque) -> None:
    """Note one entry of a folder: a file, or a folder to look into."""
    if is_junk(child.name):
        return
    try:
        status = child.stat()
    except OSError as error:
        lost = child.is_symlink() and isinstance(error, FileNotFoundError)
        found["lost"].append((name, "a link that leads nowhere" if lost else _reason(error)))
        return
    if stat.S_ISDIR(status.st_mode):
        (linked if child.is_symlink() else direct).append(name)
    elif stat.S_ISREG(status.st_mode):
        found["files"].append(File(name, status.st_size, status.st_mtime_ns, (status.st_dev, status.st_ino)))
    else:
        found["lost"].append((name, "no regular file"))


def _reason(error: OSError) -> str:
    return (error.strerror or type(error).__name__).lower()


def _parts(item) -> list[str]:
    """Sort key: the parts of a name, however the item holds it."""
    name = item if isinstance(item, str) else item[0]
    return name.split("/")
