"""What networks are told of captions and embeddings: all of it, but for the shares that training leaves out.

The modules that read them give back what they were shown, times their one parameter.
"""

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from genjax.conditioning.inputs import Context
from genjax.families import dalle2, glide, imagen, registry
from genjax.families.interfaces import Conditions, TextEncoder, TextFeatures, Weights
from genjax.nn.clip_conditioning import CaptionStates, ClipConditioning
from genjax.nn.glide_text import GlideText
from genjax.nn.text_conditioning import ReadStates
from genjax.typing import DataSpec
from tests.families import losses, toy_clip
from tests.families.recorder import CHANNELS, GAIN, SHAPE, batch, model, sampling, stream, uniform
from tests.families.recorder import nets as nets
from tests.families.recorder import unrolled as unrolled

KEY = jax.random.key(8)
LENGTH, VOCAB = toy_clip.LENGTH, toy_clip.VOCAB
SPEC = DataSpec(SHAPE, has_text=True, text_length=LENGTH, vocab_size=VOCAB)
CLIP = toy_clip.CLIP._replace(image_shape=SHAPE, dim=CHANNELS)
FROZEN = {"clip": toy_clip.FROZEN["clip"], "text": Weights({"model": jnp.asarray(toy_clip.TABLE)}, (), {})}
SCALE = 3.0
PARAMS = {"model": {"gain": jnp.float32(GAIN), "conditioner": {"scale": jnp.float32(SCALE)}}}
WEIGHTS = Weights(PARAMS, (), FROZEN)


def encode(weights, tokens):
    """A language model: rows of a table, nothing at padding."""
    mask = tokens != 0
    states = jnp.where(mask[..., None], weights.params["model"][tokens], 0.0)
    return TextFeatures(states, mask, states.mean(axis=1))


READER = TextEncoder(encode, LENGTH, VOCAB, toy_clip.DIM, toy_clip.DIM)


def shown(module, raw):
    """All that a module is shown, side by side, times its parameter."""
    module.param("scale", nn.initializers.constant(7.0), ())
    scale = module.get_variable("params", "scale")
    leaves = [jnp.reshape(leaf, (len(leaf), -1)).astype(jnp.float32) for leaf in jax.tree.leaves(raw)]
    return Context(vector=scale * jnp.concatenate(leaves, axis=-1))


class Reading:
    """The modules that read, as they were built and called."""

    def __init__(self, monkeypatch):
        self.calls = calls = []

        def instead(real):
            class Shown(real):
                @nn.compact
                def __call__(self, raw):
                    calls.append(self)
                    return shown(self, raw)

            return Shown

        for family, name, real in (
            (glide, "GlideText", GlideText),
            (dalle2, "ClipConditioning", ClipConditioning),
            (imagen, "ReadStates", ReadStates),
        ):
            monkeypatch.setattr(family, name, instead(real))


@pytest.fixture
def reading(monkeypatch):
    """Modules that show what they read."""
    return Reading(monkeypatch)


def text(family, dropout, source="own"):
    """`config.model` of a family with a share of captions and of embeddings left out."""
    fields, shares = {"width": 16, "num_heads": 2}, {"text_dropout": dropout[0]}
    if family == "imagen":
        return {"text": fields, **shares}
    fields["depth"] = 3
    if family == "glide":
        return {"text": fields, **shares}
    shares["image_dropout"] = dropout[1]
    return {"text": fields | {"source": source}, "image": {"num_tokens": 5}, **shares}


def build(family, dropout=(0.0, 0.0), source="own", draw=(), **changes):
    settings = model(**text(family, dropout, source), **changes)
    parents = {"glide": {}, "dalle2": {"clip": CLIP}, "imagen": {"text": READER}}[family]
    return registry.build(family, settings, sampling(**dict(draw)), SPEC, parents)


def captions(count):
    """Examples with captions, none of them empty."""
    tokens = 1 + np.random.default_rng(1).integers(0, VOCAB - 1, (count, LENGTH))
    tokens[::2, -1] = 0
    return batch(count) | {"tokens": jnp.asarray(tokens, jnp.int32)}


def told(family, examples, no_text=(), no_image=(), source="own"):
    """What the network should be told, by hand: the leaves that the family's module is shown, side by side."""
    tokens, count = np.asarray(examples["tokens"]), len(examples["tokens"])
    kept = np.ones(count, bool)
    kept[list(no_text)] = False
    table = toy_clip.TABLE[tokens]
    if family == "imagen":
        states = np.where((tokens != 0)[..., None], table, 0)
        parts = [states * kept[:, None, None], (tokens != 0) & kept[:, None]]
    elif source == "own":
        parts = [tokens * kept[:, None]]
    else:
        first = table[:, 0] / np.linalg.norm(table[:, 0], axis=-1, keepdims=True)
        parts = [table, (tokens != 0) & kept[:, None], first * kept[:, None]]
    if family == "dalle2":
        image = np.ones(count, bool)
        image[list(no_image)] = False
        colour = np.asarray(examples["image"]).mean(axis=(1, 2))
        parts += [colour / np.linalg.norm(colour, axis=-1, keepdims=True), image]
    return SCALE * np.concatenate([np.reshape(part, (count, -1)) for part in parts], axis=-1)


FAMILIES = [("glide", "own"), ("dalle2", "own"), ("dalle2", "clip"), ("imagen", "own")]
families = pytest.mark.parametrize(("family", "source"), FAMILIES)


def replace_dropped(family, key, count, dropout):
    """(examples without text, examples without embedding) as the streams of a step draw them."""
    key = stream(key, "context")
    of_text, of_image = (stream(key, "text"), stream(key, "image")) if family == "dalle2" else (key, key)
    return (np.flatnonzero(uniform(one, count) < share) for one, share in zip((of_text, of_image), dropout))


@families
def test_training_leaves_shares_out_for_each_example_by_itself(nets, reading, family, source):
    dropout, examples = (0.4, 0.25), captions(2000)
    losses.compute(build(family, dropout, source), PARAMS, examples, KEY, frozen=FROZEN)
    no_text, no_image = replace_dropped(family, KEY, 2000, dropout)
    assert len(no_text) / 2000 == pytest.approx(0.4, abs=0.04) and len(no_image) / 2000 == pytest.approx(0.25, abs=0.04)
    both = len(set(no_text) & set(no_image)) / 2000
    assert family != "dalle2" or both == pytest.approx(0.1, abs=0.03), "independently"
    np.testing.assert_allclose(nets.call().context.vector, told(family, examples, no_text, no_image, source), atol=1e-5)
    assert len(reading.calls) == 1


@families
def test_all_is_told_without_dropout_and_in_evaluation_and_none_with_a_share_of_one(nets, reading, family, source):
    examples = captions(8)
    whole = told(family, examples, source=source)
    losses.compute(build(family, (0.0, 0.0), source), PARAMS, examples, KEY, frozen=FROZEN)
    np.testing.assert_allclose(nets.call().context.vector, whole, atol=1e-5)
    always = build(family, (1.0, 1.0), source)
    always.evaluate(WEIGHTS, examples, KEY)
    np.testing.assert_allclose(nets.call().context.vector, whole, atol=1e-5)
    none = told(family, examples, range(8), range(8), source)
    losses.compute(always, PARAMS, examples, KEY, frozen=FROZEN)
    np.testing.assert_allclose(nets.call().context.vector, none, atol=1e-5)


@families
@pytest.mark.usefixtures("unrolled")
def test_guidance_is_told_everything_and_nothing_and_reads_it_once(nets, reading, family, source):
    examples = captions(8)
    conditions = Conditions(tokens=examples["tokens"], options={"guidance_scale": jnp.float32(2.0)})
    if family == "dalle2":
        conditions = conditions._replace(image_embed=toy_clip.encode_image(None, examples["image"], None))
    made = build(family, (0.1, 0.2), source)
    made.interface.sample(WEIGHTS, conditions, jnp.arange(8), KEY)
    wanted = [told(family, examples, source=source), told(family, examples, range(8), range(8), source)]
    calls = nets.taken()
    assert len(calls) == 4 and len(reading.calls) == 1
    for call in calls:
        np.testing.assert_allclose(call.context.vector, np.concatenate(wanted), atol=1e-5)
        np.testing.assert_array_equal(call.x[:8], call.x[8:])
    made.interface.sample(WEIGHTS, conditions._replace(options={}), jnp.arange(8), KEY)
    np.testing.assert_allclose(nets.taken()[0].context.vector, wanted[0], atol=1e-5)
    assert made.interface.text_length == LENGTH


def test_classes_and_small_images_are_left_out_with_the_texts_in_the_half_for_guidance(nets, reading):
    left_out = {"label_dropout": 0.1, "low_res": {"size": 2, "dropout": 0.2}}
    settings = model(**text("glide", (0.1, 0.0)), conditional=True, **left_out)
    family = registry.build("glide", settings, sampling(num_steps="2"), SPEC._replace(num_classes=3), {})
    examples, label = captions(8), np.arange(8) % 3
    given = {"tokens": examples["tokens"], "low_res": examples["image"][:, :2, :2], "label": jnp.asarray(label)}
    requested = Conditions(options={"guidance_scale": jnp.float32(2.0)}, **given)
    jax.jit(family.interface.sample)(WEIGHTS, requested, jnp.arange(8), KEY)
    call = nets.taken()[0]
    np.testing.assert_array_equal(call.label, [*label, *[3] * 8])
    beside = np.abs(call.x[..., CHANNELS:]).max(axis=(1, 2, 3))
    np.testing.assert_array_equal(beside > 0, [True] * 8 + [False] * 8)


@families
def test_guidance_needs_a_share_left_out(nets, reading, family, source):
    conditions = (Conditions(tokens=captions(8)["tokens"], options={"guidance_scale": jnp.float32(2.0)}), jnp.arange(8))
    for dropout in ((0.0, 0.0), (0.0, 0.5), (0.5, 0.0))[: 3 if family == "dalle2" else 1]:
        with pytest.raises(ValueError, match="classifier-free guidance needs"):
            build(family, dropout, source).interface.sample(WEIGHTS, *conditions, KEY)


@pytest.mark.usefixtures("unrolled")
def test_a_decoder_without_an_embedding_is_told_that_there_is_none(nets, reading):
    examples = captions(8)
    build("dalle2").interface.sample(WEIGHTS, Conditions(tokens=examples["tokens"]), jnp.arange(8), KEY)
    vector = nets.taken()[0].context.vector
    wanted = told("dalle2", examples, no_image=range(8))
    wanted[:, LENGTH : LENGTH + CHANNELS] = 0
    np.testing.assert_allclose(vector, wanted, atol=1e-6)


def test_the_modules_that_read_are_of_the_settings(nets, reading):
    """Their vector is as long as the U-Net's embedding of time, 4 times its width; so are their parameters kept."""
    for family, source in FAMILIES:
        params, _ = build(family, source=source, dtype="bfloat16").init(KEY, captions(8))
        assert params["model"].keys() == {"gain", "conditioner"} and params["model"]["conditioner"]["scale"] == 7.0
        module = reading.calls[-1]
        assert module.dtype == "bfloat16" and module.vector_dim == 32
        if family == "dalle2":
            assert module.num_tokens == 5
            module = module.text
            assert isinstance(module, CaptionStates if source == "clip" else GlideText)
            assert module.dtype == "bfloat16" and module.vector_dim == 32
        assert module.width == 16
        if family == "imagen":
            assert module.num_heads == 2
        elif source == "own":
            assert (module.depth, module.num_heads, module.length, module.vocab_size) == (3, 2, LENGTH, VOCAB)


def test_students_of_a_model_of_texts_are_told_them_and_models_of_upstream_stages_have_none(nets, reading):
    examples = captions(8)
    teacher = build("glide", (0.3, 0.0)).interface.distillable
    level = teacher.schedule(jnp.full(8, 20.0))
    teacher.denoiser(PARAMS["model"], Conditions(tokens=examples["tokens"]))(examples["image"], level, KEY)
    np.testing.assert_allclose(nets.call().context.vector, told("glide", examples))
    assert build("dalle2").interface.distillable is None and build("imagen").interface.distillable is None


def test_states_and_embeddings_that_were_kept_take_the_place_of_live_ones(nets, reading):
    examples = captions(8)
    kept = {"text_states": jax.random.normal(KEY, (8, LENGTH, toy_clip.DIM))}
    losses.compute(build("imagen"), PARAMS, examples | kept, KEY, frozen={})
    states = SCALE * np.asarray(kept["text_states"]).reshape(8, -1)
    mask = SCALE * (np.asarray(examples["tokens"]) != 0)
    np.testing.assert_allclose(nets.call().context.vector, np.concatenate([states, mask], axis=1), rtol=1e-6)
    embed = {"image_embed": jax.random.normal(KEY, (8, CHANNELS))}
    losses.compute(build("dalle2"), PARAMS, examples | embed, KEY, frozen=FROZEN)
    found = nets.call().context.vector[:, LENGTH : LENGTH + CHANNELS]
    np.testing.assert_allclose(found, SCALE * np.asarray(embed["image_embed"]), rtol=1e-6)
