"""`captioned_shapes`: drawn scenes of one or two objects with captions, for small text-to-image models.

Every scene is drawn by our own code (`genjax.data.builders.scenes`) and carries what it shows as structured
fields, so that a program can read attributes back from an image, drawn or generated, and check them against
the words.

Configurations "32" and "64" are the same scenes in the same order at 32x32 and 64x64 pixels, RGB, the small
image being the 2x2 mean of the large one: pairs for training super-resolution. Splits, of the same
distribution but for the last: `train` (20,000), `test` (2,000) and `compositional` (2,000), where every
object is a pair of colour and shape that never occurs in the other two.

For classification there are "32_shape", "32_colour", "64_shape" and "64_colour": of the same scenes those with one
object, about half of each split in the same order, with its shape or colour as `label`; and "32_first_shape",
"32_first_colour", "64_first_shape" and "64_first_colour": the other half, with that of the first object, which is the
one on the left of, or above, the other. The colour of a single object is in the mean of all pixels; for the colour of
the first, one has to know what is where.

Colours (10), on white: red, orange, yellow, green, cyan, blue, purple, pink, brown, black. Any two of them,
and each and the white, are at least 90 apart in RGB (0..255, Euclidean).

Shapes (8): circle, square, triangle (tip up), diamond (upright), cross (a plus sign), star (five points),
ring, heart. Sizes (2): small and large, 0.28 and 0.40 of the canvas across. Shapes are scaled to look equally
large, so that their true extent is 0.86 to 1.1 times this.

Places (9): a 3x3 grid whose rows and columns lie at 1/4, 1/2 and 3/4 of the canvas, numbered row by row from
the top left. In words: in the top left, at the top, in the top right, on the left, in the middle, on the
right, in the bottom left, at the bottom, in the bottom right.

Each object's centre is moved by up to 0.02 of the canvas in both directions and its size by up to 4 %, so
that no two images are alike; nothing else varies. No object leaves the canvas or touches another one.

One object (half of the scenes): any colour, shape, size and place. Captions, in equal shares:
    a {size} {colour} {shape} {place}
    there is a {size} {colour} {shape} {place}
    {place}, a {size} {colour} {shape}
    a picture of a {size} {colour} {shape} {place}
    a {colour} {shape}

Two objects (the other half): two pairs of colour and shape that differ, at any sizes, in one of two
relations:
    left of   the first in the left column, the second in the right column, in the same or neighbouring rows
    above     the first in the top row, the second in the bottom row, in the same or neighbouring columns
Their centres thus differ by half the canvas along the relation and by at most a quarter across it (give or
take the jitter): a scene fits one relation, never both. Captions, in equal shares:
    a {colour} {shape} {relation} a {colour} {shape}
    a {size} {colour} {shape} {relation} a {size} {colour} {shape}
    there is a {colour} {shape} {relation} a {colour} {shape}
    a picture of a {colour} {shape} {relation} a {colour} {shape}

What a caption doesn't mention is free, what it mentions is true; `template` says which words were used ("an"
before orange).

Held out for composition: 16 of the 80 pairs of colour and shape, those with (colour + 2 * shape) % 5 = 0 by
their places in the lists above: two colours of each shape, one or two shapes of each colour.

Random choices are `random.Random("split/index").random()` alone, whose stream Python guarantees: scene i of a
split is the same on every machine.
"""

import io
from collections.abc import Iterable

import numpy as np
import tensorflow_datasets as tfds
from PIL import Image

from genjax.data.builders import scenes

SPLITS = {"train": 20_000, "test": 2_000, "compositional": 2_000}
"""Scenes in each split."""
LABELS: dict[str, Iterable[str]] = {"colour": scenes.COLOURS, "shape": scenes.SHAPES}
"""What an object of a scene may be classified by, and the names of the classes."""


class CaptionedShapes(tfds.core.GeneratorBasedBuilder):
    """Drawn scenes with captions as a TFDS dataset.

    Fields: `image` [size, size, 3]; `text`; `objects`, a sequence in the order of the caption of `colour`,
    `shape`, `size`, `place` (indices with names), `center` (x, y) and `diameter` (fractions of the canvas);
    `relation` ("none", "left of", "above"); `template`, an index into `scenes.TEMPLATES`; `index` in split;
    `label` in the configurations for classification.
    """

    VERSION = tfds.core.Version("1.0.0")
    RELEASE_NOTES = {"1.0.0": "First version."}
    BUILDER_CONFIGS = [
        tfds.core.BuilderConfig(name=str(size), description=f"{size}x{size} pixels.") for size in (32, 64)
    ] + [
        tfds.core.BuilderConfig(name=f"{size}{which}_{label}", description=f"{size}x{size} pixels, {whose} {label}.")
        for size in (32, 64)
        for which, whose in (("", "one object, its"), ("_first", "two objects, the first one's"))
        for label in LABELS
    ]

    def _info(self) -> tfds.core.DatasetInfo:
        size, _, label = self._size_count_label()
        thing = {
            "colour": tfds.features.ClassLabel(names=list(scenes.COLOURS)),
            "shape": tfds.features.ClassLabel(names=list(scenes.SHAPES)),
            "size": tfds.features.ClassLabel(names=list(scenes.SIZES)),
            "place": tfds.features.ClassLabel(names=list(scenes.PLACES)),
            "center": tfds.features.Tensor(shape=(2,), dtype=np.float32),
            "diameter": tfds.features.Scalar(np.float32),
        }
        return tfds.core.DatasetInfo(
            builder=self,
            description=__doc__,
            features=tfds.features.FeaturesDict(
                {
                    "image": tfds.features.Image(shape=(size, size, 3), encoding_format="png"),
                    "text": tfds.features.Text(),
                    "objects": tfds.features.Sequence(thing),
                    "relation": tfds.features.ClassLabel(names=list(scenes.RELATIONS)),
                    "template": tfds.features.Scalar(np.int64),
                    "index": tfds.features.Scalar(np.int64),
                }
                | ({"label": tfds.features.ClassLabel(names=list(LABELS[label]))} if label else {})
            ),
            disable_shuffling=True,
        )

    def _size_count_label(self) -> tuple[int, int, str]:
        """What the configuration's name says: pixels, objects of its scenes (0: any), what is the label ("": none)."""
        size, *words = self.builder_config.name.split("_")
        return int(size), len(words), words[-1] if words else ""

    def _split_generators(self, dl_manager):
        """Three splits; nothing to download."""
        return {split: self._generate_examples(split, count) for split, count in SPLITS.items()}

    def _generate_examples(self, split: str, count: int):
        """Images go as PNG bytes: TFDS encodes arrays through TensorFlow."""
        size, objects, label = self._size_count_label()
        for index in range(count):
            scene = scenes.make_scene(split, index)
            if label and len(scene.things) != objects:
                continue
            png = io.BytesIO()
            Image.fromarray(scenes.render(scene, size)).save(png, format="PNG", compress_level=1)
            yield (
                index,
                {
                    "image": png.getvalue(),
                    "text": scene.caption,
                    "objects": [_annotation(thing) for thing in scene.things],
                    "relation": scene.relation,
                    "template": scene.template,
                    "index": index,
                }
                | ({"label": getattr(scene.things[0], label)} if label else {}),
            )


def _annotation(thing: scenes.Thing) -> dict:
    """One object as the dataset stores it."""
    indices = {"colour": thing.colour, "shape": thing.shape, "size": thing.size, "place": thing.place}
    return indices | {"center": np.array([thing.x, thing.y], np.float32), "diameter": thing.diameter}
