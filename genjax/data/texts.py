"""Text files of people: UTF-8, or what their first bytes say; never a guess."""

import codecs
import re

from genjax.core import files

_MARKS = (
    (codecs.BOM_UTF8, "utf-8"),
    (codecs.BOM_UTF32_LE, "utf-32-le"),
    (codecs.BOM_UTF32_BE, "utf-32-be"),
    (codecs.BOM_UTF16_LE, "utf-16-le"),
    (codecs.BOM_UTF16_BE, "utf-16-be"),
)
"""Byte order marks; UTF-32's begins with UTF-16's, so it comes first."""

CONTROL = re.compile(r"[\x00-\x08\x0e-\x1a\x1c-\x1f\x1b\x7f]")
"""Characters that no text holds: a sign of UTF-16 without its mark, or of no text at all."""

_UNPRINTED = re.compile("[\x00-\x1f\x7f-\x9f\u2028\u2029\u202a-\u202e\u2066-\u2069]")
"""What would end a line, turn its direction or steer a terminal."""


def read_text(path: str) -> str:
    """The text of a file, in UTF-8 or in the encoding that its byte order mark names.

    Raises:
        ValueError: for bytes in another encoding, a pointer or a web page in place of a text; names the file.
        OSError: if it can't be read.
    """
    with open(path, "rb") as file:
        contents = file.read()
    if contents.removeprefix(codecs.BOM_UTF8).strip() and (found := files.instead(contents[: files.HEAD])):
        raise ValueError(f"{shown(path)} is {found}")
    mark, encoding = next(((mark, name) for mark, name in _MARKS if contents.startswith(mark)), (b"", "utf-8"))
    try:
        text = contents[len(mark) :].decode(encoding)
    except UnicodeDecodeError as error:
        line = contents[: error.start].count(b"\n") + 1
        raise ValueError(f"{shown(path)} is not {encoding.upper()} (line {line}): save it as UTF-8") from error
    control = CONTROL.search(text)
    if control:
        line = text.count("\n", 0, control.start()) + 1
        raise ValueError(
            f"{shown(path)} holds the control character {control[0]!r} (line {line}), so it is no text, or text in an "
            "encoding that it doesn't name: save it as UTF-8"
        )
    return text


def shown(name: str) -> str:
    r"""A file's name as it can be printed on a line: bytes that are no UTF-8 as `\xe9`, line ends as `\n`."""
    text = name.encode("utf-8", errors="surrogateescape").decode("utf-8", errors="backslashreplace")
    return _UNPRINTED.sub(lambda found: found[0].encode("unicode_escape").decode(), text)


def listed(names: list[str], most: int = 20) -> str:
    """Names in a line: the first ones, and how many more."""
    more = f" and {len(names) - most} more" if len(names) > most else ""
    return f"{', '.join(map(shown, names[:most]))}{more}"
