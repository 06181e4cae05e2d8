"""What a linear classifier reads from the features of a stage, beside what it reads from its rivals.

The rivals are the pixels themselves, and the same network with the random weights that training started from: what they
give is not the training's merit. On the stage's own labels all of them also meet noise on the images
(`genjax.metrics.linear_probe`); other labelled datasets, such as those that a network for features is meant for, under
the noise that is requested, none by default. It shows a difference where random weights already tell all: the colour of
the one object of a scene is in the mean of its pixels, which any linear map keeps.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from genjax.core import rng
from genjax.data import loader
from genjax.families.interfaces import Weights
from genjax.metrics import linear_probe
from genjax.stages import Stage, example_batch

NOISES = (0.0, 0.5, 1.0)
"""Standard deviations of the noise on images in [-1, 1] under which features are probed."""
DRAWS = 3
"""Draws of that noise; their scores are averaged."""
BATCH = 250
"""Images whose features are computed at once."""


def probe(stage: Stage, seed: int = 0) -> dict[str, float]:
    """Of the stage's own labels, without noise and with: rival and noise -> share of held-out images classified
    right.
    """
    settings = stage.config.data.to_dict() | {"encoded": ""}
    splits = [_labelled(settings, settings[split]) for split in ("split", "eval_split")]
    figures = {}
    for sigma in NOISES:
        for fit_clean in (False, True) if sigma else (False,):
            for name, read in rivals(stage, seed).items():
                title = f"{name}, noise {sigma:g}" + (", fitted without" if fit_clean else "")
                figures[title] = _score(read, splits, sigma, seed, fit_clean)
    return figures


def probe_other(stage: Stage, data: str, noises: Sequence[float] = (0.0,), seed: int = 0) -> dict[str, float]:
    """Of the labels of another dataset: "DATA: rival" -> share of its held-out images classified right.

    Under noise it is "DATA, noise SIGMA: rival".

    Args:
        stage: a stage whose interface is a `FeatureExtractor`.
        data: NAME or NAME@SPLIT, what the classifier is fitted to: "captioned_shapes/32_shape@train[:500]" for 500
            labels; by default the split "train". The held-out split is that of the stage, by its name.
        noises: standard deviations of the noise on images, of training and of test.
        seed: of the random weights and of the noise.

    Raises:
        ValueError: for a dataset that isn't there, or has no labels.
    """
    name, _, split = data.partition("@")
    settings = stage.config.data.to_dict() | {"encoded": "", "name": name}
    splits = [_labelled(settings, split) for split in (split or "train", settings["eval_split"])]
    return {
        data + (f", noise {sigma:g}" if sigma else "") + f": {rival}": _score(read, splits, sigma, seed)
        for sigma in noises
        for rival, read in rivals(stage, seed).items()
    }


def rivals(stage: Stage, seed: int = 0) -> dict[str, linear_probe.Features]:
    """The stage's features, those of random weights, and pixels."""
    network = jax.jit(stage.interface.features)

    def read(weights: Weights) -> linear_probe.Features:
        return lambda images: _in_batches(lambda part: network(weights, part), images)

    return {
        "features": read(stage.weights),
        "random weights": read(random_weights(stage, seed)),
        "pixels": linear_probe.pixels,
    }


def random_weights(stage: Stage, seed: int = 0) -> Weights:
    """Fresh parameters of a stage's family; upstream stages keep theirs."""
    batch = jax.tree.map(lambda shape: jnp.zeros(shape.shape, shape.dtype), example_batch(stage.spec))
    params, extra = jax.jit(stage.family.init)(rng.stream(jax.random.key(seed), "random weights"), batch)
    return Weights(params, extra, stage.weights.frozen)


def _score(read: linear_probe.Features, splits: list[tuple], sigma: float, seed: int, fit_clean: bool = False) -> float:
    """The probe's share of right answers under a noise, the mean over draws of it."""
    draws = range(seed, seed + (DRAWS if sigma else 1))
    train, test = splits
    return float(np.mean([linear_probe.probe_noisy(read, train, test, sigma, draw, fit_clean) for draw in draws]))


def _labelled(settings: Mapping[str, Any], split: str) -> tuple[np.ndarray, np.ndarray]:
    """(images, labels) of a split."""
    arrays = loader.Data(settings).load_arrays(split)
    if "label" not in arrays:
        raise ValueError(f"the dataset {settings['name']!r} has no labels to probe features with")
    return arrays["image"], arrays["label"]


def _in_batches(network: Callable, images: np.ndarray) -> np.ndarray:
    """The features of many images; the last batch is filled up, so that there is one compilation."""
    size, parts = min(BATCH, len(images)), []
    for start in range(0, len(images), size):
        chosen = np.minimum(np.arange(start, start + size), len(images) - 1)
        parts.append(np.asarray(network(jnp.asarray(images[chosen]))))
    return np.concatenate(parts)[: len(images)]
