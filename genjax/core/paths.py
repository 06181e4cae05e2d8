"""Paths as people write them: `~` is their home, other machines' storage is refused, and what can't be written to is
known before anything is computed.
"""

import os
import re
from pathlib import Path

_SCHEME = re.compile(r"([A-Za-z][A-Za-z0-9+.-]*):/")
_WINDOWS = re.compile(r"[A-Za-z]:\\|\\\\\w")
_VARIABLE = re.compile(r"\$(\w+|\{\w+\})(/|\Z)")


def local(text: str | os.PathLike) -> Path:
    """The path that a person means.

    Args:
        text: as written; `~` and `~user` are home folders. "gs:/x", as a path class makes of "gs://x", counts as the
            latter.

    Raises:
        ValueError: for an empty one, the address of other storage than local files, an unknown home, a path of Windows
            or of a variable, or control characters.
    """
    text = os.fspath(text)
    if not text.strip():
        raise ValueError("the path is empty: name a file or a folder, '.' for the current one")
    scheme = _SCHEME.match(text)
    if scheme and scheme[1].lower() == "file":
        raise ValueError(f"write the path alone, without file: /{text[5:].lstrip('/')}")
    if scheme:
        raise ValueError(
            f"{scheme[1]}:// isn't supported, only local files are: mount it as a folder, or copy it (a local folder "
            f"of this name is ./{text})"
        )
    if "\0" in text:
        raise ValueError(f"{text!r} has a NUL in it, which no path can have")
    if found := re.search(r"[\x01-\x1f\x7f]", text):
        raise ValueError(f"{text!r} has {found[0]!r} in it, a line's end or another control character: leave it out")
    if os.sep == "/" and _WINDOWS.match(text):
        raise ValueError(f"{text} is a path of Windows: write it as this machine has it, with /")
    if _VARIABLE.match(text) and not os.path.exists(text):
        raise ValueError(f"{text} begins with a variable that the shell has not filled in: take the quotes off")
    path = os.path.expanduser(text)
    if path.startswith("~") and not Path(path).exists():
        raise ValueError(f"there is no home folder for {Path(path).parts[0]!r}: write the whole path")
    return Path(path)


def writable_folder(text: str | os.PathLike) -> Path:
    """A folder to write to, which needn't be there yet; nothing is made.

    Raises:
        ValueError: as `local`, for a file, or where this user may make no folder.
    """
    path = local(text)
    there = _nearest(path.absolute())
    if not there.is_dir():
        raise ValueError(f"{there} is a file, and a folder is needed: choose another")
    if not os.access(there, os.W_OK | os.X_OK):
        raise ValueError(f"{there} can't be written to by this user: choose another folder")
    return path


def _nearest(path: Path) -> Path:
    """The path, or the innermost of its parents that is there."""
    for place in (path, *path.parents):
        try:
            place.stat()
        except (FileNotFoundError, NotADirectoryError):
            if place.is_symlink():
                raise ValueError(f"{place} is a link to {os.readlink(place)}, which isn't there") from None
        except OSError as error:
            raise ValueError(f"{place} can't be used: {error.strerror}") from error
        else:
            return place
    return path
