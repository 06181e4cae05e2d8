"""Files that appear whole or not at all."""

import json
import os
from pathlib import Path
from typing import Any


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
