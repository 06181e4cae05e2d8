"""Data is opened here by all programs: what was understood is said once, and a missing held-out split is looked for."""

import logging
import re
import sys
from collections.abc import Sequence

from genjax.data.encoded import Manifest
from genjax.data.records import About, Source, SplitNotFound
from genjax.data.sources import Dataset
from genjax.data.splits import split_of
from genjax.data.texts import shown
from genjax.typing import DataSpec

log = logging.getLogger(__name__)

_NAMED = 10
_SAID: set[tuple] = set()
"""What was said already: a program opens its data several times."""


def open_split(dataset: Dataset, split: str, eval_split: str = "", image_size: int = 0) -> Source:
    """Open a split of a dataset, and say in one line what there is, the first time.

    Args:
        dataset: as `sources.find` gives it.
        split: the split.
        eval_split: `config.data.eval_split`. If this is the split, and there is none of that name, the validation split
            or the test split is taken, with a word.
        image_size: to which images are brought, 0 where they aren't.

    Raises:
        ValueError: as `sources.Dataset`.
    """
    try:
        source = dataset(split)
    except SplitNotFound as error:
        instead = _instead(split, error.splits) if split == eval_split else ""
        if not instead:
            raise
        source = dataset(instead)
        _once(
            (source.about.title, source.spec.fingerprint, split, instead),
            f"{source.about.title}: there is no split {split!r} (eval_split), so {instead!r} is held out",
        )
    key = (source.about.title, image_size, source.spec.fingerprint)
    if key not in _SAID:
        _SAID.add(key)
        print(summary(source.about, source.spec, image_size), file=sys.stderr, flush=True)
        _warn_sizes(source.about, image_size)
    return source


def say_encoded(folder: str, manifest: Manifest) -> None:
    """Say in one line, the first time, what was encoded and is read in place of images, or beside them."""
    key = (folder, str(manifest))
    if key in _SAID:
        return
    _SAID.add(key)
    counts = ", ".join(f"{split} {count}" for split, count in sorted(manifest.counts.items(), reverse=True))
    images, size, step = manifest.images, manifest.images["image_size"], manifest.stage.get("step", "?")
    fields = ", ".join(sorted(manifest.fields)) + (", captions" if manifest.texts else "")
    print(
        f"encoded {folder}: {fields}; {counts}; of {images['name']} at {size}x{size}, by step {step}",
        file=sys.stderr,
        flush=True,
    )


def _instead(split: str, splits: Sequence[str]) -> str:
    """The split to evaluate on where `split` isn't there: one of the same meaning, else validation, else test."""
    if re.search(r"[\[+]", split):
        return ""
    wanted = (split_of(split), "validation", "test")
    by_meaning = {split_of(there): there for there in splits}
    return next(
        (by_meaning[meaning] for meaning in wanted if meaning not in ("", "train") and meaning in by_meaning), ""
    )


def _once(key: tuple, line: str) -> None:
    if key not in _SAID:
        _SAID.add(key)
        log.warning("%s", line)


def summary(about: About, spec: DataSpec, image_size: int = 0) -> str:
    """What was understood, in one line: classes, captions, splits, what was skipped, sizes."""
    names = ", ".join(map(shown, spec.class_names[:_NAMED])) + (", ..." if len(spec.class_names) > _NAMED else "")
    count = spec.num_classes
    classes = f"{count} class{'es' * (count != 1)}" if count else "no classes"
    order = {"train": 0, "validation": 1, "test": 2}
    splits = sorted(about.splits.items(), key=lambda item: (order.get(item[0], 3), item[0]))
    parts = [
        f"{classes} ({names})" if names else classes,
        *(["captions" + (f" ({_none(about.uncaptioned)})" if about.uncaptioned else "")] * spec.has_text),
        ", ".join(f"{split} {size}" for split, size in splits),
        *([_skipped(about)] if about.skipped else []),
        *([_sizes(about, image_size)] if about.sizes and image_size else []),
    ]
    return f"{about.title}: {'; '.join(parts)}"


def _none(count: int) -> str:
    return "1 image has none" if count == 1 else f"{count} images have none"


def _skipped(about: About) -> str:
    """How many files can't be used, and how many of them for want of a label."""
    without = f", {about.unlabelled} of them without a label" if about.unlabelled else ""
    return f"{about.skipped} of {about.files} files skipped{without}, named above"


def _sizes(about: About, size: int) -> str:
    """From what size to what images are brought."""
    by_shorter = sorted(about.sizes, key=lambda sides: (min(sides), max(sides)))
    ends = dict.fromkeys(f"{width}x{height}" for width, height in (by_shorter[0], by_shorter[-1]))
    smallest, largest = min(by_shorter[0]), min(by_shorter[-1])
    smaller = sum(min(sides) < size for sides in by_shorter)
    if smallest < size < largest:
        what = f", {smaller} upsampled and {sum(min(s) > size for s in by_shorter)} shrunk to {size}x{size}"
    elif smallest == largest == size:
        what = "" if all(width == height for width, height in by_shorter) else f", cropped to {size}x{size}"
    else:
        what = f", {'upsampled' if smaller else 'shrunk'} to {size}x{size}"
    return f"images {' to '.join(ends)}{what}"


def _warn_sizes(about: About, size: int) -> None:
    """Warn of images that lose or lack most of what the network sees."""
    if not about.sizes or not size:
        return
    total = len(about.sizes) if len(about.sizes) > 1 else sum(about.splits.values())
    small = total * sum(2 * min(sides) <= size for sides in about.sizes) // len(about.sizes)
    if small:
        log.warning(
            "%s: %d of %d images have half of image_size=%d pixels on their shorter side, or less, and are upsampled",
            about.title,
            small,
            total,
            size,
        )
    width, height = about.sizes[0]
    if set(about.sizes) == {(width, width)} and height > 2 * size:
        log.warning(
            "%s: all %d images are %dx%d, and are shrunk to image_size=%d",
            about.title,
            total,
            width,
            height,
            size,
        )
