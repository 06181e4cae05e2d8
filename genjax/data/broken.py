"""Images that turn out to be broken while a run reads them: skipped, counted and named, up to a share."""

import errno
import logging
import math
import threading
import time
from collections.abc import Callable
from typing import Any

from genjax.core.arguments import ArgumentError, arg
from genjax.data.records import Record, Records

log = logging.getLogger(__name__)

_WAITS = (0.1, 1.0)
_FINAL = (errno.ENOENT, errno.EACCES, errno.EPERM, errno.EISDIR)


class BrokenImage(OSError):
    """An image that can't be decoded. The message names it and says why."""


def decoded(decode: Callable[[Any, str], Any], image: Any, name: str) -> Any:
    """`decode(image, name)`. An error of the file system that may pass is tried again first.

    Raises:
        BrokenImage: for whatever a decoder raises on an image that is broken; names it by `name`.
    """
    for wait in (*_WAITS, None):
        try:
            return decode(image, name)
        except Exception as error:  # Pillow's decoders raise many kinds of exceptions on broken files.
            number = error.errno if isinstance(error, OSError) else None
            if wait is None or number is None or number in _FINAL:
                why = " ".join(str(error).split()) or type(error).__name__
                raise BrokenImage(why if name in why else f"{name}: {why}") from error
            time.sleep(wait)


class Skipping:
    """Examples, where in place of one whose image is broken stands the next one that isn't: batches stay whole.

    Which one stands in depends on the data alone, so that a run that is resumed reads the same.

    Args:
        records: the examples.
        title: what to call them in messages.
        most: the share of them that may be broken, 0..1; above it, an error. Rounded up to a whole number of images.
    """

    def __init__(self, records: Records, title: str, most: float):
        self._records, self._title, self._share = records, title, most
        self._most = math.ceil(most * len(records))
        self._broken: set[int] = set()
        self._lock = threading.Lock()

    def __len__(self) -> int:
        return len(self._records)

    def __getstate__(self) -> dict[str, Any]:
        """A worker process has a lock of its own."""
        return {name: value for name, value in self.__dict__.items() if name != "_lock"}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__ |= state | {"_lock": threading.Lock()}

    def fetch(self, index: int) -> tuple[int, Record]:
        """An example, or the one that stands in for it, and its number.

        Raises:
            ValueError: if more images are broken than may be.
        """
        place = int(index)
        while True:
            if place not in self._broken:
                try:
                    return place, self._records[place]
                except BrokenImage as error:
                    self._note(place, error)
            place = (place + 1) % len(self._records)

    def _note(self, place: int, error: BrokenImage) -> None:
        """Count and name one; an error if there are too many."""
        with self._lock:
            known = place in self._broken
            self._broken.add(place)
            count, total = len(self._broken), len(self._records)
        if count > self._most or count == total:
            raise ArgumentError(
                f"{self._title}: {count} of {total} images are broken, and {arg('max_broken')}={self._share} allows "
                f"{self._most}; the last one: {error}"
            ) from error
        if not known:
            log.warning("%s: broken and skipped, %d of %d images so far: %s", self._title, count, total, error)
