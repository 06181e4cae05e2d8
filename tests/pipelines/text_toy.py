"""Families that read texts, to check by hand: each token is a colour, and a text the mean of its tokens."""

import jax
import jax.numpy as jnp

from genjax.families.base import Family, LossOutputs, Player
from genjax.families.interfaces import (
    ImageSampler,
    ImageTextEncoder,
    Samples,
    TextEncoder,
    TextFeatures,
    Tokenizer,
)
from genjax.families.terms import mean_of


def build(model, sampling, spec, parents):
    """`config.model.kind`: "sampler", "larger" (a super-resolution model), "clip", "language", "codes"."""
    shape, length = spec.image_shape, spec.text_length

    def colours(weights, tokens):
        return weights.params["model"]["table"][tokens]

    def read(weights, tokens):
        mask = tokens != 0
        states = colours(weights, tokens)
        mean = jnp.where(mask[..., None], states, 0).sum(1) / jnp.maximum(mask.sum(1), 1)[:, None]
        return TextFeatures(states, mask, mean)

    def sample(weights, conditions, index, key):
        colour = read(weights, conditions.tokens).pooled[:, None, None, :]
        start = 0.0 if conditions.low_res is None else conditions.low_res.mean((1, 2, 3), keepdims=True)
        return Samples(jnp.broadcast_to(start + colour, (len(colour), *shape)))

    def loss(params, inputs):
        wrong = params["table"][inputs.batch["tokens"]].mean((1, 2)) - inputs.batch["image"].mean((1, 2, 3))
        return LossOutputs({"loss": mean_of(wrong**2)}, {}, inputs.extra)

    def init(key, batch):
        return {"model": {"table": jax.random.uniform(key, (max(spec.vocab_size, 1), 3), minval=-1)}}, ()

    def encode_image(weights, images, t):
        return images.mean((1, 2))

    def codes(weights, images):
        return (jnp.round(images[..., 0] * 127.5 + 127.5).astype(jnp.int32),)

    text = TextEncoder(read, length, spec.vocab_size, 3, 3)
    interfaces = {
        "sampler": ImageSampler(sample, shape, 0, text_length=length),
        "larger": ImageSampler(sample, shape, 0, text_length=length, low_res_shape=shape),
        "clip": ImageTextEncoder(encode_image, lambda w, tokens: read(w, tokens).pooled, None, text, shape, 3),
        "language": text,
        "codes": Tokenizer(codes, None, 256, (shape[:2],), shape),
    }
    return Family(init, (Player("model", loss),), lambda w, b, k: {}, interfaces[model["kind"]])
