"""Small drawn scenes with captions, in numpy alone: what the dataset `captioned_shapes` is made of.

The spec is the docstring of `genjax.data.builders.captioned_shapes`; the tables are here, so that a reader of
images can use them without TFDS.
"""

import functools
import math
import random
from typing import NamedTuple

import numpy as np

from genjax.typing import Float, UInt8

COLOURS = {
    "red": (225, 30, 40),
    "orange": (255, 130, 0),
    "yellow": (250, 225, 20),
    "green": (20, 150, 50),
    "cyan": (40, 200, 225),
    "blue": (25, 70, 220),
    "purple": (125, 30, 160),
    "pink": (255, 130, 195),
    "brown": (125, 75, 35),
    "black": (20, 20, 20),
}
BACKGROUND = (255, 255, 255)
SIZES = {"small": 0.28, "large": 0.40}
PLACES = (
    "in the top left",
    "at the top",
    "in the top right",
    "on the left",
    "in the middle",
    "on the right",
    "in the bottom left",
    "at the bottom",
    "in the bottom right",
)
RELATIONS = ("none", "left of", "above")

ONE_OBJECT = (
    "a {size} {colour} {shape} {place}",
    "there is a {size} {colour} {shape} {place}",
    "{place}, a {size} {colour} {shape}",
    "a picture of a {size} {colour} {shape} {place}",
    "{a_colour} {shape}",
)
TWO_OBJECTS = (
    "{a_colour} {shape} {relation} {a_colour2} {shape2}",
    "a {size} {colour} {shape} {relation} a {size2} {colour2} {shape2}",
    "there is {a_colour} {shape} {relation} {a_colour2} {shape2}",
    "a picture of {a_colour} {shape} {relation} {a_colour2} {shape2}",
)
TEMPLATES = ONE_OBJECT + TWO_OBJECTS

_JITTER_PLACE, _JITTER_SIZE = 0.02, 0.04
_DRAWN_AT = 64
_REACH = 1.12  # No shape extends further from its centre along an axis, in units of its radius.
_RGB = np.array(list(COLOURS.values()), np.float64)


class Thing(NamedTuple):
    """One object: indices into COLOURS, SHAPES, SIZES, PLACES, and where it is in fractions of the canvas."""

    colour: int
    shape: int
    size: int
    place: int
    x: float
    y: float
    diameter: float


class Scene(NamedTuple):
    """Objects as the caption names them in turn; `relation` and `template` index RELATIONS and TEMPLATES."""

    things: tuple[Thing, ...]
    relation: int
    template: int
    caption: str


def is_held_out(colour: int, shape: int) -> bool:
    """Whether this pair of colour and shape is kept for the compositional split."""
    return (colour + 2 * shape) % 5 == 0


@functools.cache
def _pairs(held_out: bool) -> list[tuple[int, int]]:
    """All pairs of colour and shape that are held out, or all that aren't."""
    pairs = [(colour, shape) for colour in range(len(COLOURS)) for shape in range(len(SHAPES))]
    return [pair for pair in pairs if is_held_out(*pair) == held_out]


def make_scene(split: str, index: int) -> Scene:
    """Scene `index` of a split: the same wherever and whenever it is requested.

    Args:
        split: "compositional" for scenes of held-out pairs; any other name for scenes without them.
        index: number of the scene, from 0.
    """
    draw = random.Random(f"{split}/{index}").random
    pairs = _pairs(split == "compositional")
    relation = 0 if draw() < 0.5 else 1 + int(draw() * 2)
    if relation == 0:
        places, chosen = [int(draw() * 9)], [pairs[int(draw() * len(pairs))]]
    else:
        across = [(a, b) for a in range(3) for b in range(3) if abs(a - b) <= 1]
        a, b = across[int(draw() * len(across))]
        places = [3 * a, 3 * b + 2] if relation == 1 else [a, 6 + b]
        first = int(draw() * len(pairs))
        second = (first + 1 + int(draw() * (len(pairs) - 1))) % len(pairs)
        chosen = [pairs[first], pairs[second]]
    things = tuple(_make_thing(colour, shape, place, draw) for (colour, shape), place in zip(chosen, places))
    offset, count = (0, len(ONE_OBJECT)) if relation == 0 else (len(ONE_OBJECT), len(TWO_OBJECTS))
    template = offset + int(draw() * count)
    return Scene(things, relation, template, write_caption(things, relation, template))


def _make_thing(colour: int, shape: int, place: int, draw) -> Thing:
    size = int(draw() * len(SIZES))
    row, column = divmod(place, 3)
    x = 0.25 * (column + 1) + _JITTER_PLACE * (2 * draw() - 1)
    y = 0.25 * (row + 1) + _JITTER_PLACE * (2 * draw() - 1)
    diameter = list(SIZES.values())[size] * (1 + _JITTER_SIZE * (2 * draw() - 1))
    return Thing(colour, shape, size, place, x, y, diameter)


def write_caption(things: tuple[Thing, ...], relation: int, template: int) -> str:
    """The words of one template for one or two objects and their relation."""
    words = {"relation": RELATIONS[relation]}
    for suffix, thing in zip(("", "2"), things):
        colour = list(COLOURS)[thing.colour]
        words["colour" + suffix] = colour
        words["a_colour" + suffix] = ("an " if colour[0] in "aeiou" else "a ") + colour
        words["shape" + suffix] = list(SHAPES)[thing.shape]
        words["size" + suffix] = list(SIZES)[thing.size]
        words["place" + suffix] = PLACES[thing.place]
    return TEMPLATES[template].format(**words)


def render(scene: Scene, size: int) -> UInt8[np.ndarray, "h w 3"]:
    """Draw a scene at `size` x `size` pixels.

    Edges are smoothed by the distance of pixel centres to them. Images under 64 pixels are block means of a
    larger one, of 64 pixels where they divide it: the scene at 32 is the 2x2 mean of the same at 64.
    """
    factor = -(-_DRAWN_AT // size)
    fine = size * factor
    canvas = np.empty((fine, fine, 3))
    canvas[:] = BACKGROUND
    for thing in scene.things:
        radius = thing.diameter / 2
        reach = radius * _REACH + 1 / fine
        columns, rows = (
            slice(max(0, math.floor((middle - reach) * fine)), math.ceil((middle + reach) * fine))
            for middle in (thing.x, thing.y)
        )
        centres = (np.arange(fine) + 0.5) / fine
        u = (centres[columns] - thing.x)[None, :] / radius
        v = (centres[rows] - thing.y)[:, None] / radius
        distance = _DISTANCES[thing.shape](u, v)
        cover = np.clip(0.5 - distance * radius * fine, 0.0, 1.0)[..., None]
        canvas[rows, columns] += cover * (_RGB[thing.colour] - canvas[rows, columns])
    return np.round(canvas.reshape(size, factor, size, factor, 3).mean(axis=(1, 3))).astype(np.uint8)


# Shapes as signed distances to their edge (negative inside) in units of the nominal radius, u to the right
# [1, w] and v down [h, 1]. Maxima and minima of simpler distances are exact near edges; only these are seen.

Coordinate = Float[np.ndarray, "..."]


def _circle(u: Coordinate, v: Coordinate) -> Coordinate:
    return np.hypot(u, v) - 1.0


def _square(u: Coordinate, v: Coordinate) -> Coordinate:
    return np.maximum(np.abs(u), np.abs(v)) - 0.86


def _triangle(u: Coordinate, v: Coordinate) -> Coordinate:
    # Tip up at v = -1, base of half width 1.06 at v = 0.86.
    rise, run = 1.86, 1.06
    return np.maximum((np.abs(u) * rise - (v + 1.0) * run) / math.hypot(rise, run), v - 0.86)


def _diamond(u: Coordinate, v: Coordinate) -> Coordinate:
    return (np.abs(u) / 0.78 + np.abs(v) / 1.1 - 1.0) / math.hypot(1 / 0.78, 1 / 1.1)


def _cross(u: Coordinate, v: Coordinate) -> Coordinate:
    across, along = np.abs(u), np.abs(v)
    return np.minimum(np.maximum(across - 1.0, along - 0.34), np.maximum(across - 0.34, along - 1.0))


def _star(u: Coordinate, v: Coordinate) -> Coordinate:
    # One of ten mirror images of a half-ray: fold the angle, then the distance to the edge from tip to notch.
    tip, notch = 1.1, 0.48
    angle = np.arctan2(u, -v) % (2 * math.pi / 5)
    angle = np.minimum(angle, 2 * math.pi / 5 - angle)
    radius = np.hypot(u, v)
    x, y = radius * np.cos(angle), radius * np.sin(angle)
    notch_x, notch_y = notch * math.cos(math.pi / 5), notch * math.sin(math.pi / 5)
    edge = math.hypot(tip - notch_x, notch_y)
    return ((x - tip) * notch_y + y * (tip - notch_x)) / edge


def _ring(u: Coordinate, v: Coordinate) -> Coordinate:
    return np.abs(np.hypot(u, v) - 0.75) - 0.25


def _heart(u: Coordinate, v: Coordinate) -> Coordinate:
    # Two round lobes over a corner that points down.
    across = np.abs(u)
    lobe = np.hypot(across - 0.47, v + 0.35) - 0.53
    corner = np.maximum(across * 0.8 + (v - 0.98) * 0.6, -(v + 0.35))
    return np.minimum(lobe, corner)


SHAPES = {
    "circle": _circle,
    "square": _square,
    "triangle": _triangle,
    "diamond": _diamond,
    "cross": _cross,
    "star": _star,
    "ring": _ring,
    "heart": _heart,
}
_DISTANCES = tuple(SHAPES.values())
