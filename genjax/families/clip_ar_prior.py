"""unCLIP's autoregressive prior: a CLIP embedding of a picture as codes (DALL-E 2, arXiv:2204.06125, section 2.2).

The embedding z_i is cut into codes c_1, c_2, .. along its principal axes, those of the greatest variance first
(`genjax.autoregressive.embedding_codes`; 319 axes of 1,024 buckets in the paper), and

    p(c_1, c_2, .. | y, d) = prod_k p(c_k | c_<k, y, d),     d = z_i . z_t in buckets

where y is the caption, is learned by a causal transformer. To be told of d in training is to be able to ask for it in
sampling: it is drawn from the upper half of those that training saw, for a picture that its caption describes well. The
axes are measured on the first `fit_steps` batches (`genjax.families.base_prior`).

Sampling is one scan with the transformer's cache; guidance without a classifier acts on the logits. Of `candidates`
draws the better is kept.

Evaluation: `nats_per_code`; `accuracy`, the share of codes that were the likeliest; `cosine` of an embedding and what
its codes stand for, which bounds what the prior can do.

Deviations: of the network's, see `genjax.nn.embedding_code_transformer`. A caption is left out together with d. The
result is brought to length 1, which the codes' precision otherwise misses a little.
"""

from collections.abc import Mapping
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax

from genjax.autoregressive import embedding_codes
from genjax.autoregressive.embedding_codes import Axes, Buckets
from genjax.autoregressive.sample import decode
from genjax.core import moments as moments_lib
from genjax.core import rng
from genjax.core.moments import Moments
from genjax.diffusion import guidance, process
from genjax.families import base_prior
from genjax.families.base import (
    Conditions,
    EmbeddingSampler,
    Family,
    ImageTextEncoder,
    LossInputs,
    LossOutputs,
    Player,
    Weights,
    read_settings,
)
from genjax.families.base_prior import Caption
from genjax.families.base_terms import mean_of
from genjax.nn import embedding_code_transformer
from genjax.nn.embedding_code_transformer import EmbeddingCodeTransformer
from genjax.typing import Array, Batch, DataSpec, Float, Int, Key, Params, PerExample

OPTIONS = {"guidance_scale": 1.0, "temperature": 1.0, "top_k": 0.0, "top_p": 1.0}
"""Scalar conditions of sampling, and their neutral values."""


class Settings(NamedTuple):
    """`config.model`: see `configs.dalle2s.ar_prior` for each field."""

    network: Mapping[str, Any]
    num_axes: int = 319
    num_codes: int = 1024
    num_dots: int = 1024
    span: float = 4.0
    fit_steps: int = 100
    text_dropout: float = 0.1
    dtype: str = "float32"


class Sampling(NamedTuple):
    """`config.sampling`: see `configs.dalle2s.ar_prior` for each field."""

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
    """The pieces that the settings name, ready to use."""

    settings: Settings
    sampling: Sampling
    clip: ImageTextEncoder
    network: EmbeddingCodeTransformer


def build(model: Mapping[str, Any], sampling: Mapping[str, Any], spec: DataSpec, parents: Mapping[str, Any]) -> Family:
    """The family for the settings of a config.

    Args:
        model: fields of `Settings`.
        sampling: fields of `Sampling`.
        spec: what the data is.
        parents: "clip".

    Raises:
        ValueError: for unknown names, a CLIP of other captions, or codes that can't be.
    """
    clip = base_prior.expect_clip(parents, spec, "clip_ar_prior")
    settings = read_settings(Settings, model, "config.model of the clip_ar_prior family")
    embedding_codes.unfitted(clip.dim, settings.num_axes)
    if settings.fit_steps < 1:
        raise ValueError(f"config.model.fit_steps={settings.fit_steps} must be at least 1: the axes come from there")
    network = EmbeddingCodeTransformer(
        settings.num_axes,
        settings.num_codes,
        settings.num_dots,
        clip.text.length,
        dtype=settings.dtype,
        **settings.network,
    )
    pieces = Model(settings, read_settings(Sampling, sampling, "config.sampling of clip_ar_prior"), clip, network)
    return Family(
        init=partial(init, pieces),
        players=(Player("model", partial(loss_fn, pieces)),),
        sample=base_prior.no_pictures,
        evaluate=partial(evaluate, pieces),
        interface=EmbeddingSampler(partial(sample_embeddings, pieces), clip.dim, clip.text.length, OPTIONS),
        logical_axes=tuple(embedding_code_transformer.LOGICAL_AXES),
    )


def init(model: Model, key: Key, batch: Batch):
    """Fresh parameters, and nothing measured yet."""
    clip, settings = model.clip, model.settings
    caption = _zeros(clip)
    codes = jnp.zeros((1, settings.num_axes), jnp.int32)
    params = model.network.init(key, codes, *caption, jnp.zeros((1,), jnp.int32))["params"]
    axes = embedding_codes.unfitted(clip.dim, settings.num_axes)
    return {"model": params}, Measured(
        axes, embedding_codes.no_buckets(settings.num_dots), moments_lib.empty(clip.dim)
    )


def _zeros(clip: ImageTextEncoder) -> Caption:
    states = jnp.zeros((1, clip.text.length, clip.text.dim))
    return Caption(states, jnp.ones(states.shape[:2], bool), jnp.zeros((1, clip.dim)))


def loss_fn(model: Model, params: Params, inputs: LossInputs):
    """Mean -log p of the codes of a batch, in nats a code; 0 while their axes are measured."""
    key, settings = inputs.key, model.settings
    embed, caption, dot = _read(model, inputs.frozen, inputs.batch)
    extra = _observed(model, inputs.extra, embed, dot, inputs.step)
    dropped = jax.random.bernoulli(rng.stream(key, "text"), settings.text_dropout, embed.shape[:1])
    caption, told = base_prior.leave_out(caption, dropped), _bucket(model, dot)
    told = jnp.where(dropped, settings.num_dots, told)
    codes = _codes(model, inputs.extra.axes, embed)
    logits = model.network.apply(
        {"params": params}, codes, *caption, told, train=True, rngs={"dropout": rng.stream(key, "dropout")}
    )
    nats, accuracy = _score(logits, codes)
    learning = (inputs.step >= settings.fit_steps).astype(jnp.float32)
    return LossOutputs({"loss": mean_of(nats, learning)}, {"accuracy": mean_of(accuracy)}, extra)


def _read(model: Model, frozen, batch: Batch) -> tuple[Float[Array, "b d"], Caption, PerExample]:
    """(z_i, caption, z_i . z_t)."""
    embed = base_prior.read_image(model.clip, frozen, batch)
    caption = base_prior.read_caption(model.clip, frozen, batch["tokens"])
    return embed, caption, jnp.sum(embed * caption.embed, axis=-1)


def _observed(model: Model, before: Measured, embed: Float[Array, "b d"], dot: PerExample, step) -> Measured:
    fit_steps = model.settings.fit_steps
    moments = base_prior.observe(before.moments, embed, step, fit_steps)
    num_axes = model.settings.num_axes
    axes = base_prior.fit_once(lambda: embedding_codes.fit(moments, num_axes), before.axes, step, fit_steps)
    return Measured(axes, before.dots.add(dot), moments)


def _bucket(model: Model, dot: PerExample) -> Int[Array, " b"]:
    return embedding_codes.bucket(dot, model.settings.num_dots)


def _codes(model: Model, axes: Axes, embed: Float[Array, "b d"]) -> Int[Array, "b n"]:
    return embedding_codes.encode(axes, embed, model.settings.num_codes, model.settings.span)


def _embeddings(model: Model, axes: Axes, codes: Int[Array, "b n"]) -> Float[Array, "b d"]:
    """What codes stand for, at length 1."""
    return base_prior.normalise(embedding_codes.decode(axes, codes, model.settings.num_codes, model.settings.span))


def _score(logits: Float[Array, "b n k"], codes: Int[Array, "b n"]) -> tuple[PerExample, PerExample]:
    """(nats a code, share of codes that were the likeliest) of each example."""
    nats = optax.softmax_cross_entropy_with_integer_labels(logits, codes)
    return jnp.mean(nats, axis=1), jnp.mean(jnp.argmax(logits, axis=-1) == codes, axis=1)


def evaluate(model: Model, weights: Weights, batch: Batch, key: Key):
    """-log p of each example's codes, and how well they keep its embedding."""
    embed, caption, dot = _read(model, weights.frozen, batch)
    codes = _codes(model, weights.extra.axes, embed)
    logits = model.network.apply({"params": weights.params["model"]}, codes, *caption, _bucket(model, dot))
    nats, accuracy = _score(logits, codes)
    cosine = jnp.sum(_embeddings(model, weights.extra.axes, codes) * embed, axis=-1)
    return {"nats_per_code": nats, "accuracy": accuracy, "cosine": cosine}


def sample_embeddings(model: Model, weights: Weights, conditions: Conditions, key: Key) -> Float[Array, "b d"]:
    """Draw embeddings of length 1, one for each entry of `conditions["index"]`.

    Args:
        model: the family's pieces.
        weights: what to draw with.
        conditions: "index" int32 [b], "tokens" int32 [b, s]; the scalars of `OPTIONS`, left out where neutral.
        key: of the whole set of samples.

    Raises:
        ValueError: guidance of a model that was not trained for it.
    """
    base_prior.check_guidance(conditions, model.settings.text_dropout)
    caption = base_prior.read_caption(model.clip, weights.frozen, conditions["tokens"])
    keys = rng.of_samples(key, conditions["index"])

    def draw(keys: Key) -> Float[Array, "b d"]:
        dot = embedding_codes.draw_upper_half(process.fold(keys, 0), weights.extra.dots)
        codes = _draw_codes(model, weights.params["model"], caption, dot, conditions, process.fold(keys, 1))
        return _embeddings(model, weights.extra.axes, codes)

    return base_prior.best_of(draw, model.sampling.candidates, caption.embed, keys)


def _draw_codes(
    model: Model, params: Params, caption: Caption, dot: Int[Array, " b"], conditions: Conditions, keys: Key
) -> Int[Array, "b n"]:
    variables = {"params": params}
    # The empty caption was never told of a dot product.
    dot = jnp.where(jnp.any(caption.mask, axis=1), dot, model.settings.num_dots)
    if "guidance_scale" in conditions:
        null = (base_prior.leave_out(caption, True), jnp.full_like(dot, model.settings.num_dots))
        caption, dot = guidance.pair((caption, dot), null)
    cache = model.network.apply(variables, *caption, dot, method="start")

    def step(cache, code, position):
        return model.network.apply(variables, cache, code, position, method="step")

    options = {name: conditions[name] for name in OPTIONS if name in conditions}
    return decode(step, cache, model.settings.num_axes, keys, **options)
