"""A classifier of clean pictures by a vision transformer: BEiT fine-tuned, or trained from scratch (arXiv:2106.08254).

    minimise  - mean log p(y | x),    p(y | x) = softmax(head(norm(mean over patches of the last block)))

with the label y smoothed: a share `label_smoothing` of it is the uniform distribution. A fresh run whose
`config.init_from` names a run of the family `beit` starts from its blocks (`genjax.nn.beit.adopt_trunk`), with a new
head; the optimizer's `layer_decay` then lets lower blocks learn slower. With `init_from` empty it starts from scratch.

Metrics: the loss and `accuracy`; held out, `nats` without smoothing.

Deviation: the paper also mixes pictures (mixup, cutmix), erases parts of them and changes colours (RandAugment).
"""

from collections.abc import Mapping
from functools import partial
from typing import Any, NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
import optax

from genjax.core import rng
from genjax.families.base import (
    Conditions,
    Family,
    ImageClassifier,
    LossInputs,
    LossOutputs,
    Player,
    Samples,
    Weights,
    read_settings,
    refuse_parents,
)
from genjax.families.base_terms import mean_of
from genjax.nn import beit
from genjax.typing import Array, Batch, DataSpec, Float, Image, Key, Params


class Settings(NamedTuple):
    """`config.model`: see `configs.beits.classifier` for each field."""

    network: Mapping[str, Any]
    label_smoothing: float = 0.0
    dtype: str = "float32"


class Model(NamedTuple):
    """The pieces that the settings name, ready to use."""

    network: nn.Module
    num_classes: int
    label_smoothing: float


def build(model: Mapping[str, Any], sampling: Mapping[str, Any], spec: DataSpec, parents: Mapping[str, Any]) -> Family:
    """The family for the settings of a config.

    Args:
        model: fields of `Settings`.
        sampling: not read, since nothing is sampled.
        spec: shape and classes of the data.
        parents: none.

    Raises:
        ValueError: for unknown fields, pictures that can't be cut into patches, or data without labels.
    """
    refuse_parents(parents, "image_classifier")
    settings = read_settings(Settings, model, "config.model of the image_classifier family")
    if not spec.num_classes:
        raise ValueError("an image_classifier needs data with class labels, and this has none")
    beit.patch_grid(spec.image_shape[:2], settings.network["patch_size"])
    network = beit.BeitClassifier(spec.num_classes, dict(settings.network), dtype=settings.dtype)
    pieces = Model(network, spec.num_classes, settings.label_smoothing)
    return Family(
        init=partial(init, pieces),
        players=(Player("model", partial(loss_fn, pieces)),),
        sample=sample,
        evaluate=partial(evaluate, pieces),
        interface=ImageClassifier(partial(logits, pieces), spec.image_shape, spec.num_classes),
        logical_axes=tuple(beit.LOGICAL_AXES),
        adopt=adopt,
    )


def init(model: Model, key: Key, batch: Batch):
    """Fresh parameters; nothing beside them is kept."""
    return {"model": model.network.init(key, jnp.zeros((1, *batch["image"].shape[1:])))["params"]}, ()


def adopt(own: Mapping[str, Params], other: Mapping[str, Params]) -> dict[str, Params]:
    """The fresh parameters with the blocks of a BEiT, pretrained or fine-tuned.

    Raises:
        ValueError: for a run of another kind.
    """
    return {"model": beit.adopt_trunk(own["model"], other.get("model", {}))}


def loss_fn(model: Model, params: Params, inputs: LossInputs):
    """Mean cross-entropy of a batch with smoothed labels, in nats."""
    label, dropout = inputs.batch["label"], {"dropout": rng.stream(inputs.key, "dropout")}
    scores = model.network.apply({"params": params}, inputs.batch["image"], train=True, rngs=dropout)
    target = optax.smooth_labels(jax.nn.one_hot(label, model.num_classes), model.label_smoothing)
    right = (jnp.argmax(scores, axis=-1) == label).astype(jnp.float32)
    return LossOutputs({"loss": mean_of(optax.softmax_cross_entropy(scores, target))}, {"accuracy": mean_of(right)}, ())


def logits(model: Model, weights: Weights, images: Image) -> Float[Array, "b k"]:
    """Logits of the classes."""
    return model.network.apply({"params": weights.params["model"]}, images)


def evaluate(model: Model, weights: Weights, batch: Batch, key: Key):
    """Of each held-out example: -log p(label) in nats, and 1 where the label is the likeliest class."""
    scores, label = logits(model, weights, batch["image"]), batch["label"]
    return {
        "nats": optax.softmax_cross_entropy_with_integer_labels(scores, label),
        "accuracy": (jnp.argmax(scores, axis=-1) == label).astype(jnp.float32),
    }


def sample(weights: Weights, conditions: Conditions, key: Key) -> Samples:
    """Refuses: a classifier draws no pictures.

    Raises:
        ValueError: always.
    """
    raise ValueError("an image_classifier draws no pictures: measure it with launch/evaluate.py --workdir=THIS_RUN")
