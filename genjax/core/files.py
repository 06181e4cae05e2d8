"""Files that appear whole or not at all."""

import json
import os
from pathlib import Path
from typing import Any


def write_json(path: Path, value: Any, allow_nan: bool = True) -> None:
    """Write JSON, making its folder; the file appears whole or not at all.

    Args:
        path: of the file.
        value: what JSON can hold.
        allow_nan: whether NaN and infinity, which strict readers refuse, may be in it.

    Raises:
        ValueError: for either of them where they may not.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(f"{path.name}.{os.getpid()}.part")
    part.write_text(json.dumps(value, indent=2, allow_nan=allow_nan) + "\n")
    os.replace(part, path)
