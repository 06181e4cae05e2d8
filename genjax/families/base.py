"""The seam between families and everything above them.

A family is an ordered tuple of *players*: each has its own parameters, its own loss and its own optimizer, and they
are trained in order, within one step. One player makes a VAE or a diffusion model; two make a GAN; a codebook kept
by moving averages or the statistics of batch norm live in `extra`, which losses return anew. A loss is a sum of terms
`weight * total / count`, whose sums and counts add up over the pieces of a batch. The trainer knows this
file and no family; a family knows this file and no trainer.
"""

from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any, NamedTuple, TypeVar

from genjax.diffusion.denoisers import Denoiser, Guide
from genjax.diffusion.schedules import Schedule
from genjax.families.base_terms import Metrics, Term
from genjax.typing import (
    Array,
    Batch,
    Bool,
    DataSpec,
    Float,
    Image,
    Int,
    Key,
    Labels,
    Params,
    PerExample,
    PyTree,
    Tokens,
)

Fields = TypeVar("Fields", bound=tuple)
Interface = TypeVar("Interface")

Codes = tuple[Int[Array, "b _ _"], ...]
"""Discrete codes of each level of a tokenizer, coarse to fine."""


class LossInputs(NamedTuple):
    """All that a player's loss sees beside its own parameters.

    Attributes:
        others: player name -> parameters of the *other* players, as they stand within this step.
        extra: state that is not optimised: codebook averages, batch statistics, loss history.
        frozen: stage name -> `Weights` of the upstream stages.
        batch: the examples of this step, float32 images in [-1, 1] under "image".
        key: random key of this player and step.
        step: training step, from 0.
    """

    others: Mapping[str, Params]
    extra: PyTree
    frozen: Mapping[str, PyTree]
    batch: Batch
    key: Key
    step: Int[Array, ""]


class LossOutputs(NamedTuple):
    """What a player's loss gives.

    Attributes:
        terms: of which the loss is the sum of `weight * total / count`. The trainer divides by the count of the whole
            batch, taken before the backward pass, so that it may cut the batch into pieces (`training.microbatches`),
            of whatever counts.
        metrics: each reported as `total / count`, of the whole batch too.
        extra: the new state that is not optimised. Of a batch that is cut it passes from piece to piece.
    """

    terms: Mapping[str, Term]
    metrics: Mapping[str, Term]
    extra: PyTree


LossFn = Callable[[Params, LossInputs], LossOutputs]
"""(parameters, LossInputs) -> LossOutputs."""


def _as_they_are(metrics: Metrics) -> Metrics:
    return metrics


class Player(NamedTuple):
    """One optimised network, or set of networks: "model", "generator", "discriminator".

    Attributes:
        name: names its parameters, its optimizer settings and its metrics.
        loss: what it minimises.
        every: it is trained on every n-th step.
        batch_coupled: why its loss, or what becomes of `extra`, is of the batch as a whole and no sum over examples:
            negatives, batch statistics, a maximum of means, an average that moves once a batch. Such a player is
            refused with `training.microbatches` > 1, by this reason. Empty where pieces add up to the batch.
        summarize: makes scalars of the whole batch's metrics where the loss gives more than those: the perplexity of
            the shares of codes.
    """

    name: str
    loss: LossFn
    every: int = 1
    batch_coupled: str = ""
    summarize: Callable[[Metrics], Metrics] = _as_they_are


class Weights(NamedTuple):
    """What sampling and evaluation need of a trained family: player name -> parameters (moving averages where
    they are kept), `extra`, and the frozen weights of upstream stages."""

    params: Mapping[str, Params]
    extra: PyTree
    frozen: Mapping[str, PyTree]


class Samples(NamedTuple):
    """Generated images in [-1, 1], and the way there (estimates from noise to image) where it was asked for."""

    images: Image
    trajectory: Float[Array, "t b h w c"] | None = None


Conditions = Mapping[str, Array]
"""What is asked of `sample`. "index" int32 [b] is always there: the number of each sample, which alone selects its
noise, so that a picture doesn't depend on the batch that it is drawn in. Others by family: "label" int32 [b], "tokens"
int32 [b, s] of a text, and the scalars [] that `ImageSampler.options` names."""


SampleFn = Callable[[Weights, Conditions, Key], Samples]
"""(weights, conditions, key) -> Samples."""

GuideFn = Callable[[PyTree, Conditions, str], Guide]
"""(inputs, conditions, mode) -> Guide: a pull on sampling from outside the family, such as a noisy classifier's.

`inputs` are all its arrays: another network's weights, features of a reference picture, the scale. They are traced,
so other values don't recompile. `conditions` are those of the family's `sample`; `mode` is how the sampler takes a
gradient, "mean" or "score" of `genjax.diffusion.guidance`."""


EvaluateFn = Callable[[Weights, Batch, Key], Mapping[str, PerExample]]
"""(weights, batch, key) -> metric name -> value of each example [b].

`batch["present"]` bool [b], where it is there, is false at the examples that fill up the last batch of a split. Their
values aren't counted; and where examples meet, as negatives, neighbours or in statistics, they may not take part
(`base_terms.present`)."""


class Guidable(NamedTuple):
    """What a diffusion model offers to those who guide its sampling from outside.

    Attributes:
        schedule: the noising process that it was trained on.
        guided: (guides) -> its `sample` under them. The inputs of each, in the same order, are in
            `weights.frozen["guides"]`. They act after thresholding, one on the other.
    """

    schedule: Schedule
    guided: Callable[[tuple[GuideFn, ...]], SampleFn]


class Distillable(NamedTuple):
    """What a diffusion model offers to students that are to learn what it does in many steps.

    Attributes:
        schedule: the noising process that it was trained on.
        init: (key, batch) -> fresh parameters of its network.
        params: (weights) -> the parameters of its network.
        denoiser: (parameters, conditions) -> its network as a denoiser, not thresholded. "label" of a conditional model
            and "guidance_scale" count among the conditions.
    """

    schedule: Schedule
    init: Callable[[Key, Batch], Params]
    params: Callable[[Weights], Params]
    denoiser: Callable[[Params, Conditions], Denoiser]


class ImageSampler(NamedTuple):
    """The interface of a family from which images can be drawn.

    Attributes:
        sample: draws them.
        image_shape: (height, width, channels).
        num_classes: labels that `sample` asks for, 0 = none.
        options: scalar conditions that `sample` knows, "guidance_scale" or "truncation" -> the value that is as good as
            none at all, at which it is left out. Defaults are in `config.sampling`, by the same names.
        guidable: how to guide it from outside; None of families without a noising process.
        likelihoods: name -> (weights, batch, key) -> metric name -> value of each example [b]: likelihoods that are too
            costly for `Family.evaluate`, "bound" and "ode" of a diffusion model.
        distillable: what a student of it learns from; None of families that can have none.
        text_length: tokens of the text that `sample` asks for, 0 = none.
        invert: (weights, conditions, key) -> "latent" [b, h, w, c], from which `sample` under the same conditions would
            come to `conditions["source"]`; None of families without such.
    """

    sample: SampleFn
    image_shape: tuple[int, int, int]
    num_classes: int
    options: Mapping[str, float] = MappingProxyType({})
    guidable: Guidable | None = None
    likelihoods: Mapping[str, EvaluateFn] = MappingProxyType({})
    distillable: Distillable | None = None
    text_length: int = 0
    invert: Callable[[Weights, Conditions, Key], Image] | None = None


class SuperResolver(NamedTuple):
    """The interface of a family that draws large images for small ones: a later stage of a cascade.

    Attributes:
        sample: draws them; `conditions["low_res"]` [b, *low_res_shape] are the small images, in [-1, 1].
        image_shape: (height, width, channels) of the large images.
        low_res_shape: of the small ones.
        num_classes: labels that `sample` asks for, 0 = none.
        options: as those of an `ImageSampler`; "aug_level" is the noise to hide the small images' mistakes with.
        text_length: tokens of the text that `sample` asks for, 0 = none.
    """

    sample: SampleFn
    image_shape: tuple[int, int, int]
    low_res_shape: tuple[int, int, int]
    num_classes: int
    options: Mapping[str, float] = MappingProxyType({})
    text_length: int = 0


class NoisyClassifier(NamedTuple):
    """The interface of a classifier of noisy images.

    Attributes:
        log_prob: (weights, x_t, t [b] in the schedule's unit, label) -> log p(label | x_t, t) [b] in nats.
        image_shape: (height, width, channels).
        num_classes: classes that it tells apart.
        schedule: the noising process that it was trained on.
    """

    log_prob: Callable[[Weights, Image, PerExample, Labels], PerExample]
    image_shape: tuple[int, int, int]
    num_classes: int
    schedule: Schedule


class Tokenizer(NamedTuple):
    """The interface of a family that turns pictures into discrete codes and back.

    Attributes:
        encode: (weights, images [b, h, w, c]) -> codes, int32 [b, *grid] of each level, coarse to fine.
        decode: (weights, codes of all levels, coarse to fine) -> images [b, h, w, c] in [-1, 1].
        num_codes: size of the codebook, K: codes are 0..K-1. Every level has a codebook of its own of this size.
        grids: (height, width) of each level's codes, coarse to fine; one level for most.
        image_shape: (height, width, channels) of the pictures.
    """

    encode: Callable[[Weights, Image], Codes]
    decode: Callable[[Weights, Codes], Image]
    num_codes: int
    grids: tuple[tuple[int, int], ...]
    image_shape: tuple[int, int, int]


class FeatureExtractor(NamedTuple):
    """The interface of a family that is trained for its features.

    Attributes:
        features: (weights, images [b, h, w, c]) -> features [b, d].
        image_shape: (height, width, channels) of the pictures.
        dim: d.
    """

    features: Callable[[Weights, Image], Float[Array, "b d"]]
    image_shape: tuple[int, int, int]
    dim: int


class ImageClassifier(NamedTuple):
    """The interface of a classifier of clean images.

    Attributes:
        logits: (weights, images [b, h, w, c]) -> logits [b, num_classes].
        image_shape: (height, width, channels) of the pictures.
        num_classes: classes that it tells apart.
    """

    logits: Callable[[Weights, Image], Float[Array, "b k"]]
    image_shape: tuple[int, int, int]
    num_classes: int


class TextFeatures(NamedTuple):
    """What a network makes of texts.

    Attributes:
        states: features of each token.
        mask: true at tokens, false at padding.
        pooled: features of each text as a whole.
    """

    states: Float[Array, "b s d"]
    mask: Bool[Array, "b s"]
    pooled: Float[Array, "b d2"]


class TextEncoder(NamedTuple):
    """The interface of a network that reads texts: a frozen language model.

    Attributes:
        encode: (weights, tokens int32 [b, length], 0 = padding) -> TextFeatures.
        length: tokens of a text, padding included.
        vocab_size: tokens are 0..vocab_size-1.
        dim: of the features of each token.
        pooled_dim: of the features of a whole text.
    """

    encode: Callable[[Weights, Tokens], TextFeatures]
    length: int
    vocab_size: int
    dim: int
    pooled_dim: int


class ImageTextEncoder(NamedTuple):
    """The interface of a network that puts pictures and texts into one space: CLIP.

    Attributes:
        encode_image: (weights, images, t [b] in the schedule's unit; None of a model of clean images) -> embeddings
            [b, dim] of length 1.
        encode_text: (weights, tokens) -> embeddings [b, dim] of length 1.
        logit_scale: (weights) -> [], what products of embeddings are multiplied by; not its logarithm.
        text: its text tower as a `TextEncoder`, whose pooled features are the embeddings.
        image_shape: (height, width, channels) of the pictures.
        dim: of the embeddings.
        schedule: of the noise on the pictures that it knows; None of a model of clean images.
    """

    encode_image: Callable[[Weights, Image, PerExample | None], Float[Array, "b d"]]
    encode_text: Callable[[Weights, Tokens], Float[Array, "b d"]]
    logit_scale: Callable[[Weights], Float[Array, ""]]
    text: TextEncoder
    image_shape: tuple[int, int, int]
    dim: int
    schedule: Schedule | None = None


class EmbeddingSampler(NamedTuple):
    """The interface of a prior: it draws CLIP embeddings of pictures for texts.

    Attributes:
        sample: (weights, conditions, key) -> embeddings [b, dim] of length 1; conditions have "index" [b], "tokens"
            [b, text_length] and the scalars of `options`.
        dim: of the embeddings.
        text_length: tokens of a text.
        options: as those of an `ImageSampler`.
    """

    sample: Callable[[Weights, Conditions, Key], Float[Array, "b d"]]
    dim: int
    text_length: int
    options: Mapping[str, float] = MappingProxyType({})


class Family(NamedTuple):
    """A generator as pure functions.

    Attributes:
        init: (key, batch) -> ({player: parameters}, extra).
        players: trained in this order within a step.
        sample: (weights, conditions, key) -> Samples.
        evaluate: see `EvaluateFn`.
        interface: what later stages see of it, e.g. an `ImageSampler`.
        logical_axes: (regex on the parameter's path, name of each of its axes), as the nn files state them.
        reconstruct: (weights, images, key) -> images, of a family that encodes and decodes, or makes images small and
            large again; None of others.
        adopt: (its own fresh parameters, those of the run that `config.init_from` names) -> what a fresh run starts
            from, by player, of a family that starts from runs of another network too; None where it has to be the same.
    """

    init: Callable[[Key, Batch], tuple[dict[str, Params], PyTree]]
    players: tuple[Player, ...]
    sample: SampleFn
    evaluate: EvaluateFn
    interface: Any
    logical_axes: tuple[tuple[str, tuple[str | None, ...]], ...] = ()
    reconstruct: Callable[[Weights, Image, Key], Image] | None = None
    adopt: Callable[[Mapping[str, Params], Mapping[str, Params]], dict[str, Params]] | None = None


Builder = Callable[[Mapping[str, Any], Mapping[str, Any], DataSpec, Mapping[str, Any]], Family]
"""(model settings, sampling settings, what the data is, parents) -> Family: the `build` of each family's file.

`parents` holds the interfaces of the upstream stages, by the names of `config.stages`. Their weights arrive under the
same names in `LossInputs.frozen` and `Weights.frozen`, as a `Weights` each."""


def expect_parent(parents: Mapping[str, Any], name: str, kind: type[Interface], family: str) -> Interface:
    """The parent `name`, which has to be of one kind.

    Raises:
        ValueError: if there is none, or if it is something else.
    """
    if name not in parents:
        raise ValueError(
            f"the family {family} needs a {kind.__name__}: name the workdir of one, --config.stages.{name}.workdir=DIR"
        )
    if not isinstance(parents[name], kind):
        raise ValueError(
            f"config.stages.{name}.workdir has to be the run of a {kind.__name__}; "
            f"the one named is a {type(parents[name]).__name__}"
        )
    return parents[name]


def refuse_parents(parents: Mapping[str, Any], family: str) -> None:
    """For families that build on no other stage.

    Raises:
        ValueError: if there is a parent.
    """
    if parents:
        raise ValueError(f"the family {family} builds on no other stage; remove config.stages.{sorted(parents)[0]}")


def read_settings(kind: type[Fields], settings: Mapping[str, Any], where: str) -> Fields:
    """The settings of a config as the NamedTuple `kind`.

    Args:
        kind: its fields without a default have to be there.
        settings: field name -> value.
        where: what the settings are, for the error: "config.model of the diffusion family".

    Raises:
        ValueError: for fields that there aren't, or that are missing.
    """
    unknown = sorted(settings.keys() - set(kind._fields))
    missing = sorted(set(kind._fields) - kind._field_defaults.keys() - settings.keys())
    if unknown or missing:
        wrong = f"unknown {unknown}" if unknown else f"missing {missing}"
        raise ValueError(f"{where}: {wrong}; its fields are {list(kind._fields)}")
    return kind(**settings)
