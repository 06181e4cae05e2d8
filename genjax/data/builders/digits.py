"""`digits`: 1,797 real handwritten digits, 8x8 pixels, 10 classes; small enough to train on in minutes.

The scans are the test part of "Optical Recognition of Handwritten Digits" (E. Alpaydin and C. Kaynak, UCI
machine learning repository, 1998, CC BY 4.0), as scikit-learn ships them inside its package: nothing is
downloaded.

Pixels: a scan counts the dark pixels in 4x4 blocks of a 32x32 bitmap, so its values are 0..16. They are
stored as uint8 by `round(value * 255 / 16)`, ink bright on black. The map is one-to-one, so `round(pixel * 16
/ 255)` gives the counts back.

Splits, fixed and without a random number: within each class, in the order of scikit-learn's file, every
fourth scan (the 4th, 8th, ...) is `test` and the rest are `train`. The people who wrote follow each other in
the file, so both splits hold every one of them; the test split measures new scans, not new writers.
"""

import numpy as np
import tensorflow_datasets as tfds
from PIL import Image

TEST_EVERY = 4
"""Within each class, one scan in this many is held out."""


def read_scans() -> tuple[np.ndarray, np.ndarray]:
    """The scans in scikit-learn's order: uint8 images [1797, 8, 8] with values 0..255, int labels [1797]."""
    from sklearn.datasets import load_digits

    scans = load_digits()
    return np.round(scans.images * (255 / 16)).astype(np.uint8), scans.target.astype(np.int64)


def is_test(labels: np.ndarray) -> np.ndarray:
    """Which examples are held out: bool [n], true for every fourth one of each class, in the order given."""
    held_out = np.zeros(len(labels), bool)
    for label in np.unique(labels):
        held_out[np.flatnonzero(labels == label)[TEST_EVERY - 1 :: TEST_EVERY]] = True
    return held_out


class Digits(tfds.core.GeneratorBasedBuilder):
    """scikit-learn's digits as a TFDS dataset: image [8, 8, 1], label 0..9, and the index in their order."""

    VERSION = tfds.core.Version("1.0.0")
    RELEASE_NOTES = {"1.0.0": "First version."}

    def _info(self) -> tfds.core.DatasetInfo:
        return tfds.core.DatasetInfo(
            builder=self,
            description=__doc__,
            features=tfds.features.FeaturesDict(
                {
                    "image": tfds.features.Image(shape=(8, 8, 1), encoding_format="png"),
                    "label": tfds.features.ClassLabel(num_classes=10),
                    "index": tfds.features.Scalar(np.int64),
                }
            ),
            supervised_keys=("image", "label"),
            disable_shuffling=True,
            homepage="https://archive.ics.uci.edu/dataset/80",
        )

    def _split_generators(self, dl_manager):
        """Two splits; nothing to download."""
        images, labels = read_scans()
        held_out = is_test(labels)
        return {
            name: self._generate_examples(images, labels, np.flatnonzero(held_out == flag))
            for name, flag in (("train", False), ("test", True))
        }

    def _generate_examples(self, images, labels, indices):
        """Images go as PIL images: TFDS encodes arrays through TensorFlow, and PIL images without."""
        for index in indices.tolist():
            yield (
                index,
                {"image": Image.fromarray(images[index]), "label": int(labels[index]), "index": index},
            )
