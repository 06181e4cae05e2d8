"""Splits of a folder: the names by which people call them, and a held-out share where there are none."""

import hashlib
import re
import unicodedata
from collections.abc import Iterable, Sequence
from typing import NamedTuple

HELD_OUT = 0.1
"""Share of images held out as `test` where no subfolders say so."""

_NAMES = {
    "train": ("train", "training", "trn"),
    "validation": ("validation", "valid", "val", "dev", "development"),
    "test": ("test", "testing", "tst"),
}
_EITHER = ("eval", "evaluation", "heldout", "holdout")
"""Names of the test split, or of the validation split where another folder is the test split."""


class Entry(NamedTuple):
    """One image before it is opened: its path, name below the folder, class, captions, and size in bytes."""

    path: str
    name: str
    label: str | None = None
    texts: tuple[str, ...] = ()
    size: int = -1


def split_of(folder: str) -> str:
    """The split that a folder's name stands for, with or without a year or `set`; "" for any other name."""
    word = re.sub(r"[\s_.-]", "", folder.lower())
    word = re.sub(r"^(.+?)(set|data|split|images?)?(19\d\d|20\d\d|\d{1,2})?$", r"\1", word)
    if word in _EITHER:
        return "test"
    return next((split for split, names in _NAMES.items() if word in names), "")


def splits_of(folders: Iterable[str]) -> dict[str, str]:
    """Folder -> split, "" where it is none. `eval` is validation where another folder is the test split."""
    found = {folder: split_of(folder) for folder in folders}
    either = [folder for folder in found if re.sub(r"[^a-z]", "", folder.lower()).startswith(_EITHER)]
    if any(split == "test" and folder not in either for folder, split in found.items()):
        found |= {folder: "validation" for folder in either if found[folder]}
    return found


def hold_out(entries: Sequence[Entry]) -> dict[str, list[Entry]]:
    """The splits of a folder that names none: `test` where the name's hash in [0, 1) is below HELD_OUT.

    Of a class that would be held out whole the image with the highest hash goes to `train`. Should a side be empty, the
    image with the lowest or highest hash goes there, where it can be of a class with several images; a single image is
    `train`.
    """
    hashes = {entry.name: name_hash(entry.name) for entry in entries}
    ordered = sorted(entries, key=lambda entry: hashes[entry.name])
    test = {entry.name for entry in ordered if hashes[entry.name] < HELD_OUT}
    last = {entry.label: entry.name for entry in ordered}  # of each class the one with the highest hash
    test -= {name for label, name in last.items() if label is not None}
    if not test:
        several = [entry.name for entry in ordered if entry.label is None or entry.name != last[entry.label]]
        test = set((several or [entry.name for entry in ordered])[:1])
    if len(test) == len(hashes):
        test.discard(ordered[-1].name)
    return {
        "train": [entry for entry in entries if entry.name not in test],
        "test": [entry for entry in entries if entry.name in test],
    }


def name_hash(name: str) -> float:
    """A number in [0, 1) that depends on the name alone, however the file system writes its accents."""
    normal = unicodedata.normalize("NFC", name).encode("utf-8", errors="surrogateescape")
    return int.from_bytes(hashlib.sha256(normal).digest()[:6], "big") / 2**48
