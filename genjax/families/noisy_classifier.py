"""A classifier of noisy images, for the guidance of diffusion models (ADM, arXiv:2105.05233, section 4).

    minimise  E_t,eps  -log p(y | x_t, t),    x_t = alpha x0 + sigma eps,  t uniform over the schedule

It has to be trained on the noising process (`config.model.schedule`) of the model that it will guide. Guidance takes
the gradient of log p(y | x_t, t) by x_t: `genjax.diffusion.guidance.classifier`.

Evaluation looks at each example at four times, one in each quarter of the schedule: `accuracy_q1` (least noisy) to
`accuracy_q4`, and their mean with the mean loss in nats.

Deviation: the release also reports top-5 accuracy.
"""

from collections.abc import Mapping
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from genjax.core import rng
from genjax.diffusion import process, schedules, time_samplers
from genjax.families.base import (
    Conditions,
    Family,
    LossInputs,
    LossOutputs,
    NoisyClassifier,
    Player,
    Samples,
    Weights,
    read_settings,
    refuse_parents,
)
from genjax.families.base_terms import mean_of, present
from genjax.nn import encoder_unet
from genjax.typing import Array, Batch, DataSpec, Float, Image, Key, Labels, Params, PerExample

NETWORKS = {"encoder_unet": encoder_unet.EncoderUNet}
QUARTERS = 4


class Settings(NamedTuple):
    """`config.model`: see `configs.common.noisy_classifier` for each field."""

    schedule: Mapping[str, Any]
    network: Mapping[str, Any]
    dtype: str = "float32"


class Model(NamedTuple):
    """The pieces that the settings name, ready to use."""

    spec: DataSpec
    network: Any
    schedule: schedules.Schedule


def build(model: Mapping[str, Any], sampling: Mapping[str, Any], spec: DataSpec, parents: Mapping[str, Any]) -> Family:
    """The family for the settings of a config.

    Args:
        model: fields of `Settings`.
        sampling: not read, since nothing is sampled.
        spec: shape and classes of the data.
        parents: none.

    Raises:
        ValueError: for unknown names, or data without labels.
    """
    refuse_parents(parents, "noisy_classifier")
    if not spec.num_classes:
        raise ValueError("a noisy_classifier needs data with class labels, and this has none")
    settings = read_settings(Settings, model, "config.model of the noisy_classifier family")
    network = dict(settings.network)
    name = network.pop("name")
    if name not in NETWORKS:
        raise ValueError(f"unknown network {name!r}; config.model.network.name is one of {sorted(NETWORKS)}")
    pieces = Model(
        spec=spec,
        network=NETWORKS[name](out_channels=spec.num_classes, dtype=settings.dtype, **network),
        schedule=schedules.make(**settings.schedule),
    )
    return Family(
        init=partial(init, pieces),
        players=(Player("model", partial(loss_fn, pieces)),),
        sample=sample,
        evaluate=partial(evaluate, pieces),
        interface=NoisyClassifier(partial(log_prob, pieces), spec.image_shape, spec.num_classes, pieces.schedule),
        logical_axes=tuple(encoder_unet.LOGICAL_AXES),
    )


def init(model: Model, key: Key, batch: Batch):
    """Fresh parameters; nothing beside them is kept."""
    image = jnp.zeros((1, *batch["image"].shape[1:]))
    return {"model": model.network.init(key, image, jnp.zeros((1,)))["params"]}, ()


def loss_fn(model: Model, params: Params, inputs: LossInputs):
    """Mean cross-entropy of a batch in nats, at times drawn for it."""
    key, x0 = inputs.key, inputs.batch["image"]
    t, _ = time_samplers.uniform(model.schedule)(rng.stream(key, "time"), x0.shape[0])
    dropout = {"dropout": rng.stream(key, "dropout")}
    logits = model.network.apply(
        {"params": params}, _noisy(model, x0, t, rng.stream(key, "noise")), t, train=True, rngs=dropout
    )
    nats, correct = _score(logits, inputs.batch["label"])
    return LossOutputs({"loss": mean_of(nats)}, {"accuracy": mean_of(correct)}, ())


def _noisy(model: Model, x0: Image, t: PerExample, key: Key) -> Image:
    level = model.schedule(t)
    return process.diffuse(x0, process.noise_like(key, x0), level)


def _score(logits: Float[Array, "b k"], label: Labels) -> tuple[PerExample, PerExample]:
    """(-log p(label) in nats, 1 where the label is the likeliest class)."""
    correct = (jnp.argmax(logits, axis=-1) == label).astype(jnp.float32)
    return -_select(logits, label), correct


def _select(logits: Float[Array, "b k"], label: Labels) -> PerExample:
    """log p(label); NaN for a label that there isn't, so that a mistake shows."""
    log_probs = jax.nn.log_softmax(logits)
    return jnp.take_along_axis(log_probs, label[:, None], axis=-1, mode="fill", fill_value=jnp.nan)[:, 0]


def log_prob(model: Model, weights: Weights, x_t: Image, t: PerExample, label: Labels) -> PerExample:
    """log p(label | x_t, t) in nats.

    Args:
        model: the family's pieces.
        weights: what to classify with.
        x_t: noisy images.
        t: time of each in the schedule's own unit: the original step, also where sampling skips some.
        label: the classes asked for.
    """
    return _select(model.network.apply({"params": weights.params["model"]}, x_t, t), label)


def evaluate(model: Model, weights: Weights, batch: Batch, key: Key):
    """Loss and accuracy of each example, at one time in each quarter of the schedule."""
    x0 = batch["image"]
    # An example's four times are a quarter of the range apart: one lies in each quarter.
    quarters = time_samplers.even(model.schedule, rng.stream(key, "time"), present(batch), QUARTERS)

    def score(quarter):
        t, noise = quarter
        logits = model.network.apply({"params": weights.params["model"]}, _noisy(model, x0, t, noise), t)
        return _score(logits, batch["label"])

    nats, correct = jax.lax.map(score, (quarters, jax.random.split(rng.stream(key, "noise"), QUARTERS)))
    by_quarter = {f"accuracy_q{i + 1}": correct[i] for i in range(QUARTERS)}
    return {"loss": nats.mean(0), "accuracy": correct.mean(0), **by_quarter}


def sample(weights: Weights, conditions: Conditions, key: Key) -> Samples:
    """Refuses: a classifier draws no pictures.

    Raises:
        ValueError: always.
    """
    raise ValueError(
        "a noisy_classifier draws no pictures: it guides a diffusion model that does, as in "
        "launch/sample.py --workdir=DIFFUSION_RUN --guide=classifier:THIS_RUN:1.0 (and set config.log.sample_every=0)"
    )
