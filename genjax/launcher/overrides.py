"""Fields of a config set on the command line, each of the kind that it has in the config.

    --config.training.num_steps=1000     --config.seed 7     --config.data.flip     --noconfig.data.flip
    --config.model.network.channel_mult=1,2,2     --config.data.tokenizer="{'name': 'bpe', 'length': 16}"

They may stand before or behind `--config`, and of two of one field the last one counts; a tuple that is set several
times has all that was set.
"""

import ast
import difflib
import math
import re
from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple

from ml_collections import ConfigDict

_WORD = re.compile(r"--?(no)?config\.([^=]*)(?:=(.*))?", re.DOTALL)
_VALUE = re.compile(r"[^-]|-[\d.]|-\Z|\Z")
"""How a word begins that is a value and no flag."""
_TEXTS = frozenset({"guides", "encode", "cascade", "order"})
"""Fields that are tuples of texts; all others whose default is empty are of numbers."""
_TRUE, _FALSE = ("true", "t", "1", "yes"), ("false", "f", "0", "no")
_FEW = 12


class Override(NamedTuple):
    """One of them: the name of the field, its value as typed, None where none was, and whether it began with `no`."""

    field: str
    text: str | None
    negated: bool = False

    def __str__(self) -> str:
        value = "" if self.text is None else f"={self.text}"
        return f"--{'no' * self.negated}config.{self.field}{value}"


def split(words: Sequence[str]) -> tuple[list[str], list[Override]]:
    """A command line without its overrides, and these."""
    rest: list[str] = []
    found: list[Override] = []
    number = 0
    while number < len(words):
        word = words[number]
        number += 1
        match = _WORD.fullmatch(word)
        if word == "--":
            return [*rest, word, *words[number:]], found
        if not match:
            rest.append(word)
            continue
        text = match[3]
        if text is None and not match[1] and number < len(words) and _VALUE.match(words[number]):
            text = words[number]
            number += 1
        found.append(Override(match[2], text, bool(match[1])))
    return rest, found


def apply(config: ConfigDict, overrides: Sequence[Override]) -> None:
    """Set the fields of a config.

    Raises:
        ValueError: in one line, for a field that there isn't, or a value of another kind than the field's; names the
            field, the value and the kind.
    """
    tuples: dict[str, tuple] = {}
    for one in overrides:
        section, name = _locate(config, one.field)
        try:
            value = _read(one, section[name], name)
        except ValueError as error:
            raise ValueError(f"{one}: {error}") from None
        if isinstance(value, tuple):
            value = tuples[one.field] = tuples.get(one.field, ()) + value
        with section.unlocked(), section.ignore_type():
            section[name] = value


def set_field(config: ConfigDict, field: str, value: Any) -> None:
    """Set one field of a config to a value of Python.

    Args:
        config: is changed.
        field: its whole name, "training.num_steps".
        value: of the kind that the field has; a list does for a tuple, a whole number for a number.

    Raises:
        ValueError: for a field that there isn't, or a value of another kind.
    """
    try:
        section, name = _locate(config, field)
    except ValueError as error:
        raise ValueError(str(error).replace("--config.", "config.")) from None
    before = section[name]
    try:
        section[name] = tuple(value) if isinstance(before, tuple) and isinstance(value, list) else value
    except TypeError:
        kind = f"a section with {', '.join(before)}" if isinstance(before, ConfigDict) else _kind(before)
        raise ValueError(f"config.{field}={value!r} must be {kind}") from None


def _locate(config: ConfigDict, field: str) -> tuple[ConfigDict, str]:
    """The section of a field, and its name there."""
    section, above = config, "config"
    *sections, last = field.split(".")
    for depth, name in enumerate((*sections, last)):
        if not isinstance(section, ConfigDict):
            raise ValueError(f"unknown config field --config.{field}: {above} is {_kind(section)}, not a section")
        if name not in section:
            raise ValueError(f"unknown config field --config.{field}{_nearest(config, section, above, field, name)}")
        if depth < len(sections):
            section, above = section[name], f"{above}.{name}"
    return section, last


def _nearest(config: ConfigDict, section: ConfigDict, above: str, field: str, name: str) -> str:
    """What may have been meant by a field that there isn't."""
    rest = field.split(".")[above.count(".") + 1 :]
    close = difflib.get_close_matches(name, list(section), 1)
    elsewhere = [path for path in _fields(config) if path.split(".")[-1] == field.split(".")[-1]]
    if close:
        return f"; is it --{'.'.join([above, close[0], *rest])}?"
    if elsewhere:
        return f"; is it {' or '.join(f'--config.{path}' for path in elsewhere[:3])}?"
    names = sorted(section)
    more = ", ..." if len(names) > _FEW else ""
    return f": {above} has {', '.join(names[:_FEW]) or 'no fields'}{more}"


def _fields(section: ConfigDict, before: str = "") -> Iterator[str]:
    for name, value in section.items():
        yield before + name
        if isinstance(value, ConfigDict):
            yield from _fields(value, f"{before}{name}.")


def _kind(value: Any) -> str:
    """The kind of a field, for people."""
    for kind, words in ((bool, "true or false"), (int, "a whole number"), (float, "a number"), (str, "a text")):
        if isinstance(value, kind):
            return words
    return "a tuple" if isinstance(value, (tuple, list)) else f"{value!r:.40}"


def _read(one: Override, before: Any, name: str) -> Any:
    """The value that was typed, of the kind of the one before."""
    if isinstance(before, bool):
        return _read_bool(one)
    if one.negated:
        raise ValueError(f"only what is true or false can be negated, and this is {_kind(before)}")
    if isinstance(before, ConfigDict):
        return _read_section(one, before)
    if one.text is None:
        raise ValueError(f"has no value: {_kind(before)} is expected, as in {one}={_example(before)}")
    text = one.text
    if isinstance(before, int):
        return _read_int(text)
    if isinstance(before, float):
        return _read_float(text)
    if isinstance(before, (tuple, list)):
        return _read_tuple(text, tuple(before), name)
    if isinstance(before, str):
        if text == "None":
            raise ValueError(f"must be a text, and None is none: write --config.{one.field}= for the empty one")
        return text
    return _literal(text, text)


def _example(before: Any) -> str:
    return ",".join(map(str, before)) or "1,2" if isinstance(before, (tuple, list)) else str(before) or "TEXT"


def _read_bool(one: Override) -> bool:
    if one.negated and one.text is not None:
        raise ValueError(f"takes no value; write --config.{one.field}={one.text}")
    text = "true" if one.text is None else one.text.strip().lower()
    if text not in _TRUE + _FALSE:
        raise ValueError("must be true or false")
    return (text in _TRUE) != one.negated


def _read_int(text: str) -> int:
    try:
        return int(text, 0) if re.match(r"0[xXoO]", text.strip()) else int(text)
    except ValueError:
        value = _number(text)
        hint = ""
        if value is not None and value == math.floor(value) and abs(value) < 2**63:
            hint = f": write {int(value)}"
        raise ValueError(f"must be a whole number{hint}") from None


def _read_float(text: str) -> float:
    value = _number(text)
    if value is None:
        raise ValueError("must be a finite number, such as 0.5 or 2e-4")
    return value


def _number(text: str) -> float | None:
    """A finite number, or None."""
    try:
        value = float(text)
    except ValueError:
        return None
    return value if math.isfinite(value) else None


def _read_section(one: Override, before: ConfigDict) -> ConfigDict:
    value = _literal(one.text or "", None)
    if not isinstance(value, dict) or not all(isinstance(key, str) for key in value):
        first = next(iter(before), None)
        what = f"set one of its fields, such as --config.{one.field}.{first}" if first else "write {'name': value, ...}"
        raise ValueError(f"config.{one.field} is a section of fields: {what}")
    return ConfigDict(value)


def _read_tuple(text: str, before: tuple, name: str) -> tuple:
    """Numbers with commas between, with or without brackets; or texts; or a single one of them."""
    fits, words = _element(before, name)
    value = _literal(text, text.strip())
    if fits is _is_text and (not isinstance(value, (tuple, list)) or not all(map(fits, value))):
        value = (text,) if text.strip() not in ("", "None") else value
    found = tuple(value) if isinstance(value, (tuple, list)) else () if value == "" else (value,)
    found = tuple(tuple(inner) if isinstance(inner, list) else inner for inner in found)
    if not all(map(fits, found)):
        raise ValueError(f"must be {words} with commas between, such as {_example(before)}; () is none")
    return found


def _element(before: tuple, name: str) -> tuple[Callable[[Any], bool], str]:
    """Whether a value can be an element of a tuple, and what its elements are called."""
    if before and all(map(_is_text, before)) or not before and name in _TEXTS:
        return _is_text, "texts"
    if before and all(isinstance(one, bool) for one in before):
        return (lambda value: isinstance(value, bool)), "True or False"
    if all(isinstance(one, (int, float)) for one in before):
        return _is_number, "numbers"
    return (lambda value: value is not None), "values"


def _is_text(value: Any) -> bool:
    return isinstance(value, str)


def _is_number(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value)


def _literal(text: str, otherwise: Any) -> Any:
    """What a text says in Python's own writing of values, or `otherwise`."""
    try:
        return ast.literal_eval(text.strip())
    except (ValueError, SyntaxError, TypeError, MemoryError, RecursionError):
        return otherwise
