"""What a person should know of a folder whose files are links, or whose names are written in two ways."""

import re
import unicodedata
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence

from genjax.data.splits import Entry
from genjax.data.texts import listed, shown
from genjax.data.walk import File

_FEW = 5


def class_name(folder: str) -> str:
    """A class folder's name as a class: the same on every file system, and printable."""
    return shown(unicodedata.normalize("NFC", folder))


def of_accents(tops: Sequence[str]) -> list[str]:
    """A note of class folders whose names are the same but for how their accents are written."""
    classes = defaultdict(list)
    for top in tops:
        classes[class_name(top)].append(top)
    twice = [name for name, folders in classes.items() if len(folders) > 1]
    return [f"folders that write their accents in two ways are one class: {listed(twice, _FEW)}"] if twice else []


def of_minus_one(table: str, labels: set[str | None]) -> list[str]:
    """A note of a class called -1 beside those that are counted from 0 on: many people mean that there is none."""
    negative = {label for label in labels if label and label.startswith("-")}
    if negative != {"-1"} or not all(label.isdigit() for label in labels - negative - {None}):
        return []
    return [f"-1 is a class of {shown(table)} like any other: where it means that there is none, leave the label empty"]


def of_classes(entries: Sequence[Entry]) -> list[str]:
    """A note of classes whose names are the same but for capitals, spaces, hyphens and underscores."""
    alike = defaultdict(list)
    for label in sorted({entry.label for entry in entries if entry.label is not None}):
        alike[re.sub(r"(?<=\w)[\s_-]+(?=\w)", " ", label).casefold()].append(label)
    return [
        f"{len(names)} classes differ in how they are written alone: {listed(names, _FEW)}"
        for names in alike.values()
        if len(names) > 1
    ]


def of_links(entries: Sequence[Entry], files: Mapping[str, File]) -> list[str]:
    """A note of images that are the same file in two places."""
    places = defaultdict(list)
    for entry in entries:
        if entry.name in files:
            places[files[entry.name].inode].append(entry)
    again = [same for inode, same in places.items() if inode != (0, 0) and len(same) > 1]
    across = [same for same in again if len({entry.label for entry in same}) > 1]
    if across:
        pairs = Counter(" and ".join(sorted({str(entry.label) for entry in same})) for same in across)
        said = ", ".join(f"{count} in {pair}" for pair, count in pairs.most_common(_FEW))
        return [f"{len(across)} images are in several classes, being links to one file: {said}"]
    if again:
        names = [same[-1].name for same in again]
        return [f"{len(again)} images are there several times, being links to one file: {listed(names, _FEW)}"]
    return []
