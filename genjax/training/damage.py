"""Is a checkpoint that can't be read damaged, or is it the disk, the permissions, the memory of this moment?

Damage is what is wrong in bytes that were read: a checksum, a length, a file that isn't there. It doesn't pass, so the
checkpoint before has to do. All else (no permission, too many open files, a stale handle, a disk error) may pass, and
says nothing of the checkpoint: whoever finds it tries again, and then stops.

`note` writes the length of each file of a checkpoint, and the CRC-32 of the small ones, into `files.json` beside them;
what the large ones hold is checked by the checksums of the state. A checkpoint without that file, or with a cut one, is
decided by the formats of its files.
"""

import enum
import errno
import json
import re
import zlib
from pathlib import Path
from typing import Any

from genjax.core.files import write_json

FILES = "files.json"
SMALL = 1 << 20
"""Bytes up to which a file's CRC-32 is noted: metadata, not arrays."""

ITEMS = ("record", "state")
ESSENTIAL = ("record/metadata", "state/_METADATA", "state/manifest.ocdbt")
JSON = ("record/metadata", "state/_METADATA", "state/array_metadatas/*")
CORRUPT = ("DATA_LOSS", "OUT_OF_RANGE", "NOT_FOUND", "Error opening", "Error reading", "Error decoding")
"""How TensorStore's errors over wrong bytes begin; what the system refuses has the number of the error in its text."""


class Verdict(enum.IntEnum):
    """What reading a checkpoint came to, in the order in which it matters to several processes."""

    WHOLE = 0
    DAMAGED = 1
    GONE = 2
    UNREADABLE = 3
    OTHER = 4


class DamagedError(ValueError):
    """Bytes of a checkpoint that were read are not those that were written."""


class GoneError(ValueError):
    """A checkpoint of another run was deleted, by that run, while it was read."""


class UnreadableError(ValueError):
    """A checkpoint can't be read for a reason that isn't damage, and that may pass."""


class OtherStateError(ValueError):
    """A whole checkpoint of a state with other arrays than the requested ones."""


def note(folder: Path) -> None:
    """Write `files.json` for the checkpoint that lies finished in `folder`."""
    files = [path for item in ITEMS for path in sorted((folder / item).rglob("*")) if path.is_file()]
    found = {str(path.relative_to(folder)): _trace(path) for path in files if path.name != "commit_success.txt"}
    write_json(folder / FILES, found)


def diagnose(step: Path, error: Exception) -> tuple[Verdict, str]:
    """What an error says of the checkpoint in the folder `step` whose reading it ended, and why, in one line."""
    reason = " ".join(f"{type(error).__name__}: {error}".split())[:200]
    if isinstance(error, OtherStateError):
        return Verdict.OTHER, str(error)
    if isinstance(error, DamagedError):
        return Verdict.DAMAGED, str(error)
    if _of_the_system(error):
        return Verdict.UNREADABLE, reason
    try:
        step.stat()
        found = _wrong_file(step)
    except FileNotFoundError:
        return Verdict.GONE, f"{step} is gone"
    except OSError as refused:
        return Verdict.UNREADABLE, str(refused)
    if found:
        return Verdict.DAMAGED, found
    damaged = isinstance(error, ValueError) and str(error).startswith(CORRUPT)
    return (Verdict.DAMAGED if damaged else Verdict.UNREADABLE), reason


def _of_the_system(error: Exception) -> bool:
    """Whether the system refused to read: any of its errors but a missing file, or memory that is short."""
    if isinstance(error, OSError):
        return error.errno not in (None, errno.ENOENT)
    numbers = re.findall(r"OS error (\d+)", str(error))
    return isinstance(error, MemoryError) or any(int(number) != errno.ENOENT for number in numbers)


def _wrong_file(step: Path) -> str:
    """What is wrong with the files of a checkpoint; empty if nothing is.

    Raises:
        OSError: if one is there but can't be read.
    """
    noted = _noted(step)
    for name in ESSENTIAL if noted is None else noted:
        try:
            (step / name).stat()
        except FileNotFoundError:
            return f"{name} is missing"
        if noted is not None and (found := _trace(step / name)) != noted[name]:
            wrong = "length" if found["bytes"] != noted[name]["bytes"] else "checksum"
            return f"the {wrong} of {name} is another than when it was written"
    if noted is None:
        for path in (path for pattern in JSON for path in sorted(step.glob(pattern))):
            try:
                json.loads(path.read_bytes())
            except ValueError as error:
                return f"{path.relative_to(step)} is cut or altered ({error})"
    return ""


def _noted(step: Path) -> dict[str, Any] | None:
    """What `files.json` says; None where it isn't there or is cut itself."""
    try:
        return json.loads((step / FILES).read_bytes())
    except (FileNotFoundError, ValueError):
        return None


def _trace(path: Path) -> dict[str, int]:
    """The length of a file, and the CRC-32 of a small one."""
    size = path.stat().st_size
    return {"bytes": size} | ({"crc32": zlib.crc32(path.read_bytes())} if size <= SMALL else {})
