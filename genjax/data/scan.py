"""A look at all images of a folder before anything is trained on them, and what was seen, kept for the next start.

Of every image the header is read: its format and size. Up to CHECKED images, spread over the folder, are decoded as
training will decode them, since all of a large folder would take hours. What a look of more than a second has seen is
kept in the person's cache folder, by path, size and time of the file.
"""

import hashlib
import json
import logging
import os
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import PIL
from PIL import Image
from tqdm import tqdm

from genjax.data import transforms
from genjax.data.texts import shown

log = logging.getLogger(__name__)

CHECKED = 1_000
"""How many images are decoded; all of a folder that has no more."""
DARK = 16
"""An image with no value above this, of 255, is nearly black: 12 bits in a file of 16, or a mask of 0 and 1."""

_KEPT_AFTER = 1.0
_FORMAT = 1


class Look(NamedTuple):
    """What was seen of one file.

    Attributes:
        width: in pixels, as in its header.
        height: likewise.
        problem: why its header can't be read, or "".
        decoded: whether it was decoded.
        broken: why it can't be decoded, or "".
        dark: whether it is nearly black, but not black.
        passing: whether the problem may pass without a change of the file, as with permissions.
    """

    width: int = 0
    height: int = 0
    problem: str = ""
    decoded: bool = False
    broken: str = ""
    dark: bool = False
    passing: bool = False


def scan(root: str, paths: Sequence[str]) -> list[Look]:
    """Look at the images of a folder; what was seen of unchanged ones before is taken from the index.

    Args:
        root: the folder, after which the index is named.
        paths: of the images.

    Returns:
        What was seen of each. An image that is not among the CHECKED counts as not decoded, whatever the index says, so
        that the same folder always gives the same examples.
    """
    index = _Index(root)
    chosen = set(np.linspace(0, len(paths) - 1, min(CHECKED, len(paths))).astype(int).tolist()) if paths else set()
    stamps = [_stamp(path) for path in paths]
    looks = [index.look(path, stamp) for path, stamp in zip(paths, stamps)]
    work = [
        number
        for number, seen in enumerate(looks)
        if seen is None or (number in chosen and not seen.problem and not seen.decoded)
    ]
    start = time.monotonic()
    with ThreadPoolExecutor() as pool:
        found = pool.map(lambda number: look_at(paths[number], number in chosen), work)
        title = f"looking at {shown(os.path.basename(root))}"
        for number, seen in zip(work, tqdm(found, title, len(work), leave=False, delay=1, unit=" images")):
            looks[number] = seen
    if time.monotonic() - start > _KEPT_AFTER:
        index.keep({path: (stamp, seen) for path, stamp, seen in zip(paths, stamps, looks) if not seen.passing})
    unseen: dict[str, Any] = {"decoded": False, "broken": "", "dark": False}
    return [seen if number in chosen else seen._replace(**unseen) for number, seen in enumerate(looks)]


def look_at(path: str, decode: bool) -> Look:
    """What there is to see of one file: its header, and what `transforms.decode` makes of it."""
    look = Look()
    try:
        with Image.open(path) as image:
            look = look._replace(width=image.width, height=image.height)
    except Exception:  # Pillow's decoders raise many kinds of exceptions on broken files; `decode` has words for them.
        decode = True
    if not decode:
        return look
    try:
        pixels = transforms.decode(path, "it")
    except Exception as error:
        unread: dict[str, Any] = {"broken" if look.width else "problem": _why(error)}
        return look._replace(decoded=True, passing=_passes(error), **unread)
    return look._replace(decoded=True, dark=bool(0 < pixels.max() < DARK))


def _why(error: Exception) -> str:
    """An error in a few words."""
    if isinstance(error, FileNotFoundError):
        return "no such file"
    if isinstance(error, OSError) and error.errno:
        return (error.strerror or type(error).__name__).lower()
    return " ".join(str(error).split()) or type(error).__name__


def _passes(error: Exception) -> bool:
    return isinstance(error, MemoryError) or (isinstance(error, OSError) and error.errno is not None)


def _stamp(path: str) -> tuple[int, int]:
    """Size and time of a file: if they are as before, it needn't be looked at again."""
    try:
        status = os.stat(path)
    except (OSError, ValueError):
        return -1, -1
    return status.st_size, status.st_mtime_ns


def cache_folder() -> Path | None:
    """Where programs keep what they can make again: `$XDG_CACHE_HOME/genjax` or `~/.cache/genjax`; None of a person
    without a home.
    """
    home = os.environ.get("XDG_CACHE_HOME", "")
    root = home if os.path.isabs(home) else os.path.join(os.path.expanduser("~"), ".cache")
    return Path(root, "genjax") if os.path.isabs(root) else None


class _Index:
    """What was seen of a folder at earlier starts."""

    def __init__(self, root: str):
        self._root, folder = root, cache_folder()
        digest = hashlib.sha256(os.fsencode(os.path.realpath(root))).hexdigest()[:16]
        self._path = folder / "folders" / f"{digest}.json" if folder else None
        self._seen: dict[str, tuple[tuple[int, int], Look]] = {}
        try:
            contents = json.loads(self._path.read_text()) if self._path else {}
            if contents.get("made_by") == self._made_by():
                self._seen = {path: ((row[0], row[1]), Look(*row[2:])) for path, row in contents["files"].items()}
        except Exception:  # An index that isn't there, is cut, or isn't one is made anew.
            self._seen = {}

    def look(self, path: str, stamp: tuple[int, int]) -> Look | None:
        """What was seen of a file, if it hasn't changed since."""
        before, look = self._seen.get(path, (None, None))
        return look if before == stamp and stamp[0] >= 0 else None

    def keep(self, seen: dict[str, tuple[tuple[int, int], Look]]) -> None:
        """Write the index, whole or not at all; a word where that can't be."""
        try:
            if self._path is None:
                raise OSError("there is no home folder; XDG_CACHE_HOME names another place")
            self._path.parent.mkdir(parents=True, exist_ok=True)
            part = self._path.with_name(f"{self._path.name}.{os.getpid()}.part")
            files = {path: [*stamp, *look] for path, (stamp, look) in seen.items()}
            part.write_text(json.dumps({"made_by": self._made_by(), "files": files}))
            os.replace(part, self._path)
        except OSError as error:
            why = f"{error.strerror.lower()}: {error.filename}" if error.strerror else str(error)
            log.warning(
                "folder %s: what was seen of it can't be kept (%s), so the next start looks at all of it again",
                shown(os.path.basename(self._root)),
                why,
            )

    @staticmethod
    def _made_by() -> str:
        return f"{_FORMAT}, Pillow {PIL.__version__}"
