"""How well a text model fills holes: scenes of `captioned_shapes` lose one of two objects, and it puts it back.

    genjax-evaluate --workdir=runs/glide_inpaint --fill_holes --num_samples=300

A held-out image of two objects is read (`genjax.metrics.scene_reader`); a square about one of them, in turn the one
that the caption names first and second, is erased; and the model, which is given the rest and the caption, fills it.
"""

from collections.abc import Mapping
from typing import NamedTuple

import numpy as np

from genjax.data import loader
from genjax.data.transforms import to_float
from genjax.families.interfaces import Conditions
from genjax.metrics import caption_accuracy, scene_reader
from genjax.pipelines import editing
from genjax.pipelines import sampling as sampling_lib
from genjax.pipelines.trained import Trained
from genjax.typing import Float, ImageUint8

HALF_SIDE = 0.26
"""Half the side of a hole, in canvases: more than a large object's reach, less than the way to the other object."""


class Holes(NamedTuple):
    """Images with a hole each.

    Attributes:
        images: the images as they were.
        kept: 1 where an image is kept, 0 in the hole.
        captions: what they show.
        erased: of the object in each hole, attribute -> index of all that its caption names, and of its place.
    """

    images: ImageUint8
    kept: Float[np.ndarray, "n h w 1"]
    captions: tuple[str, ...]
    erased: tuple[dict[str, int], ...]


def measure(stage: Trained, count: int, options: Mapping[str, float] | None = None, seed: int = 0) -> dict[str, float]:
    """The shares of holes that are filled as requested.

    Args:
        stage: a model that reads captions and can keep part of an image (`genjax.pipelines.editing`).
        count: number of images.
        options: of its sampling, such as guidance_scale.
        seed: of the noise.

    Returns:
        "object in the hole": shares of images that show the erased object as its caption has it, where it was;
        "whole caption": that show all of the caption; "caption before it is filled": that do with a white hole;
        "kept to the bit": whose kept pixels are what they were.

    Raises:
        ValueError: for data that aren't captioned_shapes, too few scenes, or a stage that can't do it.
    """
    editing.expect_editor(stage)
    requested = make_holes(stage, count)
    drawn = sampling_lib.draw(
        stage,
        count,
        prompts=requested.captions,
        options=options,
        seed=seed,
        conditions=Conditions(known=to_float(requested.images), mask=requested.kept),
    )
    same = (drawn.images == requested.images) | (requested.kept == 0)
    white = np.where(requested.kept > 0, requested.images, 255).astype(np.uint8)
    filled = [
        any(caption_accuracy.has_all(thing, named) for thing in scene_reader.read(image))
        for image, named in zip(drawn.images, requested.erased, strict=True)
    ]
    return {
        "object in the hole": float(np.mean(filled)),
        "whole caption": caption_accuracy.share_right(drawn.images, requested.captions),
        "caption before it is filled": caption_accuracy.share_right(white, requested.captions),
        "kept to the bit": float(same.all(axis=(1, 2, 3)).mean()),
    }


def make_holes(stage: Trained, count: int) -> Holes:
    """The first so many held-out scenes of two objects that the reader reads as their captions say.

    Raises:
        ValueError: as `measure`.
    """
    if count < 1:
        raise ValueError(f"num_samples={count} must be at least 1")
    arrays = loader.Data(stage.config.data.to_dict()).load_arrays()
    if "text" not in arrays:
        raise ValueError(f"{stage.config.data.name!r} has no captions to fill holes by; name a text model's workdir")
    rows: list[tuple] = []
    for image, caption in zip(arrays["image"], arrays["text"]):
        things = caption_accuracy.match(image, caption) if len(rows) < count else None
        if things is None or len(things) != 2:
            continue
        number = len(rows) % 2
        erased = {**caption_accuracy.parse(caption).things[number], "place": things[number].place}
        rows.append((image, _outside(erased["place"], len(image)), caption, erased))
    if len(rows) < count:
        raise ValueError(f"only {len(rows)} held-out scenes have two objects; request no more by --num_samples")
    images, kept, captions, holes = zip(*rows)
    return Holes(np.stack(images), np.stack(kept), captions, holes)


def _outside(place: int, size: int) -> Float[np.ndarray, "h w 1"]:
    """1 outside the square about a place, 0 within."""
    centres = (np.arange(size) + 0.5) / size
    down, across = (np.abs(centres - (step + 1) / 4) < HALF_SIDE for step in divmod(place, 3))
    return (1.0 - np.outer(down, across)[..., None]).astype(np.float32)
