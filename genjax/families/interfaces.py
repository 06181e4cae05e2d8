"""Interfaces: what later stages, pipelines and samplers see of a trained family, as a closed union of NamedTuples.

An interface is a record of pure functions of a family's `Weights`, and of the sizes that callers need to know. A family
has one; code that needs a capability reads its field.
"""

from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, NamedTuple

from genjax.diffusion.denoisers import Denoiser, Guide
from genjax.diffusion.schedules import Schedule
from genjax.families.conditions import Conditions
from genjax.typing import (
    Array,
    Batch,
    Bool,
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

ABSENT: Mapping[str, Any] = MappingProxyType(
    {
        "sample": None,
        "optional": (),
        **dict.fromkeys(("sample_embeddings", "low_res_shape", "guidable", "distillable", "invert", "log_prob")),
        **dict.fromkeys(("decode", "features", "logits", "encode_image")),
        **dict.fromkeys(("num_classes", "text_length"), 0),
        **dict.fromkeys(("options", "likelihoods"), MappingProxyType({})),
    }
)
"""What each capability is of an interface that hasn't it: every field can be read of every kind of interface."""


def _kind(instead: str) -> Callable[[Any], Any]:
    """Makes a NamedTuple a kind of interface: its missing capabilities are those of `ABSENT`.

    Args:
        instead: what to do with such a run rather than to sample images from it, for errors.
    """

    def complete(kind: Any) -> Any:
        for name, absent in ABSENT.items():
            if name not in kind._fields:
                setattr(kind, name, absent)
        kind.instead = instead
        return kind

    return complete


Codes = tuple[Int[Array, "b _ _"], ...]
"""Discrete codes of each level of a tokenizer, coarse to fine."""


class Weights(NamedTuple):
    """What sampling and evaluation need of a trained family: player name -> parameters (moving averages where
    they are kept), `extra`, the frozen weights of upstream stages, and the inputs of the guides, if it is guided.
    """

    params: Mapping[str, Params]
    extra: PyTree
    frozen: Mapping[str, PyTree]
    guides: tuple[PyTree, ...] = ()


class Samples(NamedTuple):
    """Generated images in [-1, 1], and the way there (estimates from noise to image) where it was requested."""

    images: Image
    trajectory: Float[Array, "t b h w c"] | None = None


Index = Int[Array, " b"]
"""The number of each sample. With the key of the whole set it alone selects the sample's noise (`rng.of_samples`), so
that an image doesn't depend on the batch that it is drawn in."""


SampleFn = Callable[[Weights, Conditions, Index, Key], Samples]
"""(weights, conditions, index, key) -> Samples, one for each entry of `index`; the key is of the whole set."""


GuideFn = Callable[[PyTree, Conditions, str], Guide]
"""(inputs, conditions, mode) -> Guide: guidance of sampling from outside the family, such as a noisy classifier's.

`inputs` are all its arrays: another network's weights, features of a reference image, the scale. They are traced,
so other values don't recompile. `conditions` are those of the family's `sample`; `mode` is how the sampler takes a
gradient, "mean" or "score" of `genjax.diffusion.guidance`."""


EvaluateFn = Callable[[Weights, Batch, Key], Mapping[str, PerExample]]
"""(weights, batch, key) -> metric name -> value of each example [b].

`batch["present"]` bool [b], where it is there, is false at the examples that fill up the last batch of a split. Their
values aren't counted; and where examples meet, as negatives, neighbours or in statistics, they may not take part
(`terms.present`)."""


class Guidable(NamedTuple):
    """What a diffusion model offers to those who guide its sampling from outside.

    Attributes:
        schedule: the noising process that it was trained on.
        guided: (guides) -> its `sample` under them. The inputs of each, in the same order, are in
            `weights.guides`. They act after thresholding, one on the other.
    """

    schedule: Schedule
    guided: Callable[[tuple[GuideFn, ...]], SampleFn]


class Distillable(NamedTuple):
    """What a diffusion model offers to students that are to learn what it does in many steps.

    Attributes:
        schedule: the noising process that it was trained on.
        init: (key, batch) -> fresh parameters of its network.
        params: (weights) -> the parameters of its network.
        denoiser: (parameters, conditions) -> its network as a denoiser, not thresholded, guided where the options have
            a "guidance_scale".
    """

    schedule: Schedule
    init: Callable[[Key, Batch], Params]
    params: Callable[[Weights], Params]
    denoiser: Callable[[Params, Conditions], Denoiser]


@_kind("sample from it with genjax-sample")
class ImageSampler(NamedTuple):
    """The interface of a family from which images can be drawn.

    Attributes:
        sample: draws them.
        image_shape: (height, width, channels).
        num_classes: labels that `sample` needs, 0 = none.
        options: scalars that `sample` knows, "guidance_scale" or "truncation" -> its neutral value, at
            which it is dropped. Defaults are in `config.sampling`, by the same names.
        guidable: how to guide it from outside; None of families without a noising process.
        likelihoods: name -> (weights, batch, key) -> metric name -> value of each example [b]: likelihoods that are too
            costly for `Family.evaluate`, "bound" and "ode" of a diffusion model.
        distillable: what a student of it learns from; None of families that can have none.
        text_length: tokens of the text that `sample` needs, 0 = none.
        invert: (weights, conditions, index, key) -> `latent`, from which `sample` under the same conditions would come
            to their `source`; None of families without such.
        low_res_shape: (height, width, channels) of the low-resolution images `low_res` that it upsamples, of a
            super-resolution model, a later stage of a cascade; None of a model that samples from nothing. Its option
            "aug_level" is the noise to hide their mistakes with.
        optional: the fields of `Conditions` that `sample` takes beside those that it needs.
    """

    sample: SampleFn
    image_shape: tuple[int, int, int]
    num_classes: int
    options: Mapping[str, float] = MappingProxyType({})
    guidable: Guidable | None = None
    likelihoods: Mapping[str, EvaluateFn] = MappingProxyType({})
    distillable: Distillable | None = None
    text_length: int = 0
    invert: Callable[[Weights, Conditions, Index, Key], Image] | None = None
    low_res_shape: tuple[int, int, int] | None = None
    optional: tuple[str, ...] = ()

    @property
    def conditions(self) -> tuple[str, ...]:
        """The fields of `Conditions` that `sample` takes."""
        needed = {"label": self.num_classes, "tokens": self.text_length, "low_res": self.low_res_shape}
        return (*(name for name, size in needed.items() if size), *self.optional)


@_kind("it guides a diffusion model, as in genjax-sample --workdir=DIFFUSION_RUN --guide=classifier:THIS_RUN:1.0")
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


@_kind(
    "it turns images into codes and back: train a prior over its codes, a config of the family code_prior "
    "(genjax-train --config=configs/vqvae_prior_digits.py, or vqvae2_prior_digits.py for several levels, "
    "--config.stages.tokenizer.workdir=THIS_RUN --workdir=DIR), and sample from that"
)
class Tokenizer(NamedTuple):
    """The interface of a family that turns images into discrete codes and back.

    Attributes:
        encode: (weights, images [b, h, w, c]) -> codes, int32 [b, *grid] of each level, coarse to fine.
        decode: (weights, codes of all levels, coarse to fine) -> images [b, h, w, c] in [-1, 1].
        num_codes: size of the codebook, K: codes are 0..K-1. Every level has a codebook of its own of this size.
        grids: (height, width) of each level's codes, coarse to fine; one level for most.
        image_shape: (height, width, channels) of the images.
    """

    encode: Callable[[Weights, Image], Codes]
    decode: Callable[[Weights, Codes], Image]
    num_codes: int
    grids: tuple[tuple[int, int], ...]
    image_shape: tuple[int, int, int]


@_kind(
    "it is for features: measure them with genjax-evaluate --probe_data=DATASET; to sample, train a "
    "generator, such as configs/vae_digits.py"
)
class FeatureExtractor(NamedTuple):
    """The interface of a family that is trained for its features.

    Attributes:
        features: (weights, images [b, h, w, c]) -> features [b, d].
        image_shape: (height, width, channels) of the images.
        dim: d.
    """

    features: Callable[[Weights, Image], Float[Array, "b d"]]
    image_shape: tuple[int, int, int]
    dim: int


@_kind("measure it with genjax-evaluate --workdir=THIS_RUN")
class ImageClassifier(NamedTuple):
    """The interface of a classifier of clean images.

    Attributes:
        logits: (weights, images [b, h, w, c]) -> logits [b, num_classes].
        image_shape: (height, width, channels) of the images.
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


@_kind("it reads texts for other models: name it in their config.stages")
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


@_kind(
    "it guides a diffusion model, as in genjax-sample --workdir=DIFFUSION_RUN '--guide=clip:THIS_RUN,a red circle:1000'"
)
class ImageTextEncoder(NamedTuple):
    """The interface of a network that puts images and texts into one space: CLIP.

    Attributes:
        encode_image: (weights, images, t [b] in the schedule's unit; None of a model of clean images) -> embeddings
            [b, dim] of length 1.
        encode_text: (weights, tokens) -> embeddings [b, dim] of length 1.
        logit_scale: (weights) -> [], what products of embeddings are multiplied by; not its logarithm.
        text: its text tower as a `TextEncoder`, whose pooled features are the embeddings.
        image_shape: (height, width, channels) of the images.
        dim: of the embeddings.
        schedule: of the noise on the images that it knows; None of a model of clean images.
    """

    encode_image: Callable[[Weights, Image, PerExample | None], Float[Array, "b d"]]
    encode_text: Callable[[Weights, Tokens], Float[Array, "b d"]]
    logit_scale: Callable[[Weights], Float[Array, ""]]
    text: TextEncoder
    image_shape: tuple[int, int, int]
    dim: int
    schedule: Schedule | None = None


@_kind("it is the prior of a DALL-E 2: sample the folder of the whole chain (genjax-pipeline)")
class EmbeddingSampler(NamedTuple):
    """The interface of a prior: it draws CLIP embeddings of images for texts.

    Attributes:
        sample_embeddings: (weights, conditions, index, key) -> embeddings [b, dim] of length 1; the conditions are
            `tokens` and the scalars of `options`.
        dim: of the embeddings.
        text_length: tokens of a text.
        options: as those of an `ImageSampler`.
    """

    sample_embeddings: Callable[[Weights, Conditions, Index, Key], Float[Array, "b d"]]
    dim: int
    text_length: int
    options: Mapping[str, float] = MappingProxyType({})


if TYPE_CHECKING:
    Interface = Any  # every field can be read of every kind, which a union can't say
else:
    Interface = (
        ImageSampler
        | EmbeddingSampler
        | Tokenizer
        | FeatureExtractor
        | ImageClassifier
        | NoisyClassifier
        | TextEncoder
        | ImageTextEncoder
    )
"""All kinds of interface."""


def generates(interface: Interface) -> bool:
    """Whether images can be sampled from it without other images: false of upsamplers, and of those that don't
    sample.
    """
    return interface.sample is not None and interface.low_res_shape is None
