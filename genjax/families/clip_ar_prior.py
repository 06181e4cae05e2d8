"""unCLIP's autoregressive prior: a CLIP embedding of an image as codes (DALL-E 2, arXiv:2204.06125, section 2.2).

The embedding z_i is cut into codes c_1, c_2, .. along its principal axes, those of the greatest variance first
(`genjax.autoregressive.embedding_codes`; 319 axes of 1,024 buckets in the paper), and

    p(c_1, c_2, .. | y, d) = prod_k p(c_k | c_<k, y, d),     d = z_i . z_t in buckets

where y is the caption, is learned by a causal transformer. A model trained with d as an input can be requested to
reach it in sampling: it is drawn from the upper half of those that training saw, for an image that its caption
describes well. The axes are measured on the first `fit_steps` batches (`genjax.families.shared.prior`).

Sampling is one scan with the transformer's cache; guidance without a classifier acts on the logits. Of `candidates`
draws the better is kept.

Evaluation: `nats_per_code`; `accuracy`, the share of codes that were the most likely; `cosine` of an embedding and what
its codes stand for, which bounds what the prior can do.

Deviations: of the network's, see `genjax.nn.embedding_code_transformer`. A caption is dropped together with d. The
result is brought to length 1, which the codes' precision otherwise misses a little.
"""

from collections.abc import Mapping
from typing import Any, NamedTuple

import jax.numpy as jnp
import optax

from genjax.autoregressive import embedding_codes
from genjax.autoregressive.embedding_codes import Axes, Buckets
from genjax.autoregressive.sample import decode
from genjax.conditioning import inputs as inputs_lib
from genjax.core import moments as moments_lib
from genjax.core import rng
from genjax.core.moments import Moments
from genjax.diffusion import guidance, process
from genjax.families.base import Family, LossInputs, LossOutputs
from genjax.families.interfaces import Conditions, EmbeddingSampler, ImageTextEncoder, Index, Weights
from genjax.families.shared import prior as prior_lib
from genjax.families.shared.assembly import builder, one_player
from genjax.families.shared.codes import OPTIONS
from genjax.families.shared.prior import Caption
from genjax.families.terms import mean_of
from genjax.nn import embedding_code_transformer
from genjax.nn.embedding_code_transformer import EmbeddingCodeTransformer
from genjax.typing import Array, Batch, DataSpec, Float, Int, Key, Params, PerExample


class Settings(NamedTuple):
    """`config.model`.

    Attributes:
        network: fields of `genjax.nn.embedding_code_transformer.EmbeddingCodeTransformer`.
        num_axes: principal axes of the embeddings, a code each.
        num_codes: buckets of an axis.
        num_dots: buckets of the dot product of both embeddings.
        span: standard deviations to either side that the buckets cover.
        fit_steps: first batches, on which the axes are measured and nothing is learned.
        text_dropout: share of captions that are dropped, for guidance.
        dtype: of the network's computation; parameters stay float32.
    """

    network: Mapping[str, Any]
    num_axes: int = 319
    num_codes: int = 1024
    num_dots: int = 1024
    span: float = 4.0
    fit_steps: int = 100
    text_dropout: float = 0.1
    dtype: str = "float32"


class Sampling(NamedTuple):
    """`config.sampling`.

    Attributes:
        guidance_scale, temperature, top_k, top_p: of the logits, see `genjax.families.options`.
        candidates, batch_size: as of `clip_prior`.
    """

    guidance_scale: float = 1.0
    temperature: float = 1.0
    top_k: float = 0.0
    top_p: float = 1.0
    candidates: int = 2
    batch_size: int = 64


class Measured(NamedTuple):
    """What is known of the embeddings as a whole: axes, dot products with captions, and what the axes come from."""

    axes: Axes
    dots: Buckets
    moments: Moments


class Model(NamedTuple):
    """The networks and functions that the settings name, ready to use."""

    settings: Settings
    sampling: Sampling
    clip: ImageTextEncoder
    network: EmbeddingCodeTransformer

    def init(self, key: Key, batch: Batch):
        """Fresh parameters, and nothing measured yet."""
        clip, settings = self.clip, self.settings
        caption = _zeros(clip)
        codes = jnp.zeros((1, settings.num_axes), jnp.int32)
        params = self.network.init(key, codes, *caption, jnp.zeros((1,), jnp.int32))["params"]
        axes = embedding_codes.unfitted(clip.dim, settings.num_axes)
        return {"model": params}, Measured(
            axes, embedding_codes.no_buckets(settings.num_dots), moments_lib.empty(clip.dim)
        )

    def loss_fn(self, params: Params, inputs: LossInputs):
        """Mean -log p of the codes of a batch, in nats a code; 0 while their axes are measured."""
        key, settings = inputs.key, self.settings
        embed, caption, dot = self._read(inputs.frozen, inputs.batch)
        extra = self._observed(inputs.extra, embed, dot, inputs.step)
        given = (caption, self._bucket(dot))
        caption, bucket = inputs_lib.drop_share(
            given, self._null(*given), settings.text_dropout, rng.stream(key, "text")
        )
        codes = self._codes(inputs.extra.axes, embed)
        logits = self.network.apply(
            {"params": params}, codes, *caption, bucket, train=True, rngs={"dropout": rng.stream(key, "dropout")}
        )
        nats, accuracy = _score(logits, codes)
        learning = (inputs.step >= settings.fit_steps).astype(jnp.float32)
        return LossOutputs({"loss": mean_of(nats, learning)}, {"accuracy": mean_of(accuracy)}, extra)

    def _read(self, frozen, batch: Batch) -> tuple[Float[Array, "b d"], Caption, PerExample]:
        """(z_i, caption, z_i . z_t)."""
        embed = prior_lib.read_image(self.clip, frozen, batch)
        caption = prior_lib.read_caption(self.clip, frozen, batch["tokens"])
        return embed, caption, jnp.sum(embed * caption.embed, axis=-1)

    def _observed(self, before: Measured, embed: Float[Array, "b d"], dot: PerExample, step) -> Measured:
        fit_steps = self.settings.fit_steps
        moments = prior_lib.observe(before.moments, embed, step, fit_steps)
        num_axes = self.settings.num_axes
        axes = prior_lib.fit_once(lambda: embedding_codes.fit(moments, num_axes), before.axes, step, fit_steps)
        return Measured(axes, before.dots.add(dot), moments)

    def _null(self, caption: Caption, dot: Int[Array, " b"]) -> tuple[Caption, Int[Array, " b"]]:
        """What stands for both where they are dropped."""
        return prior_lib.drop(caption, True), jnp.full_like(dot, self.settings.num_dots)

    def _bucket(self, dot: PerExample) -> Int[Array, " b"]:
        return embedding_codes.bucket(dot, self.settings.num_dots)

    def _codes(self, axes: Axes, embed: Float[Array, "b d"]) -> Int[Array, "b n"]:
        return embedding_codes.encode(axes, embed, self.settings.num_codes, self.settings.span)

    def _embeddings(self, axes: Axes, codes: Int[Array, "b n"]) -> Float[Array, "b d"]:
        """What codes stand for, at length 1."""
        return prior_lib.normalise(embedding_codes.decode(axes, codes, self.settings.num_codes, self.settings.span))

    def evaluate(self, weights: Weights, batch: Batch, key: Key):
        """-log p of each example's codes, and how well they keep its embedding."""
        embed, caption, dot = self._read(weights.frozen, batch)
        codes = self._codes(weights.extra.axes, embed)
        logits = self.network.apply({"params": weights.params["model"]}, codes, *caption, self._bucket(dot))
        nats, accuracy = _score(logits, codes)
        cosine = jnp.sum(self._embeddings(weights.extra.axes, codes) * embed, axis=-1)
        return {"nats_per_code": nats, "accuracy": accuracy, "cosine": cosine}

    def sample_embeddings(
        self, weights: Weights, conditions: Conditions, index: Index, key: Key
    ) -> Float[Array, "b d"]:
        """Draw embeddings (`EmbeddingSampler`).

        Raises:
            ValueError: guidance of a model that was not trained for it.
        """
        conditions.check_guidance(self.settings.text_dropout, "a prior trained with config.model.text_dropout > 0")
        caption = prior_lib.read_caption(self.clip, weights.frozen, conditions.tokens)
        keys = rng.of_samples(key, index)

        def draw(keys: Key) -> Float[Array, "b d"]:
            dot = embedding_codes.draw_upper_half(process.fold(keys, 0), weights.extra.dots)
            codes = self._draw_codes(weights.params["model"], caption, dot, conditions, process.fold(keys, 1))
            return self._embeddings(weights.extra.axes, codes)

        return prior_lib.best_of(draw, self.sampling.candidates, caption.embed, keys)

    def _draw_codes(
        self, params: Params, caption: Caption, dot: Int[Array, " b"], conditions: Conditions, keys: Key
    ) -> Int[Array, "b n"]:
        variables = {"params": params}
        # The empty caption was never trained with a dot product.
        dot = jnp.where(jnp.any(caption.mask, axis=1), dot, self.settings.num_dots)
        if "guidance_scale" in conditions.options:
            caption, dot = guidance.pair((caption, dot), self._null(caption, dot))
        cache = self.network.apply(variables, *caption, dot, method="start")

        def step(cache, code, position):
            return self.network.apply(variables, cache, code, position, method="step")

        return decode(step, cache, self.settings.num_axes, keys, **conditions.options)


@builder("clip_ar_prior", Settings, Sampling, clip=ImageTextEncoder)
def build(settings: Settings, sampling: Sampling, spec: DataSpec, clip: ImageTextEncoder) -> Family:
    """The family for the settings of a config.

    Raises:
        ValueError: for unknown names, a CLIP of other captions, or codes that can't be.
    """
    prior_lib.check_clip(clip, spec, "clip_ar_prior")
    embedding_codes.unfitted(clip.dim, settings.num_axes)
    if settings.fit_steps < 1:
        raise ValueError(f"config.model.fit_steps={settings.fit_steps} must be at least 1: the axes come from there")
    sizes = (settings.num_axes, settings.num_codes, settings.num_dots, clip.text.length)
    network = EmbeddingCodeTransformer(*sizes, dtype=settings.dtype, **settings.network)
    model = Model(settings, sampling, clip, network)
    interface = EmbeddingSampler(model.sample_embeddings, clip.dim, clip.text.length, OPTIONS)
    return one_player(model, interface, embedding_code_transformer.LOGICAL_AXES)


def _zeros(clip: ImageTextEncoder) -> Caption:
    states = jnp.zeros((1, clip.text.length, clip.text.dim))
    return Caption(states, jnp.ones(states.shape[:2], bool), jnp.zeros((1, clip.dim)))


def _score(logits: Float[Array, "b n k"], codes: Int[Array, "b n"]) -> tuple[PerExample, PerExample]:
    """(nats a code, share of codes that were the most likely) of each example."""
    nats = optax.softmax_cross_entropy_with_integer_labels(logits, codes)
    return jnp.mean(nats, axis=1), jnp.mean(jnp.argmax(logits, axis=-1) == codes, axis=1)
