"""DALL-E: pictures for texts, by one transformer over the text's tokens and the picture's codes (arXiv:2102.12092).

    p(text, codes) = prod_i p(t_i | t_<i)  prod_k p(c_k | text, c_<k)
    minimise   w L_text + (1 - w) L_codes,     w = 1/8,     each the mean -log p of its own tokens, in nats

The codes are the likeliest ones of a trained tokenizer (a dVAE, a VQ-VAE), whose weights are frozen. Texts are shorter
than the room for them: padding is seen, as a learned vector for each position, and never predicted (`genjax.nn.dalle`);
the paper doesn't say whether it is there.

Pictures are drawn code by code, in one scan with the network's cache, and decoded. `text_dropout` replaces a share of
the texts by nothing at all, which is all padding: that allows guidance of the logits (arXiv:2207.12598). Logits of
codes that are next to impossible are little but noise, which guidance would multiply; so with it top-k and top-p choose
among the codes by the model's own chances for the text, before guidance weighs the chosen ones. The paper guides by
choosing among samples with CLIP: `genjax.pipelines.dalle`.

Batches have "tokens", and "codes_0" (written once by launch/encode.py) or "image", which is then encoded.

Evaluation, of each example: `text_nats_per_token`, `image_nats_per_token`, and `image_nats` of all its codes.

Deviations: text dropout and guidance are not of the paper. BPE dropout is the tokenizer's (`config.data.tokenizer`).
"""

import math
from collections.abc import Mapping
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax

from genjax.autoregressive import masking
from genjax.autoregressive.sample import Known, decode
from genjax.core import rng
from genjax.families.base import (
    Conditions,
    Family,
    ImageSampler,
    LossInputs,
    LossOutputs,
    Player,
    Samples,
    Tokenizer,
    Weights,
    expect_parent,
    read_settings,
)
from genjax.families.base_terms import Term, mean_of
from genjax.nn import dalle
from genjax.typing import Array, Batch, DataSpec, Float, Int, Key, Params, PyTree, Tokens

OPTIONS = {"guidance_scale": 1.0, "temperature": 1.0, "top_k": 0.0, "top_p": 1.0}
"""Scalar conditions of sampling, and their neutral values."""
RULED_OUT = -1e9
"""The logit of a code that can't be drawn: finite, so that a guidance scale of 0 leaves no NaN."""


class Settings(NamedTuple):
    """`config.model`: see `configs.dalles.dalle` for each field."""

    network: Mapping[str, Any]
    text_weight: float = 1 / 8
    text_dropout: float = 0.0
    dtype: str = "float32"


class Model(NamedTuple):
    """The pieces that the settings name, ready to use.

    Attributes:
        tokenizer: of the parent stage.
        network: of the stream.
        text_weight: w.
        text_dropout: share of texts replaced by nothing.
    """

    tokenizer: Tokenizer
    network: dalle.DalleTransformer
    text_weight: float
    text_dropout: float


def build(model: Mapping[str, Any], sampling: Mapping[str, Any], spec: DataSpec, parents: Mapping[str, Any]) -> Family:
    """The family for the settings of a config.

    Args:
        model: fields of `Settings`.
        sampling: not read here; samplers are told of its values as conditions.
        spec: pictures and tokens of the data.
        parents: "tokenizer".

    Raises:
        ValueError: for unknown fields, a tokenizer of other pictures or of several levels, or data without tokens.
    """
    tokenizer = expect_parent(parents, "tokenizer", Tokenizer, "dalle")
    pieces = make_model(read_settings(Settings, model, "config.model of the dalle family"), tokenizer, spec)
    draw = partial(sample_images, pieces)
    return Family(
        init=partial(init, pieces),
        players=(Player("model", partial(loss_fn, pieces)),),
        sample=draw,
        evaluate=partial(evaluate, pieces),
        interface=ImageSampler(draw, tokenizer.image_shape, 0, OPTIONS, text_length=spec.text_length),
        logical_axes=tuple(dalle.LOGICAL_AXES),
    )


def make_model(settings: Settings, tokenizer: Tokenizer, spec: DataSpec) -> Model:
    """The network for a tokenizer's codes and the data's texts.

    Raises:
        ValueError: as `build`.
    """
    if not spec.text_length:
        raise ValueError("the family dalle reads tokens of captions; set config.data.tokenizer, of data with captions")
    if tuple(tokenizer.image_shape) != tuple(spec.image_shape):
        raise ValueError(
            f"the tokenizer is of pictures {tuple(tokenizer.image_shape)}, config.data has {tuple(spec.image_shape)}; "
            "set config.data to the tokenizer's, or name another config.stages.tokenizer.workdir"
        )
    if len(tokenizer.grids) != 1:
        raise ValueError(
            f"the family dalle draws one grid of codes, and the tokenizer has the levels {tokenizer.grids}; "
            "name the run of a vqvae or a dvae"
        )
    network = dalle.DalleTransformer(
        spec.vocab_size,
        spec.text_length,
        tokenizer.num_codes,
        tuple(tokenizer.grids[0]),
        dtype=settings.dtype,
        **settings.network,
    )
    return Model(tokenizer, network, settings.text_weight, settings.text_dropout)


def init(model: Model, key: Key, batch: Batch):
    """Fresh parameters; nothing beside them is kept."""
    tokens, codes = jnp.zeros((1, model.network.text_length), jnp.int32), jnp.zeros((1, *model.network.grid), jnp.int32)
    return {"model": model.network.init(rng.stream(key, "network"), tokens, codes)["params"]}, ()


def batch_codes(model: Model, batch: Batch, frozen: Mapping[str, PyTree]) -> Int[Array, "b h w"]:
    """The codes of a batch: as they come, or of its pictures."""
    if "codes_0" in batch:
        return batch["codes_0"]
    return jax.lax.stop_gradient(model.tokenizer.encode(frozen["tokenizer"], batch["image"]))[0]


def loss_fn(model: Model, params: Params, inputs: LossInputs):
    """The weighted mean -log p of text and codes, in nats a token."""
    codes = batch_codes(model, inputs.batch, inputs.frozen)
    tokens = _dropped(model, inputs.batch["tokens"], rng.stream(inputs.key, "text"))
    dropout = rng.stream(inputs.key, "dropout")
    text, image = _nats(model, params, tokens, codes, train=True, rngs={"dropout": dropout})
    losses = {
        "text": Term(text.sum(), (tokens != 0).sum(), model.text_weight),
        "image": mean_of(image, 1 - model.text_weight),
    }
    return LossOutputs(losses, losses, inputs.extra)


def _dropped(model: Model, tokens: Tokens, key: Key) -> Tokens:
    """The texts, a share of them replaced by nothing."""
    if not model.text_dropout:
        return tokens
    return jnp.where(jax.random.bernoulli(key, model.text_dropout, (len(tokens), 1)), 0, tokens)


def _nats(
    model: Model, params: Params, tokens: Tokens, codes: Int[Array, "b h w"], **settings
) -> tuple[Float[Array, "b s"], Float[Array, "b h w"]]:
    """-log p of each token (0 of padding) and of each code."""
    text_logits, code_logits = model.network.apply({"params": params}, tokens, codes, **settings)
    text = optax.softmax_cross_entropy_with_integer_labels(text_logits, tokens)
    return jnp.where(tokens != 0, text, 0.0), optax.softmax_cross_entropy_with_integer_labels(code_logits, codes)


def evaluate(model: Model, weights: Weights, batch: Batch, key: Key):
    """-log p of each example's tokens and codes; see the module for the names and units."""
    codes, tokens = batch_codes(model, batch, weights.frozen), batch["tokens"]
    text, image = _nats(model, weights.params["model"], tokens, codes)
    return {
        "text_nats_per_token": text.sum(1) / jnp.maximum((tokens != 0).sum(1), 1),
        "image_nats_per_token": image.mean((1, 2)),
        "image_nats": image.sum((1, 2)),
    }


def sample_images(model: Model, weights: Weights, conditions: Conditions, key: Key) -> Samples:
    """Draw codes, and decode them; conditions as for `sample_codes`."""
    codes = sample_codes(model, weights, conditions, key)
    return Samples(model.tokenizer.decode(weights.frozen["tokenizer"], (codes,)))


def sample_codes(model: Model, weights: Weights, conditions: Conditions, key: Key) -> Int[Array, "b h w"]:
    """Draw the codes of a picture for each text.

    Args:
        model: the family's pieces; see `make_model`.
        weights: what to draw with.
        conditions: "index" int32 [b]; "tokens" int32 [b, s]; the scalars of `OPTIONS`, left out at their neutral
            values. To complete pictures: "known_0" int32 [b, h, w], codes that are given where "mask_0" bool
            [b, h, w] is true.
        key: of the whole set of samples.

    Raises:
        ValueError: guidance of a model that was not trained for it.
    """
    if "guidance_scale" in conditions and not model.text_dropout:
        raise ValueError(
            "classifier-free guidance needs a model trained with config.model.text_dropout > 0; "
            "use guidance_scale=1 with this one"
        )
    tokens, keys = conditions["tokens"], rng.of_samples(key, conditions["index"])
    if "guidance_scale" in conditions:
        tokens = jnp.concatenate([tokens, jnp.zeros_like(tokens)])
    variables = {"params": weights.params["model"]}
    cache = model.network.apply(variables, tokens, method="start")
    options = {name: conditions[name] for name in OPTIONS if name in conditions}
    if "known_0" in conditions:
        options["known"] = Known(*(conditions[name].reshape(len(keys), -1) for name in ("known_0", "mask_0")))
    filters = {
        name: options.pop(name) for name in ("top_k", "top_p") if "guidance_scale" in options and name in options
    }

    def step(cache, code, position):
        logits, cache = model.network.apply(variables, cache, code, position, method="step")
        return (_filter_asked(logits, filters) if filters else logits), cache

    codes = decode(step, cache, math.prod(model.network.grid), keys, **options)
    return codes.reshape(-1, *model.network.grid)


def _filter_asked(logits: Float[Array, "b2 k"], filters: Mapping[str, Array]) -> Float[Array, "b2 k"]:
    """Logits [l_c; l_u] with all codes ruled out that the filters cut from the first half, those for the text."""
    asked, nothing = jnp.split(logits, 2)
    return jnp.concatenate([jnp.maximum(masking.filter_logits(asked, **filters), RULED_OUT), nothing])
