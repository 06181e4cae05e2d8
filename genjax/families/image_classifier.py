"""A classifier of clean images by a vision transformer: BEiT fine-tuned, or trained from scratch (arXiv:2106.08254).

    minimise  - mean log p(y | x),    p(y | x) = softmax(head(norm(mean over patches of the last block)))

with the label y smoothed: a share `label_smoothing` of it is the uniform distribution. A fresh run whose
`config.init_from` names a run of the family `beit` starts from its blocks (`genjax.nn.beit.adopt_trunk`), with a new
head; the optimizer's `layer_decay` then lets lower blocks learn slower. With `init_from` empty it starts from scratch.

Metrics: the loss and `accuracy`; held out, `nats` without smoothing.

Deviation: the paper also mixes images (mixup, cutmix), erases parts of them and changes colours (RandAugment).
"""

from collections.abc import Mapping
from typing import Any, NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
import optax

from genjax.core import rng
from genjax.families.base import Family, LossInputs
from genjax.families.interfaces import ImageClassifier, Weights
from genjax.families.settings import expect_labels
from genjax.families.shared.assembly import builder, mean_loss, one_player
from genjax.families.terms import mean_of
from genjax.nn import beit
from genjax.typing import Array, Batch, DataSpec, Float, Image, Key, Params


class Settings(NamedTuple):
    """`config.model`.

    Attributes:
        network: fields of `genjax.nn.beit.Beit`.
        label_smoothing: share of each label that is spread over all classes.
        dtype: of the network's computation; parameters stay float32.
    """

    network: Mapping[str, Any]
    label_smoothing: float = 0.0
    dtype: str = "float32"


class Model(NamedTuple):
    """The networks and functions that the settings name, ready to use."""

    network: nn.Module
    num_classes: int
    label_smoothing: float

    def init(self, key: Key, batch: Batch):
        """Fresh parameters; nothing beside them is kept."""
        return {"model": self.network.init(key, jnp.zeros((1, *batch["image"].shape[1:])))["params"]}, ()

    def loss_fn(self, params: Params, inputs: LossInputs):
        """Mean cross-entropy of a batch with smoothed labels, in nats."""
        label, dropout = inputs.batch["label"], {"dropout": rng.stream(inputs.key, "dropout")}
        scores = self.network.apply({"params": params}, inputs.batch["image"], train=True, rngs=dropout)
        target = optax.smooth_labels(jax.nn.one_hot(label, self.num_classes), self.label_smoothing)
        right = (jnp.argmax(scores, axis=-1) == label).astype(jnp.float32)
        return mean_loss(optax.softmax_cross_entropy(scores, target), {"accuracy": mean_of(right)})

    def logits(self, weights: Weights, images: Image) -> Float[Array, "b k"]:
        """Logits of the classes."""
        return self.network.apply({"params": weights.params["model"]}, images)

    def evaluate(self, weights: Weights, batch: Batch, key: Key):
        """Of each held-out example: -log p(label) in nats, and 1 where the label is the most likely class."""
        scores, label = self.logits(weights, batch["image"]), batch["label"]
        return {
            "nats": optax.softmax_cross_entropy_with_integer_labels(scores, label),
            "accuracy": (jnp.argmax(scores, axis=-1) == label).astype(jnp.float32),
        }


@builder("image_classifier", Settings)
def build(settings: Settings, spec: DataSpec) -> Family:
    """The family for the settings of a config.

    Raises:
        ValueError: for unknown fields, parents, images that can't be cut into patches, or data without labels.
    """
    expect_labels(spec, "an image_classifier")
    beit.patch_grid(spec.image_shape[:2], settings.network["patch_size"])
    network = beit.BeitClassifier(spec.num_classes, dict(settings.network), dtype=settings.dtype)
    model = Model(network, spec.num_classes, settings.label_smoothing)
    interface = ImageClassifier(model.logits, spec.image_shape, spec.num_classes)
    return one_player(model, interface, beit.LOGICAL_AXES, adopt=adopt)


def adopt(own: Mapping[str, Params], other: Mapping[str, Params]) -> dict[str, Params]:
    """The fresh parameters with the blocks of a BEiT, pretrained or fine-tuned.

    Raises:
        ValueError: for a run of another kind.
    """
    return {"model": beit.adopt_trunk(own["model"], other.get("model", {}))}
