"""Classifier-based rejection sampling: draw more images than needed, keep those most surely of their class.

VQ-VAE-2 (arXiv:1906.00446, section 3.3) scores each sample by the probability that a classifier of real images
gives to the class it was requested to be, and keeps the best: "the trade-off between diversity and quality" is moved by
the share that is kept. Here `keep` is that share, in each class alike.

The classifier is one of `genjax.metrics.feature_net`, trained on the stage's own training split with another seed
than the evaluation's: else the evaluator would have chosen the samples itself. Even so both learn from the same images,
and what one takes for typical the other may: read recall beside the Fréchet distance.
"""

from typing import Any

import numpy as np

from genjax import generate
from genjax.data import loader
from genjax.generate import Drawn
from genjax.metrics import feature_net
from genjax.metrics.feature_net import FeatureNet
from genjax.pipelines import sampling as sampling_lib
from genjax.pipelines.trained import Trained
from genjax.typing import Float, Int

CLASSIFIER_SEED = 190_600_446
"""Of the classifier that chooses; an evaluation's is 0 unless set."""


def train_classifier(stage: Trained, seed: int = CLASSIFIER_SEED) -> FeatureNet:
    """A classifier of the stage's training images; a second or two for small ones.

    Args:
        stage: names the data.
        seed: of its weights and batches; not that of an evaluation.

    Raises:
        ValueError: for data without labels.
    """
    settings = stage.config.data.to_dict()
    train = loader.Data(settings).load_arrays(settings["split"])
    return feature_net.train_feature_net(train["image"], train.get("label"), stage.spec.num_classes, seed)


def best_of_each_class(
    scores: Float[np.ndarray, " m"], labels: Int[np.ndarray, " m"], wanted: Int[np.ndarray, " n"]
) -> Int[np.ndarray, " n"]:
    """The places of the best-scored candidates of each class, in the order of `wanted`.

    Args:
        scores: of each candidate, more is better; of equals the first is taken.
        labels: class of each candidate.
        wanted: classes of the images to keep: for its k-th entry of a class, the k-th best candidate of it.

    Raises:
        ValueError: for a class with fewer candidates than are wanted.
    """
    chosen = np.empty(len(wanted), np.int64)
    for label in np.unique(wanted):
        candidates, places = np.flatnonzero(labels == label), np.flatnonzero(wanted == label)
        if len(candidates) < len(places):
            raise ValueError(f"{len(places)} images of class {label} are wanted and only {len(candidates)} drawn")
        order = np.argsort(-scores[candidates], kind="stable")
        chosen[places] = candidates[order[: len(places)]]
    return chosen


def draw_best(stage: Trained, classifier: FeatureNet, count: int, keep: float, **settings: Any) -> Drawn:
    """Draw `count / keep` images and keep `count`: of each class the share that the classifier is surest of.

    Args:
        stage: a class-conditional stage whose interface is an `ImageSampler`.
        classifier: as `train_classifier` gives it.
        count: images to keep, all classes in equal shares unless `label` is given.
        keep: share of the drawn images that is kept, in (0, 1]; 1 keeps all.
        settings: `label`, `options`, `seed`, `mesh` of `pipelines.sampling.draw`.

    Raises:
        ValueError: for a share that there isn't, an unconditional stage, or a classifier of other images.
    """
    if not 0 < keep <= 1:
        raise ValueError(f"keep={keep} is no share of the images: it must be more than 0 and at most 1")
    classes = stage.interface.num_classes
    if not classes:
        raise ValueError(
            "the best of each class can be kept of class-conditional models only, "
            f"and this run of the family {stage.config.family!r} is none"
        )
    label = settings.get("label")
    wanted = generate.class_labels(count, classes) if label is None else np.full(count, label, np.int32)
    # Whole rounds over the classes, so that each has candidates for its share.
    largest = np.unique(wanted, return_counts=True)[1].max(initial=0)
    rounds = int(np.ceil(round(largest / keep, 6)))
    drawn = sampling_lib.draw(stage, rounds * classes if label is None else rounds, **settings)
    probabilities = feature_net.read(classifier, drawn.images).probabilities
    scores = probabilities[np.arange(len(drawn.labels)), drawn.labels]
    chosen = best_of_each_class(scores, drawn.labels, wanted)
    trajectory = None if drawn.trajectory is None else drawn.trajectory[:, chosen]
    return Drawn(drawn.images[chosen], drawn.labels[chosen], trajectory)
