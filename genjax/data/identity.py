"""Whether data is still what a run was trained on: a fingerprint of each split, and what differs in words."""

import hashlib
from collections.abc import Iterable, Mapping

from genjax.typing import DataSpec

_NAMED = 5


def fingerprint(splits: Mapping[str, tuple[int, Iterable[str], Iterable[str]]]) -> tuple[str, ...]:
    """One line a split, `NAME COUNT IMAGES CAPTIONS`, to be kept in `stage.json`.

    Args:
        splits: name -> (number of examples, a line for each image, a line for each caption). The lines hold what
            may not change: name below the folder, size in bytes and class of an image; not its path or time, so data
            that was copied to another disk is the same.
    """
    return tuple(
        f"{name} {count} {_digest(images)} {_digest(captions)}"
        for name, (count, images, captions) in sorted(splits.items())
    )


def _digest(lines: Iterable[str]) -> str:
    """A short hash of lines in their order."""
    code = hashlib.sha256()
    for line in lines:
        code.update(line.encode("utf-8", errors="surrogateescape") + b"\0")
    return code.hexdigest()[:12]


def compare(noted: DataSpec, found: DataSpec, contents: bool = True) -> str | None:
    """What differs between the data that a run was trained on and the data that is there now, in one line.

    Args:
        noted: what `stage.json` keeps.
        found: what `loader.Data.spec` says now.
        contents: also compare number, names, sizes and captions of the images. Without it only what the network
            depends on is compared: shapes, classes, tokens.

    Returns:
        None where nothing differs. What an older version of genjax did not note is not compared.
    """
    return (
        _shapes(noted, found)
        or _classes(noted, found)
        or _texts(noted, found)
        or (_contents(noted, found) if contents else None)
    )


def _shapes(noted: DataSpec, found: DataSpec) -> str | None:
    before, now = ("x".join(map(str, spec.image_shape)) for spec in (noted, found))
    return None if before == now else f"images are {now} (height x width x channels), and were {before}"


def _classes(noted: DataSpec, found: DataSpec) -> str | None:
    before, now = noted.class_names, found.class_names
    if not noted.num_classes and not noted.fingerprint:
        return None
    if not before or not now:
        if noted.num_classes == found.num_classes:
            return None
        return f"there are {found.num_classes or 'no'} classes, and there were {noted.num_classes or 'none'}"
    if before == now:
        return None
    gone, new = ([name for name in one if name not in other] for one, other in ((before, now), (now, before)))
    if not gone and not new:
        moved = next(number for number, (one, other) in enumerate(zip(before, now)) if one != other)
        return f"the classes have another order: class {moved} is {now[moved]!r}, and was {before[moved]!r}"
    if len(gone) == len(new):
        pairs = ", ".join(f"{one!r} is now {other!r}" for one, other in list(zip(gone, new))[:_NAMED])
        return f"{len(gone)} of {len(before)} classes were renamed: {pairs}{_more(gone)}"
    changes = [f"{word} {', '.join(map(repr, names[:_NAMED]))}{_more(names)}"
               for word, names in (("gone:", gone), ("new:", new)) if names]  # fmt: skip
    return f"there are {len(now)} classes, and there were {len(before)} ({'; '.join(changes)})"


def _more(names: list[str]) -> str:
    return f" and {len(names) - _NAMED} more" if len(names) > _NAMED else ""


def _texts(noted: DataSpec, found: DataSpec) -> str | None:
    if noted.text_length and not found.has_text:
        return "the captions are gone"
    for field, unit in (("text_length", "tokens of a caption"), ("vocab_size", "tokens in the vocabulary")):
        before, now = getattr(noted, field), getattr(found, field)
        if before != now:
            return f"there are {now} {unit}, and there were {before}"
    return None


def _contents(noted: DataSpec, found: DataSpec) -> str | None:
    before, now = (_parse(spec.fingerprint) for spec in (noted, found))
    if not before or not now or before == now:
        return None
    if before.keys() != now.keys():
        return f"the splits are {', '.join(now)}, and were {', '.join(before)}"
    differences = [f"{name}: {said}" for name in now if (said := _difference(before[name], now[name]))]
    return "; ".join(differences)


def _difference(before: list[str], now: list[str]) -> str:
    """What differs in one split: (count, images, captions)."""
    if before[0] != now[0]:
        return f"there are {now[0]} images, and there were {before[0]}"
    if before[1] != now[1]:
        return f"as many images as before ({now[0]}), but some were renamed, replaced or altered"
    return "some captions were altered" if before[2] != now[2] else ""


def _parse(lines: tuple[str, ...]) -> dict[str, list[str]]:
    """Split -> [count, images, captions]."""
    parts = [line.rsplit(" ", 3) for line in lines]
    return {name: rest for name, *rest in parts}
