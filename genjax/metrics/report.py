"""Samples beside real images and a classical rival, against one reference, with a receipt.

Three rows, each a set of images compared with all the held-out test images:

    samples            what the model made
    real_train         training images: the floor, what real images reach at this count
    gaussian_mixture   a Gaussian mixture a class, fitted to the training pixels: the classical rival

Policy of the counts. Fréchet distance falls, and the k-nearest-neighbour balls shrink, as a set grows; and in
features that separate the classes a set with the wrong share of a class is far off. So

- the reference is the same for all rows: the whole test split, whose own finite size biases all rows alike;
- all rows have one count, `n = min(number of samples, number of training images)`; larger sets give a
  seeded subset without replacement, and the mixture draws exactly n. The floor's Fréchet distance, which
  divides the others, is the mean over ten such subsets;
- the rows are drawn as the samples were. Samples with labels have the shares that were requested, without
  chance: subsets are then stratified (each class keeps its share of its own set), and the mixture is requested
  for the very labels of the samples. Samples without labels have classes by chance, and so have the subset of
  the training images and the mixture's labels. A floor drawn by chance would flatter conditional models, a
  stratified one would wrong unconditional ones: on the digits 1000 training images by chance are 0.25 +-
  0.03 from the test split, stratified 0.23 +- 0.01.

`frechet_ratio` divides by the floor at this count and is what to compare; the bare distance holds for one
feature net, one count and one reference. Training images lie in the feature net's training set, which moves
the floor by about 1 % only (on halves of the digits, seen against unseen images, ten nets): input noise
keeps the net from learning them by heart. Their novelty is 0 by definition: they are copies.

Columns: `frechet`, `frechet_ratio`, `precision`, `recall` (k = 3), `density`, `coverage`, `class_accuracy`
(share read as the label that was requested; null without labels), `novelty`, `class_shares` (share of each
class as read by the net).
"""

import importlib.metadata
import os
import platform
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

import genjax
from genjax.core.files import write_json
from genjax.metrics.baselines import (
    NUM_COMPONENTS,
    REGULARIZATION,
    fit_gaussian_mixtures,
    sample_gaussian_mixtures,
)
from genjax.metrics.feature_net import NUM_FEATURES, FeatureNet, accuracy, read, weights_hash
from genjax.metrics.fid import frechet_from_features
from genjax.metrics.novelty import novelty
from genjax.metrics.precision_recall import precision_recall
from genjax.typing import Int, UInt8

NEIGHBOURS = 3
FLOOR_DRAWS = 10
"""Subsets of the training images over which the floor's Fréchet distance is averaged."""
COPIES = "over half the held-out images are copies of training images: split the data anew"
LIBRARIES = ("jax", "flax", "optax", "numpy", "scipy", "scikit-learn")


def evaluate_samples(
    images: UInt8[np.ndarray, "n h w c"],
    labels: Int[np.ndarray, " requested"] | None,
    train: tuple[UInt8[np.ndarray, "m h w c"], Int[np.ndarray, " m"]],
    test: tuple[UInt8[np.ndarray, "r h w c"], Int[np.ndarray, " r"]],
    feature_net: FeatureNet,
    seed: int = 0,
) -> dict[str, Any]:
    """Measure samples in the feature net's features; see the module's head for rows, columns and counts.

    Args:
        images: samples, uint8.
        labels: the class that each was requested to be, or None.
        train: the training split and its labels.
        test: the held-out split and its labels: the reference.
        feature_net: trained on the training split.
        seed: of the subsets and the mixture.

    Returns:
        `{"rows": {row: {column: value}}, "receipt": {...}, "omitted": {row or column: why}, "notes": [...]}`, ready
        for `write_report`. A mixture that can't be fitted has no row, a novelty without a scale is None.

    Raises:
        ValueError: for labels that don't match the samples, or too few samples for the neighbours.
    """
    if labels is not None and len(labels) != len(images):
        raise ValueError(f"{len(images)} samples need as many labels, not {len(labels)}; or give labels=None")
    count = min(len(images), len(train[0]))
    if count <= NEIGHBOURS:
        raise ValueError(f"{count} samples are too few for {NEIGHBOURS} nearest neighbours; sample more")
    sets, draws, omitted = _sets(images, labels, train, count, seed)
    reference = read(feature_net, test[0])
    shared = (reference, train[0], test[0], feature_net)
    rows = {name: {"count": count} | _row(*found, *shared) for name, found in sets.items()}
    if rows["samples"]["novelty"] is None:
        omitted["novelty"] = COPIES
    real = read(feature_net, train[0]).features
    floor = float(np.mean([frechet_from_features(real[draw], reference.features) for draw in draws]))
    rows["real_train"]["frechet"] = floor
    for row in rows.values():
        row["frechet_ratio"] = row["frechet"] / floor if floor else None
    counts = {"samples": len(images), "train": len(train[0]), "test": len(test[0]), "each_row": count}
    return {
        "rows": rows,
        "receipt": _receipt(feature_net, test, counts, labels is not None, seed),
        "omitted": omitted,
        "notes": notes(count, len(test[0])),
    }


def _sets(
    images, labels, train: tuple[np.ndarray, np.ndarray], count: int, seed: int
) -> tuple[dict[str, tuple[np.ndarray, np.ndarray | None]], list[Int[np.ndarray, " count"]], dict[str, str]]:
    """Images and labels of each row, the training images' subsets for the floor, and which row is omitted, and why."""
    rng = np.random.default_rng(seed)
    strata = (None, None) if labels is None else (labels, train[1])
    samples = _pick(images, labels, _subset(len(images), count, strata[0], rng))
    draws = [_subset(len(train[0]), count, strata[1], rng) for _ in range(FLOOR_DRAWS)]
    requested = rng.choice(train[1], count) if samples[1] is None else samples[1]
    sets, omitted = {"samples": samples, "real_train": _pick(*train, draws[0])}, {}
    try:
        mixture = sample_gaussian_mixtures(fit_gaussian_mixtures(*train, seed=seed), requested, seed)
        sets["gaussian_mixture"] = mixture, requested
    except ValueError as error:
        omitted["gaussian_mixture"] = str(error)
    return sets, draws, omitted


def notes(count: int, num_test: int) -> list[str]:
    """What a reader has to know of figures from so few images.

    Args:
        count: images in each row.
        num_test: in the reference.
    """
    if min(count, num_test) > NUM_FEATURES:
        return []
    what = f"{num_test} held-out images" if num_test <= count else f"{count} images a row"
    return [
        f"{what} are too few for a Fréchet distance in {NUM_FEATURES} features, which needs more of each than that and "
        "better ten times as many: it is mostly bias, and compares with nothing but this report's own rows"
    ]


def _subset(total: int, count: int, strata, rng: np.random.Generator) -> Int[np.ndarray, " count"]:
    """Indices of a random subset without replacement, ascending; with strata, each keeps its share."""
    order = rng.permutation(total)
    if strata is not None:
        # Members of a stratum of size s lie at (0.5 + rank) / s, in random order: the first are stratified.
        strata = np.asarray(strata)[order]
        position = np.empty(total)
        for members in (np.flatnonzero(strata == stratum) for stratum in np.unique(strata)):
            position[members] = (np.arange(len(members)) + 0.5) / len(members)
        order = order[np.argsort(position, kind="stable")]
    return np.sort(order[:count])


def _pick(images, labels, chosen: Int[np.ndarray, " n"]) -> tuple[np.ndarray, np.ndarray | None]:
    """The chosen images with their labels."""
    return images[chosen], None if labels is None else np.asarray(labels)[chosen]


def _row(images, labels, reference, train, test, net) -> dict:
    """All columns of one row but the ratio."""
    readings = read(net, images)
    classes = readings.probabilities.argmax(axis=1)
    neighbours = precision_recall(reference.features, readings.features, NEIGHBOURS)
    return {
        "frechet": frechet_from_features(readings.features, reference.features),
        **neighbours._asdict(),
        "class_accuracy": None if labels is None else float((classes == labels).mean()),
        "novelty": _novelty(images, train, test),
        "class_shares": (np.bincount(classes, minlength=net.num_classes) / len(classes)).tolist(),
    }


def _novelty(images, train, test) -> float | None:
    """The novelty, None where `COPIES` leave it without a scale."""
    try:
        return novelty(images, train, test)
    except ValueError:
        return None


def _receipt(net: FeatureNet, test, counts: dict[str, int], stratified: bool, seed: int) -> dict[str, Any]:
    """What a reader needs to repeat the figures or to refuse a comparison."""
    return {
        "feature_net": {
            "hash": weights_hash(net),
            "test_accuracy": accuracy(net, *test),
            **net.record,
        },
        "counts": counts,
        "settings": {
            "neighbours": NEIGHBOURS,
            "floor_draws": FLOOR_DRAWS,
            "stratified": stratified,
            "mixture_components": NUM_COMPONENTS,
            "mixture_regularization": REGULARIZATION,
        },
        "seed": seed,
        "versions": {"genjax": genjax.__version__, "python": platform.python_version()}
        | {name: importlib.metadata.version(name) for name in LIBRARIES},
    }


def write_report(path: str | os.PathLike, report: Mapping[str, Any]) -> None:
    """Write a report as JSON, making its folder; the file appears whole or not at all."""
    write_json(Path(path), report, allow_nan=False)


def format_table(report: Mapping[str, Any]) -> str:
    """The main columns of a report as a plain text table, with a line that says what they hold for."""
    columns = {
        "Fréchet": ("frechet", "{:.3f}"),
        "/ floor": ("frechet_ratio", "{:.2f}"),
        "precision": ("precision", "{:.3f}"),
        "recall": ("recall", "{:.3f}"),
        "class right": ("class_accuracy", "{:.1%}"),
        "novelty": ("novelty", "{:.2f}"),
    }
    lines = [f"{'':18}" + "".join(f"{title:>13}" for title in columns)]
    for name, row in report["rows"].items():
        cells = ["-" if row[key] is None else form.format(row[key]) for key, form in columns.values()]
        lines.append(f"{name.replace('_', ' '):18}" + "".join(f"{cell:>13}" for cell in cells))
    receipt = report["receipt"]
    counts, net = receipt["counts"], receipt["feature_net"]
    lines.append(
        f"{counts['each_row']} images a row against {counts['test']} test images; feature net "
        f"{net['hash'][:12]} ({net['test_accuracy']:.1%} of test images right), seed {receipt['seed']}"
    )
    return "\n".join(lines)
