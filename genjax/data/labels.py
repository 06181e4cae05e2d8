"""Classes by name: which number a name is."""

import difflib
import re
import unicodedata
from collections.abc import Sequence

_NAMED = 10


def label_of(text: str, class_names: Sequence[str], num_classes: int = 0) -> int:
    """The number of the class that a person names: by its name, or by its number.

    `name:TEXT` is always a name and `id:NUMBER` always a number.

    Args:
        text: what was typed.
        class_names: names of the classes, in the order of their numbers.
        num_classes: how many classes there are, where they have no names.

    Raises:
        ValueError: for a class that there isn't, or a number that is the name of another class.
    """
    typed, names = _normal(text), [_normal(name) for name in class_names]
    count = len(names) or num_classes
    if not count:
        raise ValueError(f"label {text!r}: there are no classes")
    kind, _, rest = typed.partition(":")
    if typed in names or kind not in ("name", "id"):
        kind, rest = "either", typed
    by_name = names.index(rest) if kind != "id" and rest in names else None
    by_number = int(rest) if kind != "name" and re.fullmatch(r"[0-9]{1,9}", rest) and int(rest) < count else None
    if by_name is None and by_number is None:
        raise ValueError(f"label {text!r} is no class: {_choices(rest, class_names, count)}")
    if by_name is not None and by_number is not None and by_name != by_number:
        raise ValueError(
            f"label {text!r} has two readings: the class named {class_names[by_name]!r}, which is number {by_name}, or "
            f"number {by_number}, which is named {class_names[by_number]!r}; write name:{rest} or id:{rest}"
        )
    return by_number if by_name is None else by_name


def _normal(text: str) -> str:
    """A name however its accents are written, without spaces around it."""
    return unicodedata.normalize("NFC", text).strip()


def _choices(typed: str, class_names: Sequence[str], count: int) -> str:
    """What may be written instead."""
    if not class_names:
        return f"they are the numbers 0 to {count - 1}"
    lower = {name.lower(): name for name in class_names}
    close = [lower[name] for name in difflib.get_close_matches(typed.lower(), lower, n=3)]
    if close:
        return f"is it {' or '.join(map(repr, close))}?"
    more = f", ... ({count} in all)" if count > _NAMED else ""
    return f"they are {', '.join(map(repr, class_names[:_NAMED]))}{more}, or the numbers 0 to {count - 1}"
