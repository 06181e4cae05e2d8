"""Tables that say what images are: metadata.csv, .tsv, .jsonl, .parquet, and StyleGAN's dataset.json.

    file_name      relative to the table
    text           a caption; in .jsonl and .parquet also a list of captions
    label          the class

A table has file_name, and text or label or both. Rows of one image are one image with several captions. A row that
can't be understood is an error with its line: nothing is cut, padded or guessed. Fields of a .csv are separated by
commas, semicolons, tabs or bars, whichever its header uses.

A label or a text that is empty, NaN, null or another word of `_MISSING` is missing, as pandas and JSON writers leave
it: no class and no caption is made of it. In a dataset.json -1 is missing too.
"""

import csv
import io
import json
import math
import os
import re
import sys
from pathlib import PurePosixPath
from typing import Any, NamedTuple

from genjax.data.texts import CONTROL, read_text, shown

NAMES = frozenset({"metadata.csv", "metadata.tsv", "metadata.jsonl", "metadata.parquet"})
"""Tables, in lower case."""
STYLEGAN = "dataset.json"
FIELDS = ("file_name", "text", "label")

_HALF = re.compile("[\ud800-\udfff]")
"""Halves of surrogate pairs, which no encoding can write."""
_MISSING = frozenset(
    ["", "nan", "NaN", "NAN", "-nan", "-NaN", "<NA>", "NA", "N/A", "n/a", "#NA", "#N/A", "#N/A N/A", "NaT"]
    + ["None", "NULL", "Null", "null", "1.#IND", "-1.#IND", "1.#QNAN", "-1.#QNAN"]
)
"""What pandas reads as missing, as it is written there: a class called `none` is one."""
_WHOLE = re.compile(r"[+-]?[0-9]{1,18}")
_NUMBER = re.compile(r"[+-]?([0-9]+\.?[0-9]*|\.[0-9]+)([eE][+-]?[0-9]+)?")
_INFINITE = re.compile(r"[+-]?inf(inity)?", re.IGNORECASE)
_ROW_START = re.compile(r"^[^,;\t|\"]+\.(png|jpe?g|webp|bmp|gif|tiff?|avif|heic)[,;\t|]", re.IGNORECASE | re.MULTILINE)


class Unreadable(ValueError):
    """A table in a format that nothing here can read."""


class Row(NamedTuple):
    """What a table says of one image."""

    file_name: str
    label: str | None = None
    texts: tuple[str, ...] = ()


class Table(NamedTuple):
    """What a table says: a row for each image, whether there are labels and texts at all, and what was not read."""

    rows: list[Row]
    labelled: bool
    captioned: bool
    ignored: tuple[str, ...] = ()


class _Raw(NamedTuple):
    """Columns, and (line, values) of each row."""

    columns: list[str]
    rows: list[tuple[int, dict[str, Any]]]


def read_table(path: str) -> Table:
    """What a metadata file says.

    Raises:
        Unreadable: for a .parquet where pyarrow is not installed.
        ValueError: for a file, a row, or columns that can't be understood; names the file and the line.
    """
    suffix = os.path.splitext(path)[1].lower()
    readers = {".jsonl": _read_jsonl, ".parquet": _read_parquet}
    raw = readers.get(suffix, _read_csv)(path)
    columns = set(raw.columns)
    if "file_name" not in columns or not {"text", "label"} & columns:
        said = f"has the columns {sorted(columns)}" if columns else "is empty"
        raise ValueError(f"{shown(path)} {said}: it needs file_name, and text or label or both")
    if not raw.rows:
        raise ValueError(f"{shown(path)} has a header, and no rows")
    labels = _labels(path, raw) if "label" in columns else {}
    merged: dict[str, Row] = {}
    for line, values in raw.rows:
        name = _file_name(path, line, values.get("file_name"))
        row = Row(name, labels.get(line), _texts(path, line, values.get("text")))
        before = merged.get(name)
        if before and row.label is None:
            row = row._replace(label=before.label)
        if before and before.label not in (None, row.label):
            raise ValueError(
                f"{shown(path)}: line {line}: {name} is {row.label!r}, and was {before.label!r} in a line above"
            )
        merged[name] = row._replace(texts=tuple(dict.fromkeys(before.texts + row.texts))) if before else row
    ignored = tuple(sorted(columns - {*FIELDS, ""}))
    return Table(list(merged.values()), "label" in columns, "text" in columns, ignored)


def read_stylegan(path: str) -> Table | None:
    """The labels of StyleGAN's dataset_tool, `{"labels": [["00000/img00000000.png", 6], ...] or null}`.

    A label of -1, null or NaN is missing. Lists, the vectors that StyleGAN can be conditioned on, are no classes.

    Returns:
        None for JSON of another kind. Without labels a table with no rows.

    Raises:
        ValueError: for labels that are no whole numbers from 0 on.
    """
    text = read_text(path)
    try:
        contents = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise ValueError(f"{shown(path)} is not JSON: {error}") from error
    if not isinstance(contents, dict) or "labels" not in contents:
        return None
    labels, rows = contents["labels"] or [], []
    if not isinstance(labels, list):
        raise ValueError(f"{shown(path)}: labels is {labels!r:.60}, not a list")
    for number, pair in enumerate(labels, start=1):
        if not isinstance(pair, list) or len(pair) != 2 or not isinstance(pair[0], str):
            raise ValueError(f"{shown(path)}: entry {number} of labels is {pair!r:.60}, not [file name, class]")
        rows.append(Row(_normal(pair[0]), _stylegan_label(path, *pair)))
    return Table(rows, bool(rows), False)


def _stylegan_label(path: str, name: str, label: Any) -> str | None:
    """A class, None where it is missing."""
    if _is_missing(label) or (label == -1 and not isinstance(label, bool)):
        return None
    whole = isinstance(label, int) or (isinstance(label, float) and label.is_integer())
    if not whole or isinstance(label, bool) or label < 0:
        raise ValueError(
            f"{shown(path)}: the label of {shown(name)} is {label!r:.60}: only whole numbers from 0 on are understood, "
            "and -1 or null where there is none"
        )
    return str(int(label))


def _read_csv(path: str) -> _Raw:
    """A table of fields with separators. A field may be of any length."""
    text = read_text(path)
    if text.startswith("sep=") and len(text.split("\n", 1)[0].strip()) == 5:  # Excel's own first line
        text = "\n" + text.split("\n", 1)[-1]
    limit = csv.field_size_limit(sys.maxsize)
    try:
        return _parse_csv(path, text)
    finally:
        csv.field_size_limit(limit)


def _parse_csv(path: str, text: str) -> _Raw:
    first = next((line for line in text.splitlines() if line.strip()), "")
    separator = next(
        (mark for mark in ",;\t|" if "file_name" in _columns(next(csv.reader([first], delimiter=mark), []))), ","
    )
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=separator, strict=True)
    columns: list[str] = []
    rows, start = [], 1
    try:
        for fields in reader:
            line, start = start, reader.line_num + 1
            if not any(field.strip() for field in fields):
                continue
            if not columns:
                columns = _columns(fields)
                _refuse_twice(path, columns)
                continue
            _check_fields(path, line, fields, columns, separator)
            rows.append((line, dict(zip(columns, fields))))
    except csv.Error as error:
        raise ValueError(
            f"{shown(path)}: line {start}: {error}: a quote that opens a field must be closed before the next "
            'separator, and a quote inside of one is written twice ("")'
        ) from error
    return _Raw(columns, rows)


def _columns(fields: list[str]) -> list[str]:
    return [field.strip().lower() if field.strip().lower() in FIELDS else field.strip() for field in fields]


def _refuse_twice(path: str, columns: list[str]) -> None:
    twice = sorted({name for name in columns if columns.count(name) > 1 and name})
    if twice:
        raise ValueError(f"{shown(path)} has several columns called {', '.join(twice)}: keep one of each")


def _check_fields(path: str, line: int, fields: list[str], columns: list[str], separator: str) -> None:
    """As many fields as the header has, and no row swallowed by a quote that somebody forgot to close."""
    if len(fields) != len(columns):
        raise ValueError(
            f"{shown(path)}: line {line} has {len(fields)} fields, and the header has {len(columns)}: put quotes "
            f"around a text with {separator!r} in it"
        )
    for field in fields:
        if "\n" in field and _ROW_START.search(field.split("\n", 1)[1]):
            raise ValueError(f"{shown(path)}: line {line}: a quote is not closed, so that the next rows are part of it")


def _read_jsonl(path: str) -> _Raw:
    columns: dict[str, None] = {}
    rows: list[tuple[int, dict[str, Any]]] = []
    for line, text in enumerate(re.split(r"\r\n|\n|\r", read_text(path)), start=1):
        if not text.strip():
            continue
        try:
            row = json.loads(text, object_pairs_hook=_Pairs)
        except (ValueError, RecursionError) as error:
            raise ValueError(f"{shown(path)}: line {line} is not JSON: {error}") from error
        if not isinstance(row, _Pairs):
            raise ValueError(f"{shown(path)}: line {line} is not a JSON object with file_name")
        _refuse_twice(f"{path}: line {line}", row.names)
        columns |= dict.fromkeys(row)
        rows.append((line, row))
    return _Raw(list(columns), rows)


class _Pairs(dict[str, Any]):
    """A JSON object that knows all names in it, those that are there twice too."""

    def __init__(self, pairs: list[tuple[str, Any]]):
        super().__init__(pairs)
        self.names = [name for name, _ in pairs]


def _read_parquet(path: str) -> _Raw:
    try:
        from pyarrow import ArrowException, parquet
    except ImportError:
        raise Unreadable("reading .parquet needs pyarrow") from None
    try:
        table = parquet.ParquetFile(path)
        columns = table.schema_arrow.names
        read = table.read(columns=[name for name in columns if name in FIELDS])
    except (ArrowException, OSError) as error:
        raise ValueError(f"{shown(path)} can't be read as parquet: {str(error).splitlines()[0]}") from error
    return _Raw(columns, list(enumerate(read.to_pylist(), start=1)))


def _file_name(path: str, line: int, value: Any) -> str:
    if value is None or (isinstance(value, str) and not value.strip()):
        raise ValueError(f"{shown(path)}: line {line} has no file_name")
    if not isinstance(value, str) or CONTROL.search(value) or not _is_name(value):
        raise ValueError(f"{shown(path)}: line {line}: file_name is {value!r:.60}, not the name of a file")
    return _normal(value)


def _is_name(text: str) -> bool:
    """Whether the file system can have a file of this name: half of a surrogate pair, as JSON can write, it can't."""
    try:
        os.fsencode(text)
    except UnicodeEncodeError:
        return False
    return True


def _normal(name: str) -> str:
    """A name without `.` parts, so that it is the same however it is written."""
    return str(PurePosixPath(name))


def _texts(path: str, line: int, value: Any) -> tuple[str, ...]:
    """One caption, several, or none: missing ones are skipped."""
    texts = []
    for one in value if isinstance(value, list) else [value]:
        if _is_missing(one):
            continue
        if not isinstance(one, (str, int, float)) or isinstance(one, bool):
            raise ValueError(f"{shown(path)}: line {line}: text is {one!r:.60}, not a caption or a list of captions")
        text = str(one).strip()
        if CONTROL.search(text) or _HALF.search(text):
            raise ValueError(
                f"{shown(path)}: line {line}: the text holds a control character or half of a "
                f"surrogate pair, {text!r:.60}"
            )
        texts.append(text)
    return tuple(texts)


def _is_missing(value: Any) -> bool:
    if isinstance(value, float) and math.isnan(value):
        return True
    return value is None or (isinstance(value, str) and value.strip() in _MISSING)


def _labels(path: str, raw: _Raw) -> dict[int, str]:
    """Line -> class, where it has one. Where all are numbers, whole ones are written as such: 1.0 is 1."""
    found = {line: _label(path, line, values.get("label")) for line, values in raw.rows}
    labels = {line: label for line, label in found.items() if label is not None}
    infinite = [line for line, label in labels.items() if _INFINITE.fullmatch(label)]
    numbers = sum(bool(_NUMBER.fullmatch(label)) for label in labels.values())
    if infinite and numbers and numbers + len(infinite) == len(labels):
        line = infinite[0]
        raise ValueError(f"{shown(path)}: line {line}: the label is {labels[line]}, and others are numbers")
    if numbers == len(labels):
        return {line: _whole(label) for line, label in labels.items()}
    return labels


def _label(path: str, line: int, value: Any) -> str | None:
    if _is_missing(value):
        return None
    text = str(value).strip()
    if isinstance(value, (list, dict)) or (text[0] + text[-1] in ("[]", "{}")):
        raise ValueError(f"{shown(path)}: line {line}: the label is {text:.60}: an image has one class")
    if isinstance(value, float) and math.isinf(value):
        raise ValueError(f"{shown(path)}: line {line}: the label is {value}")
    if CONTROL.search(text) or _HALF.search(text) or re.search(r"[\n\r\u2028\u2029]", text):
        raise ValueError(f"{shown(path)}: line {line}: the label is {text!r:.60}, not a name")
    return text


def _whole(label: str) -> str:
    """A number's text, without the point where it is whole."""
    if _WHOLE.fullmatch(label):
        return label
    value = float(label)
    return str(int(value)) if math.isfinite(value) and value == int(value) and abs(value) < 2**53 else label


def ordered(names: set[str]) -> tuple[str, ...]:
    """Classes in the order of their numbers: by value if all are numbers, else by name."""
    by_name = sorted(names)
    if all(_WHOLE.fullmatch(name) for name in names):
        return tuple(sorted(by_name, key=int))
    return tuple(sorted(by_name, key=float) if all(_NUMBER.fullmatch(name) for name in names) else by_name)
