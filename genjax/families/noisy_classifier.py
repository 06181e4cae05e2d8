"""A classifier of noisy images, for the guidance of diffusion models (ADM, arXiv:2105.05233, section 4).

    minimise  E_t,eps  -log p(y | x_t, t),    x_t = alpha x0 + sigma eps,  t uniform over the schedule

It has to be trained on the noising process (`config.model.schedule`) of the model that it will guide. Guidance takes
the gradient of log p(y | x_t, t) by x_t: `genjax.diffusion.guidance.classifier`.

Evaluation looks at each example at four times, one in each quarter of the schedule: `accuracy_q1` (least noisy) to
`accuracy_q4`, and their mean with the mean loss in nats.

Deviation: the release also reports top-5 accuracy.
"""

from collections.abc import Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from genjax.core import rng
from genjax.diffusion import schedules
from genjax.families.base import Family, LossInputs
from genjax.families.interfaces import NoisyClassifier, Weights
from genjax.families.settings import expect_labels, make_named
from genjax.families.shared import noisy
from genjax.families.shared.assembly import builder, mean_loss, one_player
from genjax.families.terms import mean_of
from genjax.nn import encoder_unet
from genjax.typing import Array, Batch, DataSpec, Float, Image, Key, Labels, Params, PerExample

NETWORKS = {"encoder_unet": encoder_unet.EncoderUNet}


class Settings(NamedTuple):
    """`config.model`.

    Attributes:
        schedule: "name" and fields of `genjax.diffusion.schedules`, those of the model to guide.
        network: "name", one of `NETWORKS`, and fields of its module.
        dtype: of the network's computation; parameters stay float32.
    """

    schedule: Mapping[str, Any]
    network: Mapping[str, Any]
    dtype: str = "float32"


class Model(NamedTuple):
    """The networks and functions that the settings name, ready to use."""

    spec: DataSpec
    network: Any
    schedule: schedules.Schedule

    def init(self, key: Key, batch: Batch):
        """Fresh parameters; nothing beside them is kept."""
        image = jnp.zeros((1, *batch["image"].shape[1:]))
        return {"model": self.network.init(key, image, jnp.zeros((1,)))["params"]}, ()

    def loss_fn(self, params: Params, inputs: LossInputs):
        """Mean cross-entropy of a batch in nats, at times drawn for it."""
        x_t, t = noisy.draw(self.schedule, inputs.batch["image"], inputs.key)
        dropout = {"dropout": rng.stream(inputs.key, "dropout")}
        logits = self.network.apply({"params": params}, x_t, t, train=True, rngs=dropout)
        nats, correct = _score(logits, inputs.batch["label"])
        return mean_loss(nats, {"accuracy": mean_of(correct)})

    def log_prob(self, weights: Weights, x_t: Image, t: PerExample, label: Labels) -> PerExample:
        """log p(label | x_t, t) in nats.

        Args:
            weights: what to classify with.
            x_t: noisy images.
            t: time of each in the schedule's own unit: the original step, also where sampling skips some.
            label: the classes requested.
        """
        return _select(self.network.apply({"params": weights.params["model"]}, x_t, t), label)

    def evaluate(self, weights: Weights, batch: Batch, key: Key):
        """Loss and accuracy of each example, at one time in each quarter of the schedule."""

        def score(x_t, t):
            return _score(self.network.apply({"params": weights.params["model"]}, x_t, t), batch["label"])

        return noisy.by_quarters(self.schedule, batch, key, score)


@builder("noisy_classifier", Settings)
def build(settings: Settings, spec: DataSpec) -> Family:
    """The family for the settings of a config.

    Raises:
        ValueError: for unknown names, or data without labels.
    """
    expect_labels(spec, "a noisy_classifier")
    sizes = {"out_channels": spec.num_classes, "dtype": settings.dtype}
    network = make_named("network", NETWORKS, settings.network, "config.model.network", **sizes)
    model = Model(spec, network, schedules.make(**settings.schedule))
    interface = NoisyClassifier(model.log_prob, spec.image_shape, spec.num_classes, model.schedule)
    return one_player(model, interface, encoder_unet.LOGICAL_AXES)


def _score(logits: Float[Array, "b k"], label: Labels) -> tuple[PerExample, PerExample]:
    """(-log p(label) in nats, 1 where the label is the most likely class)."""
    correct = (jnp.argmax(logits, axis=-1) == label).astype(jnp.float32)
    return -_select(logits, label), correct


def _select(logits: Float[Array, "b k"], label: Labels) -> PerExample:
    """log p(label); NaN for a label that there isn't, so that a mistake shows."""
    log_probs = jax.nn.log_softmax(logits)
    return jnp.take_along_axis(log_probs, label[:, None], axis=-1, mode="fill", fill_value=jnp.nan)[:, 0]
