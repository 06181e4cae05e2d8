"""Words of texts in many scripts."""

import time

import pytest

from genjax.data import words


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("A red, SMALL cat's tail!", "a red small cat s tail"),
        ("snake_case 3.5x", "snake_case 3 5x"),
        ("Ünïcode CAFÉ", "ünïcode café"),
        ("cafe\u0301", "café"),  # the accent apart
        ("Большой КРАСНЫЙ круг", "большой красный круг"),
        ("빨간 고양이", "빨간 고양이"),  # Korean has spaces
        ("हिन्दी में", "हिन्दी में"),  # vowels are marks of the letters
        ("قطة حمراء", "قطة حمراء"),
        ("می\u200cخواهم", "می\u200cخواهم"),
        ("红色的猫。", "红 色 的 猫"),
        ("赤い猫ー", "赤 い 猫 ー"),
        ("ลูกแมว", "ล ู ก แ ม ว"),
        ("红cat猫2", "红 cat 猫 2"),
        ("a 🐈 cat❤️👍🏽", "a 🐈 cat ❤ 👍"),
        (" \u3000。！?\u200b", ""),
        ("", ""),
    ],
)
def test_words(text, expected):
    assert words.words_of(text) == expected.split()


@pytest.mark.parametrize(
    "text", ["a red, small cat's tail", "红色的猫。", "红色的 cat, red 猫", "ลูกแมว", "हिन्दी में", ""]
)
def test_pieces_end_where_they_say_and_come_together_again(text):
    pieces = words.pieces_of(text)
    assert all(text[:end].endswith(piece) for piece, end in pieces)
    assert "".join(piece for piece, _ in pieces) == text.replace(" ", "")
    assert words.joined(piece for piece, _ in pieces).replace(" ", "") == text.replace(" ", "")
    if text.isascii() or text == "हिन्दी में" or " " not in text:
        assert words.joined(piece for piece, _ in pieces) == text


def test_messages_stay_short():
    assert words.shorten("a" * 80) == "a" * 80 and words.shorten("a" * 81) == "a" * 77 + "..."
    assert words.listed(["a", "b"]) == "a, b"
    assert words.listed("x" * 10**5 for _ in range(3000)) == ", ".join(["x" * 37 + "..."] * 10) + " and 2990 more"


def test_long_texts_take_no_time():
    start = time.process_time()
    for text in ("猫" * 10**5, "é" * 10**5, "ก้" * 10**5, "é x" * 10**5):
        words.words_of(text), words.pieces_of(text)
    assert time.process_time() - start < 3


def test_bytes_that_are_no_utf_8_are_refused():
    words.check("日本 🐈 \0")
    with pytest.raises(ValueError, match=r"the text 'a \\udcff b' has bytes that are no UTF-8, after 2 characters"):
        words.check("a \udcff b")
