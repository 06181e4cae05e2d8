"""The words of a text, in scripts that put spaces between them and in scripts that don't.

    "A red, small cat"    a, red, small, cat
    "赤い猫 cat 🐈"         赤, い, 猫, cat, 🐈

Where no spaces are written (Chinese, Japanese, Thai, Khmer, ...), every character stands for itself: what is a word is
for a dictionary to say, and new sentences are made of known characters. So does an emoji.
"""

import functools
import re
import unicodedata
from collections.abc import Iterable

_UNSPACED = (
    "\u0e00-\u0eff\u0f00-\u0fff\u1000-\u109f\u1780-\u17ff\u1950-\u19df\u1a20-\u1aaf\ua980-\ua9ff\uaa60-\uaadf"  # Thai..
    "\u3005-\u3007\u3040-\u30ff\u3100-\u312f\u31a0-\u31bf\u31f0-\u31ff\uff66-\uff9f"  # kana, bopomofo
    "\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff\U00020000-\U0003ffff"  # Chinese characters
)
_EMOJI = "\u2600-\u27bf\U0001f000-\U0001f3fa\U0001f400-\U0001faff"
_JOINERS = "\u200c\u200d"


@functools.cache
def _patterns() -> tuple[re.Pattern, re.Pattern]:
    """(words of a clean text, pieces that a text can be cut into)."""
    marks = "".join(
        chr(code)
        for code in range(0x300, 0x20000)
        if unicodedata.category(chr(code))[0] == "M" and not 0xFE00 <= code <= 0xFE0F  # These only dress what is there.
    )
    alone = f"[{_UNSPACED}{_EMOJI}]"
    words = rf"(?=[\w{marks}{_EMOJI}]){alone}|(?!{alone})\w(?:(?!{alone})[\w{marks}{_JOINERS}])*"
    return re.compile(words), re.compile(rf"{alone}[{marks}]*|(?:(?!{alone})\S)+")


def words_of(text: str) -> list[str]:
    """The words of a text in lower case, without punctuation, its accents composed (Unicode's form C)."""
    if text.isascii():
        return re.findall(r"\w+", text.lower())
    return _patterns()[0].findall(unicodedata.normalize("NFC", text).lower())


def pieces_of(text: str) -> list[tuple[str, int]]:
    """What a text can be cut into, with the place where each ends: words with their punctuation, or characters."""
    return [(found[0], found.end()) for found in _patterns()[1].finditer(text)]


def joined(pieces: Iterable[str]) -> str:
    """Pieces as a text, with spaces where their scripts have them."""
    text, alone = "", re.compile(f"[{_UNSPACED}]")
    for piece in pieces:
        spaced = text and not alone.match(piece) and not alone.match(text[-1])
        text += f" {piece}" if spaced else piece
    return text


def shorten(text: str, most: int = 80) -> str:
    """A text for a message: its beginning, where it is long."""
    return text if len(text) <= most else f"{text[: most - 3]}..."


def listed(words: Iterable[str], most: int = 10) -> str:
    """Words in a line: the first of them, and how many more."""
    words = list(words)
    more = f" and {len(words) - most} more" if len(words) > most else ""
    return ", ".join(shorten(word, 40) for word in words[:most]) + more


def check(text: str) -> None:
    """Refuse a text of which a part can't be read.

    Raises:
        ValueError: for bytes that were no UTF-8 (Python keeps them as lone surrogates).
    """
    try:
        text.encode()
    except UnicodeEncodeError as error:
        raise ValueError(
            f"the text {shorten(text)!r} has bytes that are no UTF-8, after {error.start} characters: write it in UTF-8"
        ) from None
