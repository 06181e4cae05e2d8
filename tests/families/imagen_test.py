"""Imagen: what its network is told of a frozen language model, what is left out, and the paper's sizes."""

import importlib

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from genjax.configs import imagen_shapes_pipeline
from genjax.core.tree import count_params
from genjax.families import registry
from genjax.families.interfaces import Conditions, ImageSampler, TextEncoder, TextFeatures, Weights
from genjax.typing import DataSpec
from tests.families import losses, perturbed
from tests.families.requested import conditions_of

KEY = jax.random.key(0)
LENGTH, VOCAB, DIM = 4, 7, 6
SPEC = DataSpec((8, 8, 3), has_text=True, text_length=LENGTH, vocab_size=VOCAB)
FROZEN = {"text": Weights({"model": jax.random.normal(KEY, (VOCAB, DIM))}, (), {})}


def encode(weights, tokens):
    """A language model in closed form: the rows of a table, nothing at padding."""
    mask = tokens != 0
    states = jnp.where(mask[..., None], weights.params["model"][tokens], 0.0)
    return TextFeatures(states, mask, states.mean(axis=1))


READER = TextEncoder(encode, LENGTH, VOCAB, DIM, DIM)


def build(stage=imagen_shapes_pipeline.base, spec=SPEC, parents=None, sampling=(), **model):
    config = stage("tiny")
    if stage is imagen_shapes_pipeline.base:
        config.model.network.update(channel_mult=(1,), attention_resolutions=())  # the middle has attention too
    config.model.update(model)
    model, sampling = config.model.to_dict(), config.sampling.to_dict() | {"num_steps": "2", **dict(sampling)}
    return registry.build(config.family, model, sampling, spec, {"text": READER} if parents is None else parents)


def upsampler(variant):
    config = imagen_shapes_pipeline.upsampler(32, variant)
    config.data.image_size = 8
    config.model.network.update(channel_mult=(1,), num_res_blocks=(1,), attention_resolutions=(4,))
    config.model.low_res.size = 4
    return config


def batch(count=3):
    tokens = jnp.array([[1, 2, 3, 0], [4, 5, 0, 0], [0, 0, 0, 0]])[jnp.arange(count) % 3]
    return {"image": jax.random.uniform(KEY, (count, 8, 8, 3), minval=-1, maxval=1), "tokens": tokens}


def weights(family):
    """Parameters with nothing left at zero, so that every input matters."""
    return perturbed.noise(family, batch(1), scale=0.2, frozen=FROZEN)


@pytest.fixture(scope="module")
def base():
    """(its family, its weights, its sampling compiled)."""
    family = build()
    return family, weights(family), jax.jit(family.interface.sample)


def conditions(**others):
    return conditions_of(**{"tokens": batch()["tokens"], **others}), jnp.arange(3)


def test_states_that_were_kept_give_the_loss_of_live_ones(base):
    family, parts, _ = base

    def loss(given, frozen):
        return losses.jitted(family, parts.params, given, KEY, extra=parts.extra, frozen=frozen).value

    live = loss(batch(), FROZEN)
    kept = batch() | {"text_states": encode(FROZEN["text"], batch()["tokens"]).states}
    nobody = {"text": FROZEN["text"]._replace(params={"model": jnp.full((VOCAB, DIM), jnp.nan)})}
    np.testing.assert_allclose(loss(kept, nobody), live, rtol=1e-6)
    assert not np.isfinite(loss(batch(), nobody))


def test_samples_depend_on_the_text_and_the_empty_one_is_guided_nowhere(base):
    family, parts, sample = base
    assert isinstance(family.interface, ImageSampler) and family.interface.text_length == LENGTH
    assert family.interface.distillable is None, "its denoiser needs the language model"
    plain = sample(parts, *conditions(), KEY).images
    other = sample(parts, *conditions(tokens=batch()["tokens"].at[0, 1].set(6)), KEY).images
    assert float(jnp.abs(other[0] - plain[0]).max()) > 1e-3
    np.testing.assert_allclose(other[1:], plain[1:], atol=1e-5)
    one, strong = (sample(parts, *conditions(guidance_scale=jnp.float32(s)), KEY).images for s in (1.0, 5.0))
    np.testing.assert_allclose(one, plain, atol=1e-4)
    np.testing.assert_allclose(strong[2], plain[2], atol=1e-4)
    assert float(jnp.abs(strong[0] - plain[0]).max()) > 1e-3


def test_dynamic_thresholding_keeps_images_in_range_under_any_weight(base):
    _, parts, sample = base
    strong = conditions(guidance_scale=jnp.float32(50.0))
    assert float(jnp.abs(sample(parts, *strong, KEY).images).max()) <= 1.0 + 1e-6
    free = build(sampling={"threshold": {"name": "none"}})
    assert float(jnp.abs(jax.jit(free.interface.sample)(parts, *strong, KEY).images).max()) > 1.5


def test_a_model_that_upsamples_reads_the_text_too():
    family = build(upsampler)
    assert family.interface.low_res_shape is not None and family.interface.text_length == LENGTH
    assert set(family.interface.options) == {"guidance_scale", "aug_level"}
    parts, sample = weights(family), jax.jit(family.interface.sample)
    small = jax.random.uniform(jax.random.key(1), (3, 4, 4, 3), minval=-1, maxval=1)
    given, index = conditions(low_res=small, aug_level=jnp.float32(0.1))
    plain = sample(parts, given, index, KEY).images
    for changes in ({"tokens": given.tokens.at[0, 0].set(6)}, {"low_res": small.at[0].add(0.3)}):
        other = sample(parts, given._replace(**changes), index, KEY).images
        assert float(jnp.abs(other[0] - plain[0]).max()) > 1e-3
        np.testing.assert_allclose(other[1:], plain[1:], atol=1e-5)


@pytest.mark.parametrize(
    ("name", "network", "text"),
    [
        ("imagen_base64", 2_097_572_867, 33_583_104 + 140_577_792),
        ("imagen_sr256", 441_652_867, 6_832_128 + 2_101_248),
        ("imagen_sr1024", 437_458_563, 6_832_128 + 2_101_248),
    ],
)
def test_parameters_of_the_papers_sizes(name, network, text):
    """The base without what reads text has those of ADM's network of 512 channels for 64 pixels."""
    config = importlib.import_module(f"configs.{name}").get_config()
    shape = (config.data.image_size, config.data.image_size, 3)
    spec = DataSpec(shape, has_text=True, text_length=128, vocab_size=32_100)
    reader = TextEncoder(encode, 128, 32_128, 4096, 4096)
    model, sampling = config.model.to_dict(), config.sampling.to_dict()
    family = registry.build(config.family, model, sampling, spec, {"text": reader})
    params = jax.eval_shape(family.init, KEY, {"image": jax.ShapeDtypeStruct((1, *shape), jnp.float32)})[0]["model"]
    of_text = count_params(params.pop("conditioner"))
    of_text += sum(count_params(block.pop("encoder_kv", {})) for block in params.values())
    assert (count_params(params), of_text) == (network, text)


def test_what_does_not_fit_is_told():
    for spec, words in ((SPEC._replace(text_length=5), "have 5 of 7"), (SPEC._replace(vocab_size=9), "have 4 of 9")):
        with pytest.raises(ValueError, match=f"reads 4 of 7 tokens, and captions here {words}"):
            build(spec=spec)
    with pytest.raises(ValueError, match="the family imagen needs a TextEncoder: name the workdir of one"):
        build(parents={})
    with pytest.raises(ValueError, match="text_dropout=1.5 must be in"):
        build(text_dropout=1.5)
    family = build(text_dropout=0.0)
    with pytest.raises(ValueError, match="classifier-free guidance needs"):
        family.interface.sample(Weights({"model": {}}, (), FROZEN), *conditions(guidance_scale=2.0), KEY)
    with pytest.raises(ValueError, match="texts of 4 tokens, and was given none"):
        family.interface.sample(Weights({"model": {}}, (), FROZEN), Conditions(), jnp.arange(2), KEY)
