"""What the files of a folder mean: splits, classes, captions, and what was left aside, in words."""

import os
import unicodedata
from collections import defaultdict
from collections.abc import Iterable
from typing import NamedTuple

from genjax.data import metadata, notes
from genjax.data.splits import Entry, split_of, splits_of
from genjax.data.texts import listed, read_text, shown
from genjax.data.walk import File, Listing

SUFFIXES = frozenset(
    ".png .jpg .jpeg .jpe .jfif .webp .bmp .dib .gif .tif .tiff .ppm .pgm .pbm .pnm .tga .ico .jp2 .avif "
    ".heic .heif".split()
)
"""Files with these endings are taken for images; Pillow may still be unable to read some of them."""

CAPTIONS = (".txt", ".caption")
"""Endings of the captions beside an image; the first that is there is read."""

_FEW = 5


class Layout(NamedTuple):
    """What a folder holds.

    Attributes:
        splits: name -> entries; under the name "" where the folder names no splits.
        skipped: name -> why an image can't be used.
        notes: what a person should know of it, a line each.
        unlabelled: how many of those skipped have no label where others have.
    """

    splits: dict[str, list[Entry]]
    skipped: dict[str, str]
    notes: list[str]
    unlabelled: int = 0


def understand(root: str, listing: Listing) -> Layout:
    """What the files of a folder mean.

    Raises:
        ValueError: for images both beside and in subfolders, a class that can't be listed, or texts and tables that
            can't be understood.
    """
    return _Reader(root, listing).read()


def suffix_of(name: str) -> str:
    """The ending of a file's name, in lower case."""
    return os.path.splitext(name)[1].lower()


class _Reader:
    """Reads one folder; notes which files it has read, so that it can name the others."""

    def __init__(self, root: str, listing: Listing):
        self._root, self._listing = root, listing
        self._files = {file.name: file for file in listing.files}
        self._by_case = unique_by_case(self._files)
        self._images = [file for file in listing.files if suffix_of(file.name) in SUFFIXES]
        self._captions: dict[str, dict[str, str]] = defaultdict(dict)
        for name in self._files:
            if suffix_of(name) in CAPTIONS:
                self._captions[os.path.splitext(name)[0]].setdefault(suffix_of(name), name)
        self._tables: dict[str, metadata.Table | None] = {}
        self._read: set[str] = set()
        self._unread: dict[str, str] = {}
        self._refused: list[str] = []
        self._skipped = {name: why for name, why in listing.lost if suffix_of(name) in SUFFIXES}
        self._unlabelled: set[str] = set()
        self._notes: list[str] = []

    def read(self) -> Layout:
        splits = self._splits()
        if self._refused:
            raise ValueError(
                f"{len(self._refused)} of {sum(map(len, self._captions.values()))} caption files can't be read: "
                f"{self._refused[0]}"
            )
        entries = [entry for entries in splits.values() for entry in entries]
        self._note_folders(entries)
        self._notes += notes.of_links(entries, self._files) + notes.of_classes(entries)
        self._note_unread()
        return Layout(splits, self._skipped, self._notes, len(self._unlabelled))

    def _splits(self) -> dict[str, list[Entry]]:
        tops = list(dict.fromkeys(file.name.split("/")[0] for file in self._images if "/" in file.name))
        flat = any("/" not in file.name for file in self._images)
        named = splits_of(tops)
        if self._table(""):
            entries = self._entries("")
            return _by_top(entries) or {"": entries}
        if not tops or flat or "" in named.values():
            like = [name for name in tops if named[name]]
            if like and not flat:
                others = [name for name in tops if not named[name]]
                self._notes.append(
                    f"the folders {listed(like, _FEW)} look like splits, but are classes, since {listed(others, _FEW)} "
                    f"{'lies' if len(others) == 1 else 'lie'} beside them"
                )
            return {"": self._entries("")}
        if len(tops) == 1:
            return {"": self._entries(f"{tops[0]}/", keep_prefix=False)}
        splits: dict[str, list[Entry]] = {}
        for top in tops:
            splits.setdefault(named[top], []).extend(self._entries(f"{top}/"))
        return splits

    def _entries(self, prefix: str, keep_prefix: bool = True) -> list[Entry]:
        """The images below `prefix` in one of the layouts; their names begin with it where it is kept."""
        images = [file for file in self._images if file.name.startswith(prefix)]
        found = self._table(prefix)
        if found is None:
            entries = self._by_folder(prefix, images)
        elif found[1].rows:
            entries = self._listed(prefix, images, *found)
        else:
            entries = [self._entry(file, None, self._caption(file.name)) for file in images]
        cut = 0 if keep_prefix else len(prefix)
        return [entry._replace(name=entry.name[cut:]) for entry in entries]

    def _entry(self, file: File, label: str | None, texts: tuple[str, ...]) -> Entry:
        return Entry(os.path.join(self._root, file.name), file.name, label, texts, file.size)

    def _table(self, prefix: str) -> tuple[str, metadata.Table] | None:
        """The metadata file in the folder `prefix` and what it says, if there is one that can be read."""
        here = [name for name in self._files if name.startswith(prefix) and "/" not in name[len(prefix) :]]
        tables = [name for name in here if name[len(prefix) :].lower() in metadata.NAMES]
        if len(tables) > 1:
            raise ValueError(f"folder {shown(self._root)} has several tables, {listed(tables)}: keep one")
        stylegan = prefix + metadata.STYLEGAN
        for name in (*tables, *([stylegan] if stylegan in self._files else [])):
            table = self._read_table(name)
            if table is not None:
                return name, table
        return None

    def _read_table(self, name: str) -> metadata.Table | None:
        """What a table says; None where it is none, or, with a note, where nothing here can read it."""
        if name not in self._tables:
            read = metadata.read_stylegan if name.endswith(metadata.STYLEGAN) else metadata.read_table
            try:
                table = read(os.path.join(self._root, name))
            except metadata.Unreadable as error:
                self._unread[name], table = str(error), None
            if table is not None:
                self._read.add(name)
                if table.ignored:
                    self._notes.append(f"not read: the columns {listed(list(table.ignored))} of {shown(name)}")
            self._tables[name] = table
        return self._tables[name]

    def _listed(self, prefix: str, images: list[File], path: str, table: metadata.Table) -> list[Entry]:
        """The images that a table names; the others are skipped, and counted."""
        merged: dict[str, Entry] = {}
        labelled = any(row.label is not None for row in table.rows)
        if table.labelled and not labelled:
            self._notes.append(f"all labels in {shown(path)} are missing, so there are no classes")
        self._notes += notes.of_minus_one(path, {row.label for row in table.rows})
        for row in table.rows:
            name = self._find(prefix, row.file_name)
            file = self._files.get(name) or self._elsewhere(name)
            entry = self._entry(file, row.label, row.texts if table.captioned else self._caption(name))
            before = merged.get(name, entry)
            if before.label is None or entry.label is None:
                before = before._replace(label=before.label or entry.label)
            elif before.label != entry.label:
                raise ValueError(
                    f"{shown(path)}: {shown(name)} is {before.label!r}, and {entry.label!r} in another row"
                )
            merged[name] = before._replace(texts=tuple(dict.fromkeys(before.texts + entry.texts)))
        entries, names = list(merged.values()), set(merged)
        if all(entry.size < 0 for entry in entries):
            raise ValueError(f"{shown(path)}: {self._none_is_there(prefix, table.rows[0].file_name)}")
        if table.captioned and not table.labelled and not any(entry.texts for entry in entries):
            self._notes.append(f"all captions in {shown(path)} are empty, so there are none")
        self._read |= names
        self._skipped |= {file.name: f"not named in {shown(path)}" for file in images if file.name not in names}
        tops = {name[len(prefix) :].split("/")[0] for name in names & self._files.keys() if "/" in name[len(prefix) :]}
        folders = sorted(tops - {"", ".."})
        if folders and not labelled and not all(map(split_of, folders)):
            self._notes.append(f"the folders {listed(folders, _FEW)} are no classes: {shown(path)} has no labels")
        without = [entry.name for entry in entries if labelled and entry.label is None]
        self._unlabelled |= set(without)
        self._skipped |= {name: f"no label in {shown(path)}, and others have" for name in without}
        return [entry for entry in entries if entry.name not in self._unlabelled]

    def _elsewhere(self, name: str) -> File:
        """A file that a table names and that doesn't lie below the folder; without a size where there is none."""
        try:
            return File(name, os.stat(os.path.join(self._root, name)).st_size, 0)
        except (OSError, ValueError):
            return File(name, -1, 0)

    def _find(self, prefix: str, file_name: str) -> str:
        r"""A row's image below the folder, the same however it is written: `\` is understood as `/`, spaces around a
        name are dropped, and the whole path is as good as a relative one, where that is the file that is there.
        """
        root = os.path.abspath(self._root) + "/"
        for one in (file_name, file_name.replace("\\", "/"), file_name.strip(), file_name.replace("\\", "/").strip()):
            written = os.path.join(root, prefix, one)
            name = os.path.normpath(written).removeprefix(root)
            if ".." in one and os.path.realpath(written) != os.path.realpath(root + name):
                continue  # The folder before the `..` is a link.
            for form in (name, unicodedata.normalize("NFD", name), unicodedata.normalize("NFC", name)):
                if form in self._files or form.lower() in self._by_case:
                    return form if form in self._files else self._by_case[form.lower()]
        return file_name if os.path.isabs(file_name) else prefix + file_name

    def _none_is_there(self, prefix: str, file_name: str) -> str:
        """That no image of a table is there, with what its first row may mean."""
        last = file_name.replace("\\", "/").rpartition("/")[2].strip().lower()
        names = {file.name.removeprefix(prefix): file.name.rpartition("/")[2].lower() for file in self._images}
        near = [name for name, lower in names.items() if last in (lower, os.path.splitext(lower)[0])]
        hint = f" (is it {shown(near[0])}?)" if near else ""
        return f"no image that it names is there, such as {shown(file_name)}{hint}: write names relative to the table"

    def _by_folder(self, prefix: str, images: list[File]) -> list[Entry]:
        """Classes by subfolder, or no classes; captions from tables in the subfolders and from files beside images."""
        relative = [file.name[len(prefix) :] for file in images]
        tops = sorted({name.split("/")[0] for name in relative if "/" in name})
        beside = [name for name in relative if "/" not in name]
        if tops and beside:
            raise ValueError(
                f"folder {shown(os.path.join(self._root, prefix))} has {len(beside)} images, such as "
                f"{shown(beside[0])}, beside the subfolders {tops[:_FEW]}: move them into a subfolder for their "
                "class, or write a metadata.csv with file_name and label"
            )
        captions = self._inner_tables(prefix)
        self._notes += notes.of_accents(tops)
        labels = [notes.class_name(name.split("/")[0]) if tops else None for name in relative]
        return [
            self._entry(file, label, captions.get(file.name) or self._caption(file.name))
            for file, label in zip(images, labels)
        ]

    def _inner_tables(self, prefix: str) -> dict[str, tuple[str, ...]]:
        """Captions by image, from the tables in class folders."""
        captions: dict[str, tuple[str, ...]] = {}
        names = [name for name in self._files if name.startswith(prefix) and "/" in name[len(prefix) :]]
        for name in names:
            folder, _, last = name.rpartition("/")
            if last.lower() not in metadata.NAMES:
                continue
            table = self._read_table(name)
            if table is None:
                continue
            if table.labelled:
                self._notes.append(f"not read: the labels of {shown(name)}; images belong to the class of their folder")
            for row in table.rows:
                found = self._find(f"{folder}/", row.file_name)
                captions[found] = captions.get(found, ()) + row.texts
                if found not in self._files:
                    self._skipped[found] = f"no such file, and {shown(name)} names it"
        return captions

    def _caption(self, name: str) -> tuple[str, ...]:
        """The lines of the caption file with the image's name, if there is one."""
        beside = self._captions.get(os.path.splitext(name)[0])
        if not beside:
            return ()
        path = next(beside[suffix] for suffix in CAPTIONS if suffix in beside)
        self._read.add(path)
        try:
            lines = read_text(os.path.join(self._root, path)).splitlines()
        except (ValueError, OSError) as error:
            self._refused.append(str(error))
            return ()
        return tuple(line.strip() for line in lines if line.strip())

    def _note_folders(self, entries: list[Entry]) -> None:
        """Refuse classes that can't be listed; note folders that are no classes, are hidden by links, or look odd."""
        folders = {os.path.dirname(file.name) for file in self._images}
        used = {"/".join(parts[:depth]) for parts in map(_parts, folders) for depth in range(1, len(parts) + 1)}
        for name, reason in self._listing.closed:
            if os.path.dirname(name) not in used or split_of(name.split("/")[0]):
                raise ValueError(
                    f"folder {shown(os.path.join(self._root, name))} can't be read ({reason}), so its images, or a "
                    "class, would be missing: allow reading it, or move it elsewhere"
                )
            self._skipped[name] = f"folder can't be read: {reason}"
        unused = {name: None for name in self._listing.folders if name not in used}
        empty = [name for name in unused if os.path.dirname(name) not in unused]
        if empty:
            what = "folder holds" if len(empty) == 1 else "folders hold"
            self._notes.append(f"{len(empty)} {what} no images, and no class is made of that: {listed(empty, _FEW)}")
        for name, other in self._listing.twins:
            self._notes.append(f"{shown(name)} is the folder {shown(other)} by a link: its images count there alone")
        if any(entry.label is not None for entry in entries):
            self._note_inner(folders)

    def _note_inner(self, folders: set[str]) -> None:
        """Note subfolders of classes that look as if they were meant for splits, or for classes."""
        split = any(split_of(name.split("/")[0]) for name in folders)
        parts = [_parts(name)[1:] for name in folders] if not split else []
        inner = sorted({part for names in parts for part in names if split_of(part)})
        if inner:
            self._notes.append(
                f"folders called {listed(inner, _FEW)} lie inside of classes, and are not taken for splits"
            )
        tops, second = {name.split("/")[0] for name in folders}, sorted({part[0] for part in parts if part})
        if len(tops) == 1 and len(second) > 1 and not inner:
            top = shown(tops.pop())
            self._notes.append(
                f"the only class is {top}; if its subfolders {listed(second, _FEW)} are the classes, name "
                f"folder:{shown(self._root)}/{top}"
            )

    def _note_unread(self) -> None:
        """Name the files that are neither images nor were read."""
        known = {file.name for file in self._images} | self._read | self._unread.keys()
        rest = [name for name in self._files if name not in known]
        by_suffix: dict[str, list[str]] = defaultdict(list)
        for name in rest:
            by_suffix[suffix_of(name)].append(name)
        said = [f"{shown(name)} ({why})" for name, why in self._unread.items()]
        for suffix, names in sorted(by_suffix.items()):
            few = len(names) <= _FEW
            said.append(listed(names) if few else f"{len(names)} files {suffix or 'without an ending'}")
        if said:
            self._notes.append(f"not read: {', '.join(said)}")


def unique_by_case(names: Iterable[str]) -> dict[str, str]:
    """Name in lower case -> name, of those that no other one is like."""
    found = defaultdict(list)
    for name in names:
        found[name.lower()].append(name)
    return {lower: same[0] for lower, same in found.items() if len(same) == 1}


def _by_top(entries: list[Entry]) -> dict[str, list[Entry]]:
    """Entries by the split that their first folder names, if all do and there are several."""
    named = splits_of(entry.name.split("/")[0] if "/" in entry.name else "" for entry in entries)
    splits: dict[str, list[Entry]] = {}
    for entry in entries:
        splits.setdefault(named[entry.name.split("/")[0] if "/" in entry.name else ""], []).append(entry)
    return splits if len(splits) > 1 and "" not in splits else {}


def _parts(name: str) -> list[str]:
    return name.split("/") if name else []
