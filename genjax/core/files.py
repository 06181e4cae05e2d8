"""Files that appear whole or not at all, and what people often have in place of a file."""

import json
import os
import re
from pathlib import Path
from typing import Any

HEAD = 1024
"""Bytes at the start of a file that tell what is in it instead."""

_INSTEAD = (
    (rb"\Z", "an empty file: fetch it again"),
    (rb"\x00+\Z", "a file of zeros, as a download leaves that was cut off: fetch it again"),
    (rb"version https?://(git-lfs|hawser)", "a git-lfs pointer, not the file itself: run `git lfs pull` beside it"),
    (rb"\S*[/\\]annex[/\\]objects[/\\]\S+\s*\Z", "a git-annex pointer, not the file itself: run `git annex get`"),
    (
        rb"<(!doctype\s+html|html|head|body)[\s>]|<\?xml[^>]*>\s*<(!doctype\s+html|html)[\s>]",
        "a web page: the address it came from gave no file; fetch it again",
    ),
    (
        rb"(<\?xml[^>]*>\s*)?<Error>|(Entry|Repository|Page|File) not found\.?\s*\Z|404: Not Found\s*\Z"
        rb"|Invalid (username or password|credentials)|Access to (model|dataset) \S+ is restricted",
        "a server's error message: the address it came from gave no file; fetch it again",
    ),
)
"""How files begin that hold something else than their names say, and what to say of them. Whatever the names."""


def write_text(path: Path, text: str) -> None:
    """Write a text, making its folder; the file appears whole or not at all, even if the power fails.

    Args:
        path: of the file.
        text: what is to be in it, in UTF-8.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(f"{path.name}.{os.getpid()}.part")
    try:
        with open(part, "w", encoding="utf-8") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        os.replace(part, path)
    except OSError:
        part.unlink(missing_ok=True)
        raise


def instead(head: bytes) -> str:
    """What a file is in place of what its name says: an empty one, a pointer, a web page, a server's error.

    Args:
        head: its first `HEAD` bytes, or all that it has.

    Returns:
        A noun and what to do, for "PATH is ..."; "" of any other file.
    """
    start = head.removeprefix(b"\xef\xbb\xbf").lstrip() if head else head
    return next((words for pattern, words in _INSTEAD if re.match(pattern, start, re.IGNORECASE)), "")


def read_head(path: str | os.PathLike) -> bytes:
    """The first `HEAD` bytes of a file.

    Raises:
        OSError: if it can't be read.
    """
    with open(path, "rb") as file:
        return file.read(HEAD)


def write_json(path: Path, value: Any, allow_nan: bool = True) -> None:
    """Write JSON, making its folder; the file appears whole or not at all.

    Args:
        path: of the file.
        value: what JSON can hold.
        allow_nan: whether NaN and infinity, which strict readers refuse, may be in it.

    Raises:
        ValueError: for either of them where they may not.
    """
    write_text(path, json.dumps(value, indent=2, allow_nan=allow_nan) + "\n")


def read_json(path: Path) -> dict[str, Any]:
    """What a file of a workdir says.

    Raises:
        ValueError: naming the file, if it is cut or altered so that it is no JSON.
    """
    contents = path.read_bytes()
    if found := instead(contents[:HEAD]):
        raise ValueError(f"{path} is {found}, or restore it from a backup")
    try:
        content = json.loads(contents)
    except (ValueError, RecursionError) as error:
        raise ValueError(f"{path} is cut or altered ({error}): restore it from a backup") from None
    if not isinstance(content, dict):
        raise ValueError(f"{path} holds {str(content)[:40]!r} and no settings: restore it from a backup")
    return content
