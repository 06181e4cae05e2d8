"""Whether an image shows what its caption says, for the captions of `captioned_shapes`; nothing is learned.

A caption is read back by the dataset's templates (`genjax.data.builders.scenes`), the image by
`genjax.metrics.scene_reader`. The image is right when it has as many objects as the caption, each with every
attribute that the caption names, in the relation that it names: what it doesn't name is free.
"""

import re
from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple

import numpy as np

from genjax.data.builders import scenes
from genjax.metrics import scene_reader
from genjax.typing import ImageUint8, UInt8

MIN_APART = 0.25
"""Least distance of two centres along their relation, in fractions of the canvas; 0.46 at least in the dataset."""

_ATTRIBUTES: dict[str, Iterable[str]] = {
    "colour": scenes.COLOURS, "shape": scenes.SHAPES, "size": scenes.SIZES, "place": scenes.PLACES
}  # fmt: skip


class Request(NamedTuple):
    """What a caption names.

    Attributes:
        things: of each object, attribute -> index in its table of `scenes`, of those that are named.
        relation: index into `scenes.RELATIONS`.
    """

    things: tuple[dict[str, int], ...]
    relation: int = 0


def _pattern(template: str) -> re.Pattern:
    """A template as a regular expression with a group for each of its fields."""
    names = {name: "|".join(table) for name, table in _ATTRIBUTES.items()}
    names["relation"] = "|".join(scenes.RELATIONS[1:])
    for field in re.findall(r"{(\w+)}", template):
        name = field.rstrip("2").removeprefix("a_")
        article, group = ("an? " if field.startswith("a_") else ""), field.removeprefix("a_")
        template = template.replace(f"{{{field}}}", f"{article}(?P<{group}>{names[name]})")
    return re.compile(template)


_PATTERNS = tuple(map(_pattern, scenes.TEMPLATES))


def parse(caption: str) -> Request:
    """What a caption of the dataset names.

    Raises:
        ValueError: for a text that is none of them.
    """
    found = next((match for pattern in _PATTERNS if (match := pattern.fullmatch(caption))), None)
    if found is None:
        raise ValueError(f"{caption!r} is no caption of captioned_shapes, so no image can be measured by it")
    named = found.groupdict()
    relation = scenes.RELATIONS.index(named.pop("relation", "none"))
    things: tuple[dict[str, int], ...] = ({}, {}) if relation else ({},)
    for field, word in named.items():
        name = field.rstrip("2")
        things[field.endswith("2")][name] = list(_ATTRIBUTES[name]).index(word)
    return Request(things, relation)


def match(image: UInt8[np.ndarray, "h w 3"], caption: str) -> tuple[scene_reader.Found, ...] | None:
    """The objects of an image in the order of its caption; None if it isn't right, see the module.

    Raises:
        ValueError: for a text that is no caption of the dataset.
    """
    requested, found = parse(caption), scene_reader.read(image)
    if len(found) != len(requested.things):
        return None
    orders = (found,) if len(found) == 1 else (found, found[::-1])
    return next((things for things in orders if _fits(things, requested)), None)


def is_right(image: UInt8[np.ndarray, "h w 3"], caption: str) -> bool:
    """Whether an image shows all that its caption names, and no other object; see the module.

    Raises:
        ValueError: for a text that is no caption of the dataset.
    """
    return match(image, caption) is not None


def has_all(thing: scene_reader.Found, named: Mapping[str, int]) -> bool:
    """Whether an object has each of the attributes that are named."""
    return all(getattr(thing, name) == index for name, index in named.items())


def _fits(found: Sequence[scene_reader.Found], requested: Request) -> bool:
    named = all(has_all(thing, wanted) for thing, wanted in zip(found, requested.things, strict=True))
    if not named or not requested.relation:
        return named
    across, down = found[1].x - found[0].x, found[1].y - found[0].y
    along, aside = (across, down) if scenes.RELATIONS[requested.relation] == "left of" else (down, across)
    return along > MIN_APART and abs(aside) < along


def share_right(images: ImageUint8, captions: Sequence[str]) -> float:
    """The share of images that are right, of one caption each."""
    return float(np.mean([is_right(*pair) for pair in zip(images, captions, strict=True)]))


def by_kind(images: ImageUint8, captions: Sequence[str]) -> dict[str, float]:
    """The share of images that are right, apart for captions of one object and of two."""
    kinds = np.array([len(parse(caption).things) for caption in captions])
    right = np.array([is_right(*pair) for pair in zip(images, captions, strict=True)])
    names = {1: "one object", 2: "two objects"}
    return {names[kind]: float(right[kinds == kind].mean()) for kind in np.unique(kinds).tolist()}
