"""What the files of a workdir have noted, read back in the form that it was written in, or refused by its file."""

from pathlib import Path
from typing import Any, get_type_hints

from genjax.typing import DataSpec


def data_spec(path: Path, noted: Any) -> DataSpec | None:
    """What the data of a run is; None where nothing was noted.

    Args:
        path: of the file, for errors.
        noted: its `data`.

    Raises:
        ValueError: for fields that there aren't, or of another kind.
    """
    if noted is None:
        return None
    if not isinstance(noted, dict):
        raise ValueError(f"{path} says {str(noted)[:40]!r} of the data: restore it from a backup")
    fields: dict[str, Any] = {name: tuple(value) if isinstance(value, list) else value for name, value in noted.items()}
    try:
        spec = DataSpec(**fields)
    except TypeError as error:
        raise ValueError(f"{path} says of the data what this version of genjax doesn't know ({error})") from None
    for name, kind in get_type_hints(DataSpec).items():
        if not _is(getattr(spec, name), kind, size=3 if name == "image_shape" else None):
            value = repr(noted[name])
            raise ValueError(f"{path} says {name}={value[:40]} of the data, which can't be: restore it from a backup")
    return spec


def _is(value: Any, kind: Any, size: int | None) -> bool:
    """Whether a value is of the kind of a field: a number from 0 on, a truth value, or a tuple."""
    inner = getattr(kind, "__args__", ())
    if inner:
        right = isinstance(value, tuple) and (size is None or len(value) == size)
        return right and all(_is(one, inner[0], None) for one in value)
    return type(value) is kind and (kind is not int or value >= 0)


def upstream(path: Path, noted: Any) -> dict[str, dict[str, Any]]:
    """The upstream stages of a run: name -> which checkpoint.

    Raises:
        ValueError: for anything else.
    """
    right = isinstance(noted, dict) and all(
        isinstance(one, dict) and {type(one.get("step")), type(one.get("checksum"))} == {int} for one in noted.values()
    )
    if not right:
        raise ValueError(f"{path} says {str(noted)[:40]!r} of its upstream stages: restore it from a backup")
    return noted


def is_chain(noted: Any) -> bool:
    """Whether a list names the stages of a chain."""
    return isinstance(noted, list) and bool(noted) and all(isinstance(name, str) and name for name in noted)
