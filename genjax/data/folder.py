"""A person's own images: "folder:/path".

Layouts, found by looking:

    /path/cat/1.jpg, /path/dog/2.png   one subfolder for each class (images may lie deeper); class ids
                                       follow the sorted names, in numeric order if all are numbers
    /path/1.jpg, /path/2.png           unlabelled
    /path/1.jpg, /path/1.txt           a caption beside the image (.txt or .caption), in either layout above; several
                                       lines are several captions
    /path/metadata.csv                 or .tsv, .jsonl, .parquet: one row for each image, see `genjax.data.metadata`.
                                       Images that it doesn't name are skipped. In a class folder it gives captions
    /path/dataset.json                 the labels of StyleGAN's dataset_tool, whose subfolders are no classes; -1 and
                                       null are missing labels

Splits: if all images lie in subfolders called train and test (or training, train2017, val, valid, validation, dev,
testing, eval, ... see `genjax.data.splits`), each in one of the layouts above, these are the splits. Otherwise one
image in ten is held out as `test` by a hash of its path below the folder: the choice is the same on every machine, and
adding images to more than a handful doesn't move an old one from one side to the other. Of two images or more at least
one is on each side, and of each class at least one in `train`. The split `all` is everything.

The headers of all images, and up to 1,000 images whole, are read when the folder is opened, see `genjax.data.scan`.
Images that can't be used are skipped, and one warning counts and names them; so are those without a label (empty, NaN,
None, null, N/A, ...) where others have one: to train on all of them, take the label column away. A class of which none
is left is an error.
Images may have any size and mode: see `genjax.data.transforms.decode`.
"""

import difflib
import functools
import logging
import os
from collections.abc import Sequence
from typing import NamedTuple

from genjax.core.arguments import arg
from genjax.data import identity, layout, metadata, scan, splits, transforms
from genjax.data.broken import decoded
from genjax.data.records import About, DatasetNotFound, Record, Source, SplitNotFound
from genjax.data.splits import Entry
from genjax.data.texts import listed, shown
from genjax.data.walk import Listing, walk
from genjax.typing import DataSpec

log = logging.getLogger(__name__)

_ARCHIVES = (".zip", ".tar", ".gz", ".tgz", ".bz2", ".xz", ".zst", ".7z", ".rar")


class Folder(NamedTuple):
    """A folder that was understood and looked at; whatever happens to it, its splits and classes are as it was then.

    Attributes:
        name: to call it by.
        entries: its images.
        splits: name -> the images of each.
        classes: their names in order.
        has_text: whether images have captions.
        fingerprint: as of `DataSpec`.
        about: what to say of it.
    """

    name: str
    entries: list[Entry]
    splits: dict[str, list[Entry]]
    classes: tuple[str, ...]
    has_text: bool
    fingerprint: tuple[str, ...]
    about: About

    def open(self, split: str) -> Source:
        """The examples of a split: "train", "test", "validation" or "all", as the module's docstring says.

        Raises:
            SplitNotFound: no such split.
        """
        chosen = self.entries if split == "all" else self.splits.get(split, [])
        if not chosen:
            filled = [name for name, entries in self.splits.items() if entries]
            raise SplitNotFound(f"{self.name} has the splits {[*filled, 'all']}, not {split!r}", filled)
        spec = DataSpec(
            (0, 0, 0), len(self.classes), self.classes, len(chosen), self.has_text, fingerprint=self.fingerprint
        )
        return Source(FolderRecords(chosen, self.classes, self.has_text), spec, self.about)


def look(path: str) -> Folder:
    """Look at a folder of images as it is now.

    Args:
        path: the folder; `~` is understood.

    Raises:
        DatasetNotFound: no such folder, or no image in it that can be read.
        ValueError: metadata or captions that can't be understood, images both beside and in subfolders, a class
            without images that can be read.
    """
    root = _root(path)
    try:
        listing = walk(root)
    except OSError as error:
        raise DatasetNotFound(
            f"folder {shown(root)} can't be read: {(error.strerror or str(error)).lower()}"
        ) from error
    return _look(root, listing)


def _root(path: str) -> str:
    """The folder that a name means, or what is there instead of one."""
    root = os.path.expanduser(path).rstrip("/") or path
    named = f"{arg('name')} is 'folder:{shown(path)}'"
    if path and os.path.isdir(root):
        return root
    if "://" in path:
        raise DatasetNotFound(f"{named}: only folders of this machine can be read; copy or mount it first")
    if not path or not os.path.exists(root):
        parent = os.path.dirname(root) or "."
        beside = os.listdir(parent) if os.access(parent, os.R_OK) and os.path.isdir(parent) else []
        near = difflib.get_close_matches(os.path.basename(root), beside, 1)
        hint = f"; is it {shown(os.path.join(os.path.dirname(root), near[0]))}?" if near else ""
        raise DatasetNotFound(f"folder {shown(root)} doesn't exist: {named}{hint}")
    suffix, parent = layout.suffix_of(root), shown(os.path.dirname(root) or ".")
    if suffix in _ARCHIVES:
        raise DatasetNotFound(f"{shown(root)} is an archive, not a folder: unpack it, and name the folder; {named}")
    if suffix in layout.SUFFIXES or os.path.basename(root).lower() in metadata.NAMES:
        what = "an image" if suffix in layout.SUFFIXES else "a table"
        raise DatasetNotFound(f"{shown(root)} is {what}: name the folder that holds it, folder:{parent}; {named}")
    raise DatasetNotFound(f"{shown(root)} is a file, not a folder of images; {named}")


@functools.lru_cache(maxsize=8)
def _look(root: str, listing: Listing) -> Folder:
    """Understand a folder and look at its images; a line for everything that a person should know."""
    title = f"folder {shown(root)}"
    found = layout.understand(root, listing)
    for note in found.notes:
        log.warning("%s: %s", title, note)
    entries = [entry for entries in found.splits.values() for entry in entries]
    if not entries:
        unread = f" ({'; '.join(found.notes)})" if found.notes else ""
        raise DatasetNotFound(
            f"{title} holds no images (.png, .jpg, .webp, ...){unread}: it needs class subfolders, or images with "
            "metadata.csv, metadata.jsonl or .txt files beside them, or just images"
        )
    looks = scan.scan(root, [entry.path for entry in entries])
    skipped = found.skipped | {
        entry.name: look.problem or look.broken for entry, look in zip(entries, looks) if look.problem or look.broken
    }
    good = [(entry, look) for entry, look in zip(entries, looks) if not look.problem and not look.broken]
    total = len(good) + len(skipped)
    _warn_skipped(title, skipped, total)
    if not good:
        name, why = next(iter(skipped.items()))
        raise DatasetNotFound(
            f"{title} holds no image that can be read, of {total}: {shown(name)} ({why}), ...; the log names the files"
        )
    _warn_dark(title, good)
    usable = [entry for entry, _ in good]
    names = {entry.name for entry in usable}
    parts = {name: [entry for entry in part if entry.name in names] for name, part in found.splits.items()}
    if list(parts) == [""]:
        parts = splits.hold_out(parts[""])
    classes = _classes(title, entries, usable, skipped)
    _warn_untrained(title, parts)
    counts = {name: len(part) for name, part in parts.items() if part}
    sizes = tuple((look.width, look.height) for _, look in good)
    without = sum(not entry.texts for entry in usable)
    has_text = without < len(good)
    if has_text and without:
        log.warning("%s: %d of %d images have no caption; theirs is empty", title, without, len(good))
    name = f"folder {shown(os.path.basename(os.path.abspath(root)))}"
    about = About(name, counts, total, len(skipped), found.unlabelled, without if has_text else 0, sizes)
    return Folder(title, usable, parts, classes, has_text, _fingerprint(parts), about)


def _warn_skipped(title: str, skipped: dict[str, str], total: int) -> None:
    if skipped:
        named = [f"{name} ({why})" for name, why in skipped.items()]
        log.warning("%s: %d of %d images can't be used and are skipped: %s", title, len(skipped), total, listed(named))


def _warn_dark(title: str, good: list[tuple[Entry, scan.Look]]) -> None:
    dark = [entry.name for entry, look in good if look.dark]
    if dark:
        log.warning(
            "%s: %d of %d images that were decoded are nearly black, as 12-bit values in 16-bit files are, and masks "
            "of 0 and 1: scale them to the whole range of their format; they are %s",
            title,
            len(dark),
            sum(look.decoded for _, look in good),
            listed(dark, 5),
        )


def _classes(title: str, entries: list[Entry], good: list[Entry], skipped: dict[str, str]) -> tuple[str, ...]:
    """The classes in their order.

    Raises:
        ValueError: where one has no image that can be read, since the numbers of the others would shift, or where only
            some images have a class.
    """
    there = {entry.label for entry in good} - {None}
    for entry in entries:
        if entry.label is not None and entry.label not in there:
            count = sum(other.label == entry.label for other in entries)
            raise ValueError(
                f"{title}: none of the {count} images of class {entry.label!r} can be read, such as "
                f"{shown(entry.name)} ({skipped.get(entry.name, '')}): mend them, or take the class away"
            )
    unlabelled = [entry.name for entry in good if entry.label is None]
    if there and unlabelled:
        raise ValueError(
            f"{title} has classes, but {len(unlabelled)} images such as {shown(unlabelled[0])} are in none"
        )
    return metadata.ordered(there)


def _warn_untrained(title: str, parts: dict[str, list[Entry]]) -> None:
    """Name classes that only other splits than `train` have."""
    if parts.get("train"):
        trained = {entry.label for entry in parts["train"]}
        rest = {str(entry.label) for part in parts.values() for entry in part if entry.label not in trained}
        if rest:
            log.warning(
                "%s: no image in train, so nothing can be learnt, of the classes %s", title, listed(sorted(rest))
            )


def _fingerprint(parts: dict[str, list[Entry]]) -> tuple[str, ...]:
    return identity.fingerprint(
        {
            name: (
                len(entries),
                (f"{entry.name}|{entry.size}|{entry.label}" for entry in entries),
                (text for entry in entries for text in (entry.name, *entry.texts)),
            )
            for name, entries in parts.items()
        }
    )


class FolderRecords:
    """Images of a folder, decoded when requested: `image`, `file_name`, `label` and `text` where known.

    Args:
        entries: the images.
        classes: names of the classes, in order.
        has_text: whether images have captions.
    """

    def __init__(self, entries: list[Entry], classes: tuple[str, ...], has_text: bool):
        self._entries, self._has_text = entries, has_text
        self._ids = {name: index for index, name in enumerate(classes)}

    def __len__(self) -> int:
        return len(self._entries)

    def __getitem__(self, index: int) -> Record:
        entry = self._entries[index]
        image = decoded(transforms.decode, entry.path, shown(entry.path))
        record: Record = {"image": image, "file_name": entry.name}
        if entry.label is not None:
            record["label"] = self._ids[entry.label]
        if self._has_text:
            record["text"] = entry.texts if len(entry.texts) > 1 else "".join(entry.texts)
        return record

    def captions(self, indices: Sequence[int]) -> list[tuple[str, ...]]:
        """The captions of examples, without their images."""
        return [self._entries[index].texts for index in indices]
