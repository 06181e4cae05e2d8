"""A person's own pictures: "folder:/path".

Layouts, found by looking:

    /path/cat/1.jpg, /path/dog/2.png   one subfolder for each class (pictures may lie deeper); class ids
                                       follow the sorted names, in numeric order if all are whole numbers
    /path/1.jpg, /path/2.png           unlabelled
    /path/1.jpg, /path/1.txt           a caption beside the picture, in either layout above; several lines
                                       are several captions
    /path/metadata.csv, .jsonl         one row for each picture: `file_name` (relative to the metadata),
                                       `text` and/or `label`; in .jsonl `text` may be a list of captions.
                                       Pictures that it doesn't name are left out.

Splits: if all pictures lie in subfolders called train and test (or validation, val, valid), each in one of
the layouts above, these are the splits. Otherwise one picture in ten is held out as `test` by a hash of its
path below the folder: the choice is the same on every machine, and adding pictures to more than a handful
doesn't move an old one from one side to the other. Of two pictures or more at least one is on each side. The
split `all` is everything.

Every file is decoded once when the folder is opened. Files that can't be read are left out, and one warning
counts and names them. Pictures may have any size and mode: see `genjax.data.transforms.decode`.
"""

import csv
import functools
import hashlib
import json
import logging
import os
import unicodedata
from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, NamedTuple

from PIL import Image

from genjax.data import identity, transforms
from genjax.data.records import DatasetNotFound, Record, Source
from genjax.typing import DataSpec

log = logging.getLogger(__name__)

SUFFIXES = frozenset(
    ".png .jpg .jpeg .jpe .jfif .webp .bmp .dib .gif .tif .tiff .ppm .pgm .pbm .pnm .tga .ico .jp2 .avif "
    ".heic .heif".split()
)
"""Files with these endings are taken for pictures; Pillow may still be unable to read some of them."""

HELD_OUT = 0.1
"""Share of pictures held out as `test` where no subfolders say so."""

_SPLIT_FOLDERS = {
    "train": "train",
    "test": "test",
    "validation": "validation",
    "valid": "validation",
    "val": "validation",
}
_NAMED_IN_WARNING = 20


class Entry(NamedTuple):
    """One picture before it is opened: where, its path below the folder, its class name and captions."""

    path: str
    name: str
    label: str | None = None
    texts: tuple[str, ...] = ()


def open_folder(path: str, split: str) -> Source:
    """Open a folder of pictures.

    Args:
        path: the folder; `~` is understood.
        split: "train", "test", "validation" or "all", as the module's docstring says.

    Raises:
        DatasetNotFound: no such folder, or no picture in it that can be read.
        ValueError: no such split, metadata that can't be understood, pictures both beside and in subfolders.
    """
    root = Path(path).expanduser()
    if not path or not root.is_dir():
        raise DatasetNotFound(f"folder {root} doesn't exist: config.data.name is 'folder:{path}'")
    splits = _splits(root)
    everything = [entry for entries in splits.values() for entry in entries]
    if not everything:
        raise DatasetNotFound(
            f"folder {root} holds no pictures (.png, .jpg, .webp, ...): it needs class subfolders, or "
            "pictures with metadata.csv, metadata.jsonl or .txt files beside them, or just pictures"
        )
    files = tuple((entry.path, entry.name, *_fingerprint(entry.path)) for entry in everything)
    good = _readable(str(root), files)
    splits = {name: [entry for entry in entries if entry.path in good] for name, entries in splits.items()}
    everything = [entry for entry in everything if entry.path in good]
    if not everything:
        raise DatasetNotFound(f"folder {root} holds no picture that can be read; the log names the files")
    if list(splits) == [""]:
        splits = hold_out(everything)
    sizes = {path: size for path, _, size, _ in files}
    prints = identity.fingerprint(
        {
            name: (
                len(entries),
                (f"{entry.name}|{sizes[entry.path]}|{entry.label}" for entry in entries),
                (text for entry in entries for text in (entry.name, *entry.texts)),
            )
            for name, entries in splits.items()
        }
    )
    chosen = everything if split == "all" else splits.get(split, [])
    if not chosen:
        filled = [name for name, entries in splits.items() if entries]
        raise ValueError(f"folder {root} has the splits {[*filled, 'all']}, not {split!r}")
    return _source(root, chosen, everything, prints)


def hold_out(entries: Sequence[Entry]) -> dict[str, list[Entry]]:
    """The splits of a folder that names none: `test` where the name's hash in [0, 1) is below HELD_OUT.

    Should a side be empty, the picture with the lowest or highest hash goes there; a single one is `train`.
    """
    hashes = {entry.name: _hash(entry.name) for entry in entries}
    ordered = sorted(hashes, key=hashes.get)
    test = {name for name in ordered if hashes[name] < HELD_OUT} or set(ordered[:1])
    if len(test) == len(ordered):
        test.discard(ordered[-1])
    return {
        "train": [entry for entry in entries if entry.name not in test],
        "test": [entry for entry in entries if entry.name in test],
    }


def _hash(name: str) -> float:
    """A number in [0, 1) that depends on the name alone, however the file system writes its accents."""
    digest = hashlib.sha256(unicodedata.normalize("NFC", name).encode()).digest()
    return int.from_bytes(digest[:6], "big") / 2**48


def _splits(root: Path) -> dict[str, list[Entry]]:
    """Entries by split; under the name "" where the folder names no splits."""
    if _metadata(root):
        entries = _entries(root)
        tops = [_SPLIT_FOLDERS.get(entry.name.split("/")[0].lower(), "") for entry in entries]
        if len(set(tops)) < 2 or "" in tops:
            return {"": entries}
        return {name: [e for e, top in zip(entries, tops) if top == name] for name in sorted(set(tops))}
    folders = [folder for folder in _subfolders(root) if _pictures(folder)]
    names = [_SPLIT_FOLDERS.get(folder.name.lower(), "") for folder in folders]
    if not folders or "" in names or any(_is_picture(child) for child in root.iterdir()):
        return {"": _entries(root)}
    if len(folders) == 1:
        return {"": _entries(folders[0])}
    splits: dict[str, list[Entry]] = {}
    for name, folder in zip(names, folders):
        splits.setdefault(name, []).extend(_entries(folder, f"{folder.name}/"))
    return splits


def _subfolders(folder: Path) -> list[Path]:
    return sorted(child for child in folder.iterdir() if child.is_dir() and not _is_hidden(child))


def _is_hidden(path: Path) -> bool:
    return path.name.startswith(".") or path.name == "__MACOSX"


def _is_picture(path: Path) -> bool:
    return path.suffix.lower() in SUFFIXES and not _is_hidden(path) and path.is_file()


def _pictures(folder: Path) -> list[Path]:
    """All pictures below a folder, sorted; links to folders are followed, each folder once."""
    found, seen = [], set()
    for parent, folders, files in os.walk(folder, followlinks=True):
        real = os.path.realpath(parent)
        if real in seen:
            folders.clear()
            continue
        seen.add(real)
        folders[:] = [name for name in folders if not _is_hidden(Path(name))]
        found += [path for path in (Path(parent, name) for name in files) if _is_picture(path)]
    return sorted(found, key=lambda path: path.relative_to(folder).parts)


def _metadata(folder: Path) -> Path | None:
    found = [path for name in ("metadata.jsonl", "metadata.csv") if (path := folder / name).is_file()]
    if len(found) > 1:
        raise ValueError(f"folder {folder} has both metadata.jsonl and metadata.csv: keep one")
    return found[0] if found else None


def _entries(folder: Path, prefix: str = "") -> list[Entry]:
    """The pictures of one folder in one of the layouts; `prefix` goes before their names."""
    metadata = _metadata(folder)
    if metadata is not None:
        return [
            Entry(str(folder / name), prefix + name, label, texts) for name, label, texts in _read_metadata(metadata)
        ]
    pictures = _pictures(folder)
    names = [path.relative_to(folder).as_posix() for path in pictures]
    tops = {name.split("/")[0] for name in names if "/" in name}
    if tops and any("/" not in name for name in names):
        raise ValueError(
            f"folder {folder} has pictures beside the subfolders {sorted(tops)[:5]}: move them into a "
            "subfolder for their class, or write a metadata.csv with file_name and label"
        )
    return [
        Entry(str(path), prefix + name, name.split("/")[0] if tops else None, _caption_beside(path))
        for path, name in zip(pictures, names)
    ]


def _caption_beside(picture: Path) -> tuple[str, ...]:
    """The lines of the .txt file with the picture's name, if there is one."""
    text = picture.with_suffix(".txt")
    if not text.is_file():
        return ()
    lines = text.read_text(encoding="utf-8-sig", errors="replace").splitlines()
    return tuple(line.strip() for line in lines if line.strip())


def _read_metadata(path: Path) -> list[tuple[str, str | None, tuple[str, ...]]]:
    """Rows of (file name, label, captions)."""
    read = csv.DictReader if path.suffix == ".csv" else functools.partial(_json_rows, path)
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            rows = list(read(file))
    except UnicodeDecodeError as error:
        raise ValueError(f"{path} is not UTF-8 ({error}): save it in this encoding") from error
    columns = sorted({str(key) for row in rows for key in row})
    if rows and ("file_name" not in columns or not {"text", "label"} & set(columns)):
        raise ValueError(f"{path} has the columns {columns}: it needs file_name, and text or label or both")
    labelled = "label" in columns
    result = []
    for number, row in enumerate(rows, start=1):
        name, label, text = row.get("file_name"), row.get("label"), row.get("text")
        if not name:
            raise ValueError(f"{path}: row {number} has no file_name")
        if labelled and label in (None, ""):
            raise ValueError(f"{path}: row {number} ({name}) has no label, and others have")
        captions = text if isinstance(text, list) else [text]
        texts = tuple(str(caption).strip() for caption in captions if caption not in (None, ""))
        result.append((Path(name).as_posix(), str(label) if labelled else None, texts))
    return result


def _json_rows(path: Path, lines: Iterable[str]) -> Iterable[dict[str, Any]]:
    for number, line in enumerate(lines, start=1):
        if not line.strip():
            continue
        try:
            row = json.loads(line)
        except json.JSONDecodeError as error:
            raise ValueError(f"{path}: line {number} is not JSON: {error}") from error
        if not isinstance(row, dict):
            raise ValueError(f"{path}: line {number} is not a JSON object with file_name")
        yield row


def _fingerprint(path: str) -> tuple[int, int]:
    """Size and time of a file: if they are as before, it needn't be decoded again."""
    try:
        status = os.stat(path)
    except OSError:
        return -1, -1
    return status.st_size, status.st_mtime_ns


@functools.lru_cache(maxsize=8)
def _readable(root: str, files: tuple[tuple[str, str, int, int], ...]) -> frozenset[str]:
    """The paths of those files that can be decoded; one warning counts and names the others."""
    with ThreadPoolExecutor() as pool:
        problems = list(pool.map(_problem, (path for path, *_ in files)))
    bad = [f"{name} ({problem})" for (_, name, *_), problem in zip(files, problems) if problem]
    if bad:
        more = f" and {len(bad) - _NAMED_IN_WARNING} more" if len(bad) > _NAMED_IN_WARNING else ""
        log.warning(
            "folder %s: %d of %d pictures can't be read and are skipped: %s%s",
            root,
            len(bad),
            len(files),
            ", ".join(bad[:_NAMED_IN_WARNING]),
            more,
        )
    return frozenset(path for (path, *_), problem in zip(files, problems) if not problem)


def _problem(path: str) -> str:
    """Why a file can't be decoded, or "". JPEGs are read at an eighth of their size, which finds cuts too."""
    try:
        with Image.open(path) as picture:
            if picture.mode in transforms.WIDE_MODES:
                transforms.decode(picture)
            picture.draft(picture.mode, (picture.width // 8, picture.height // 8))
            picture.load()
    except FileNotFoundError:
        return "no such file"
    except Image.UnidentifiedImageError:
        return "no picture format that Pillow knows"
    except Exception as error:  # Pillow's decoders raise many kinds of exceptions on broken files.
        return " ".join(str(error).split()) or type(error).__name__
    return ""


def _source(root: Path, chosen: list[Entry], everything: list[Entry], prints: tuple[str, ...]) -> Source:
    """Records of the chosen entries, with classes named over all splits."""
    names = {entry.label for entry in everything if entry.label is not None}
    unlabelled = [entry.name for entry in everything if entry.label is None]
    if names and unlabelled:
        raise ValueError(
            f"folder {root} has classes, but {len(unlabelled)} pictures such as {unlabelled[0]} are in none"
        )
    numeric = all(name.isdecimal() for name in names)
    classes = tuple(sorted(sorted(names), key=int if numeric else str))
    has_text = any(entry.texts for entry in everything)
    without = sum(not entry.texts for entry in chosen)
    if has_text and without:
        log.warning("folder %s: %d of %d pictures have no caption; theirs is empty", root, without, len(chosen))
    spec = DataSpec((0, 0, 0), len(classes), classes, len(chosen), has_text, fingerprint=prints)
    return Source(_FolderRecords(chosen, classes, has_text), spec)


class _FolderRecords:
    """Pictures of a folder, decoded when asked for: `image`, `file_name`, `label` and `text` where known."""

    def __init__(self, entries: list[Entry], classes: tuple[str, ...], has_text: bool):
        self._entries, self._has_text = entries, has_text
        self._ids = {name: index for index, name in enumerate(classes)}

    def __len__(self) -> int:
        return len(self._entries)

    def __getitem__(self, index: int) -> Record:
        entry = self._entries[index]
        record: Record = {"image": transforms.decode(entry.path), "file_name": entry.name}
        if entry.label is not None:
            record["label"] = self._ids[entry.label]
        if self._has_text:
            record["text"] = entry.texts if len(entry.texts) > 1 else "".join(entry.texts)
        return record

    def captions(self, indices: Sequence[int]) -> list[tuple[str, ...]]:
        """The captions of examples, without their pictures."""
        return [self._entries[index].texts for index in indices]
