"""CLIP: images and captions in one space (arXiv:2103.00020), also of noisy images (GLIDE, arXiv:2112.10741).

    z_i = unit(image tower(x)),   z_t = unit(text tower(c))
    minimise  -1/2 (log p(t | i) + log p(i | t)),   p ~ exp(s <z_i, z_t>) over the pairs of the batch
                                                                                  (`genjax.losses.contrastive`)

with a learned scale s, kept at most 100. The image tower is a vision transformer or CLIP's residual network, the text
tower a causal transformer (`genjax.nn.vit`, `clip_resnet`, `clip_text`).

With a `schedule`, it is the noisy CLIP of GLIDE (section 4.3): the image tower sees x_t = alpha x0 + sigma eps at
uniform times t, and is conditioned on t. It guides diffusion models of the same noising process by the gradient of
s <z_i(x_t, t), z_t> without an estimate of x0.

Images are normalised as the release's, (pixel in [0, 1] - mean) / std by channel; noisy ones too, after the noise.

Evaluation asks each batch as training does: loss, and the share of right answers of both kinds among the batch. A noisy
CLIP is requested at four times, one in each quarter of the schedule: `accuracy_q1` (least noisy) to `accuracy_q4`.
`genjax.metrics.retrieval` asks among a fixed number of captions.

Deviations: no half-precision weights, no random square crops (`config.data.crop`), no caption is drawn of several. The
times of the noisy CLIP are uniform: GLIDE doesn't say. Its tower sees images in [-1, 1] times 127.5, which is the same.
"""

import math
from collections.abc import Mapping
from types import MappingProxyType
from typing import Any, NamedTuple

import jax.numpy as jnp

from genjax.core import rng
from genjax.diffusion import schedules
from genjax.families.base import Family, LossInputs, LossOutputs
from genjax.families.interfaces import (
    ImageTextEncoder,
    TextEncoder,
    TextFeatures,
    Weights,
)
from genjax.families.settings import expect_tokens, make_named
from genjax.families.shared import noisy
from genjax.families.shared.assembly import builder, one_player
from genjax.families.terms import mean_of, present, same
from genjax.losses import contrastive
from genjax.nn import clip_resnet, clip_text, vit
from genjax.typing import Array, Batch, DataSpec, Float, Image, Key, Params, PerExample, PyTree, Tokens

TOWERS = {"vit": vit.VisionTransformer, "resnet": clip_resnet.ClipResNet}
MAX_SCALE = 100.0
COUPLED = "each pair of its contrastive loss is compared with all others of the batch"

Embeddings = Float[Array, "b d"]


class Settings(NamedTuple):
    """`config.model`.

    Attributes:
        image: "name", one of `TOWERS`, and fields of its module.
        text: fields of `genjax.nn.clip_text.TextTower`; vocabulary and length are the data's.
        dim: of the space that both towers map to.
        schedule: "name" and fields of `genjax.diffusion.schedules`: the noise on the images, as that of the model to
            guide; empty: clean images.
        mean, std: of pixels in [0, 1], one number or one a channel, by which images are normalised.
        temperature: 1 / s at the start.
        dtype: of the networks' computation; parameters stay float32.
    """

    image: Mapping[str, Any]
    text: Mapping[str, Any]
    dim: int
    schedule: Mapping[str, Any] = MappingProxyType({})
    mean: tuple[float, ...] = (0.5,)
    std: tuple[float, ...] = (0.5,)
    temperature: float = 0.07
    dtype: str = "float32"


class Model(NamedTuple):
    """The networks and functions that the settings name, ready to use."""

    settings: Settings
    spec: DataSpec
    image: Any
    text: Any
    schedule: schedules.Schedule | None

    @property
    def is_resnet(self) -> bool:
        """Whether the image tower keeps batch statistics and knows no dropout and no time."""
        return isinstance(self.image, clip_resnet.ClipResNet)

    def _interface(self) -> ImageTextEncoder:
        """What later stages and guides see of it."""
        text = TextEncoder(
            self.read_text, self.spec.text_length, self.spec.vocab_size, self.text.width, self.settings.dim
        )
        return ImageTextEncoder(
            encode_image=self.encode_image,
            encode_text=lambda weights, tokens: self.read_text(weights, tokens).pooled,
            logit_scale=lambda weights: logit_scale(weights.params["model"]),
            text=text,
            image_shape=self.spec.image_shape,
            dim=self.settings.dim,
            schedule=self.schedule,
        )

    def init(self, key: Key, batch: Batch):
        """Fresh parameters, and the batch statistics of a residual network."""
        image, time = jnp.zeros((1, *batch["image"].shape[1:])), jnp.zeros((1,))
        tower = self.image.init(rng.stream(key, "image"), image, *((time,) if self.schedule else ()))
        text = self.text.init(rng.stream(key, "text"), jnp.zeros((1, self.spec.text_length), jnp.int32))
        scale = jnp.asarray(-math.log(self.settings.temperature), jnp.float32)
        params = {"image": tower["params"], "text": text["params"], "logit_scale": scale}
        return {"model": params}, tower.get("batch_stats", {})

    def loss_fn(self, params: Params, inputs: LossInputs):
        """Mean symmetric contrastive loss of a batch in nats; of noisy images at times drawn for it."""
        key, images, t = inputs.key, inputs.batch["image"], None
        if self.schedule:
            images, t = noisy.draw(self.schedule, images, key)
        z_i, extra = self._embed(params, inputs.extra, images, t, rng.stream(key, "image_dropout"))
        _, z_t = self._read(params, inputs.batch["tokens"], rng.stream(key, "text_dropout"))
        scale = logit_scale(params)
        nats, right = contrastive.info_nce(z_i, z_t, scale)
        return LossOutputs({"loss": mean_of(nats)}, {"accuracy": mean_of(right), "logit_scale": same(scale)}, extra)

    def _embed(
        self, params: Params, stats: PyTree, images: Image, t: PerExample | None, dropout: Key | None = None
    ) -> tuple[Embeddings, PyTree]:
        """(embeddings of length 1, batch statistics); training if there is a key for dropout."""
        mean, std = (jnp.asarray(values, images.dtype) for values in (self.settings.mean, self.settings.std))
        pixels = ((images + 1) / 2 - mean) / std
        train = dropout is not None
        if not self.is_resnet:
            rngs = {"dropout": dropout} if train else None
            z = self.image.apply({"params": params["image"]}, pixels, t, train=train, rngs=rngs)
            return contrastive.normalize(z), stats
        variables = {"params": params["image"], "batch_stats": stats}
        z, updated = self.image.apply(variables, pixels, train=train, mutable=["batch_stats"])
        return contrastive.normalize(z), updated["batch_stats"] if train else stats

    def _read(self, params: Params, tokens: Tokens, dropout: Key | None = None):
        """(features of each token, embeddings of length 1); training if there is a key for dropout."""
        train = dropout is not None
        rngs = {"dropout": dropout} if train else None
        states, z = self.text.apply({"params": params["text"]}, tokens, train=train, rngs=rngs)
        return states, contrastive.normalize(z)

    def encode_image(self, weights: Weights, images: Image, t: PerExample | None = None) -> Embeddings:
        """Embeddings of images.

        Args:
            weights: what to read with.
            images: in [-1, 1], of `spec.image_shape`; noisy ones for a noisy CLIP.
            t: time of each in the schedule's unit; None of a model of clean images.

        Raises:
            ValueError: for images of another shape, or times missing or not requested.
        """
        if images.shape[1:] != self.spec.image_shape:
            raise ValueError(f"this clip reads images of {self.spec.image_shape}, not of {images.shape[1:]}")
        if (t is None) == (self.schedule is not None):
            raise ValueError("a clip of noisy images needs their times t, and one of clean images takes none")
        return self._embed(weights.params["model"], weights.extra, images, t)[0]

    def read_text(self, weights: Weights, tokens: Tokens) -> TextFeatures:
        """Features of each token, and of each text the embedding."""
        states, pooled = self._read(weights.params["model"], tokens)
        return TextFeatures(states, tokens != 0, pooled)

    def evaluate(self, weights: Weights, batch: Batch, key: Key):
        """Loss of each pair and share of its two questions that is answered right, among the batch; see the module."""
        z_t, scale = self.read_text(weights, batch["tokens"]).pooled, logit_scale(weights.params["model"])

        def score(images: Image, t: PerExample | None = None) -> tuple[PerExample, PerExample]:
            return contrastive.info_nce(self.encode_image(weights, images, t), z_t, scale, present(batch))

        if self.schedule is None:
            nats, right = score(batch["image"])
            return {"loss": nats, "accuracy": right}
        return noisy.by_quarters(self.schedule, batch, key, score)


@builder("clip", Settings)
def build(settings: Settings, spec: DataSpec) -> Family:
    """The family for the settings of a config.

    Raises:
        ValueError: for unknown names, data without tokens, or a residual network of noisy images.
    """
    expect_tokens(spec, "clip")
    model = make_model(settings, spec)
    axes = (*vit.LOGICAL_AXES, *clip_resnet.LOGICAL_AXES)
    return one_player(model, model._interface(), axes, batch_coupled=COUPLED)


def make_model(settings: Settings, spec: DataSpec) -> Model:
    """The model of these settings."""
    shared = {"out_channels": settings.dim, "dtype": settings.dtype}
    image = make_named("image tower", TOWERS, settings.image, "config.model.image", **shared)
    if settings.schedule and getattr(image, "time", "none") == "none":
        raise ValueError(
            "a clip of noisy images has to be conditioned on the time: config.model.image.name='vit' can be, with "
            "config.model.image.time='sinusoids'"
        )
    if len(settings.mean) not in (1, spec.image_shape[-1]) or len(settings.mean) != len(settings.std):
        raise ValueError(
            f"config.model.mean={settings.mean} and std={settings.std} have to have one number, or one a channel "
            f"of {spec.image_shape[-1]}"
        )
    text = {"vocab_size": spec.vocab_size, "length": spec.text_length, **settings.text}
    if text["vocab_size"] < spec.vocab_size or text["length"] < spec.text_length:
        raise ValueError(
            f"config.model.text of vocab_size={text['vocab_size']} and length={text['length']} has no room for the "
            f"data's {spec.vocab_size} different tokens and texts of {spec.text_length}"
        )
    schedule = schedules.make(**settings.schedule) if settings.schedule else None
    return Model(settings, spec, image, clip_text.TextTower(**shared, **text), schedule)


def logit_scale(params: Params) -> Float[Array, ""]:
    """What products of embeddings are multiplied by: learned, at most `MAX_SCALE`."""
    return jnp.exp(contrastive.bounded(params["logit_scale"], math.log(MAX_SCALE)))
