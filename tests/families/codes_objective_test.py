"""Losses of DALL-E and of priors over codes in float64, with and without text or label: networks note their input."""

from functools import partial
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.special

from genjax.configs.recipes import dalles, priors
from genjax.families import code_prior, dalle, registry
from genjax.families.interfaces import Conditions, Tokenizer, Weights
from genjax.typing import DataSpec
from tests.families import losses, perturbed
from tests.families.draws import draws, repeated
from tests.families.watch import Watch

KEY = jax.random.key(6)
K, V, S, CLASSES = 5, 7, 4, 3
WATCH = Watch()


def encode(weights, images):
    """Two levels of codes, of the mean pixel and the frozen weights."""
    code = (jnp.round(images.mean((1, 2, 3)) * 100).astype(jnp.int32) + weights.params["turn"]) % K
    return tuple((code[:, None, None] + jnp.arange(side * side).reshape(side, side)) % K for side in (1, 2))


def decode(weights, codes):
    return jnp.zeros((len(codes[-1]), 4, 4, 1)) + codes[-1][:, :1, :1, None]


FROZEN = {"tokenizer": Weights({"turn": jnp.int32(2)}, (), {})}
LEVELS = Tokenizer(encode, decode, K, ((1, 1), (2, 2)), (4, 4, 1))
FLAT = Tokenizer(lambda *a: encode(*a)[1:], decode, K, ((2, 2),), (4, 4, 1))


class Prior(nn.Module):
    """Logits of each place from a table."""

    num_codes: int
    grid: tuple[int, int]
    num_classes: int = 0
    null_class: bool = False
    dtype: Any = None

    @nn.compact
    def __call__(self, codes, label=None, context=None, train=False):
        WATCH.note(codes=codes, label=label, context=context, train=train)
        table = self.param("table", nn.initializers.normal(2.0), (*self.grid, self.num_codes))
        return jnp.broadcast_to(table, (len(codes), *table.shape))


class Context(nn.Module):
    """The coarser codes as they are."""

    num_codes: int
    grid: tuple[int, int]
    dtype: Any = None

    @nn.compact
    def __call__(self, coarser, train=False):
        WATCH.note(coarser=coarser[0], train=train)
        scale = self.param("scale", nn.initializers.ones, ())
        return scale * coarser[0][..., None].repeat(2, 1).repeat(2, 2)


class Stream(nn.Module):
    """Logits of each token and code from two tables."""

    vocab_size: int
    text_length: int
    num_codes: int
    grid: tuple[int, int]
    dtype: Any = None

    @nn.compact
    def __call__(self, tokens, codes, train=False):
        WATCH.note(tokens=tokens, codes=codes, train=train)
        text = self.param("text", nn.initializers.normal(2.0), (self.text_length, self.vocab_size))
        image = self.param("image", nn.initializers.normal(2.0), (*self.grid, self.num_codes))
        return tuple(jnp.broadcast_to(table, (len(tokens), *table.shape)) for table in (text, image))


@pytest.fixture
def stubs(monkeypatch):
    monkeypatch.setitem(code_prior.NETWORKS, "table", Prior)
    monkeypatch.setattr(code_prior, "CodeContext", Context)
    monkeypatch.setattr(dalle.dalle, "DalleTransformer", Stream)


def prior(**model):
    networks = {f"level_{level}": {"name": "table"} for level in (0, 1)}
    model = {"networks": networks, "context": {}, "conditional": True, **model}
    return registry.build("code_prior", model, {}, DataSpec((4, 4, 1), num_classes=CLASSES), {"tokenizer": LEVELS})


def stream(**model):
    spec = DataSpec((4, 4, 1), has_text=True, text_length=S, vocab_size=V)
    return registry.build("dalle", {"network": {}, **model}, {}, spec, {"tokenizer": FLAT})


def examples(count=6):
    rng = np.random.default_rng(0)
    tokens = np.where(np.arange(S) <= np.arange(count)[:, None] % S, rng.integers(1, V, (count, S)), 0)
    label = np.arange(count) % CLASSES
    image = rng.uniform(-1, 1, (count, 4, 4, 1))
    return {
        "image": jnp.asarray(image, jnp.float32),
        "label": jnp.asarray(label, jnp.int32),
        "tokens": jnp.asarray(tokens, jnp.int32),
    }


def fresh(family):
    params = jax.jit(family.init)(KEY, examples(1))[0]
    WATCH.calls()  # of `init`
    return params


def nats(table, codes):
    """-log p of each code, and whether it is the most likely one."""
    log_p = scipy.special.log_softmax(np.asarray(table, np.float64), axis=-1)
    log_p = np.broadcast_to(log_p, (*codes.shape, log_p.shape[-1]))
    return -np.take_along_axis(log_p, np.asarray(codes)[..., None], -1)[..., 0], log_p.argmax(-1) == codes


@pytest.mark.parametrize("level", [0, 1])
def test_a_priors_loss_is_that_of_its_own_level_whatever_noise_is_shown(stubs, level):
    family = prior(code_noise=0.4, label_dropout=0.25)
    params, count = fresh(family), 2_000
    found = losses.jitted(family, params, examples(count), KEY, player=f"level_{level}", frozen=FROZEN)
    codes = [np.asarray(grid) for grid in encode(FROZEN["tokenizer"], examples(count)["image"])]
    cost, right = nats(params[f"level_{level}"]["network"]["table"], codes[level])
    np.testing.assert_allclose(found.value, cost.mean(), rtol=1e-5)
    np.testing.assert_allclose(found.metrics["accuracy"], right.mean(), rtol=1e-5)
    *context, call = WATCH.calls()
    assert call["train"] and all(one["train"] for one in context) and len(context) == level
    assert (call["codes"] != codes[level]).mean() == pytest.approx(0.4 * (1 - 1 / K), abs=0.03)
    for one in context:
        assert (one["coarser"] != codes[0]).mean() == pytest.approx(0.4 * (1 - 1 / K), abs=0.04)
    dropped = call["label"] == CLASSES
    assert dropped.mean() == pytest.approx(0.25, abs=0.03)
    np.testing.assert_array_equal(call["label"][~dropped], np.asarray(examples(count)["label"])[~dropped])


def test_a_priors_evaluation_is_of_codes_and_labels_as_they_are(stubs):
    family = prior(code_noise=0.9, label_dropout=0.9)
    params = fresh(family)
    values = jax.jit(family.evaluate)(Weights(params, (), FROZEN), examples(), KEY)
    codes = [np.asarray(grid) for grid in encode(FROZEN["tokenizer"], examples()["image"])]
    cost = [nats(params[f"level_{level}"]["network"]["table"], codes[level])[0].sum((1, 2)) for level in (0, 1)]
    np.testing.assert_allclose(values["nll_nats"], sum(cost), rtol=1e-5)
    np.testing.assert_allclose(values["bits_per_dim"], sum(cost) / 16 / np.log(2), rtol=1e-5)
    np.testing.assert_allclose(values["level_1_nats_per_code"], cost[1] / 4, rtol=1e-5)
    np.testing.assert_allclose(values["level_0_bits_per_dim"], cost[0] / 16 / np.log(2), rtol=1e-5)
    coarse, context, fine = WATCH.calls()
    np.testing.assert_array_equal(coarse["codes"], codes[0])
    np.testing.assert_array_equal(context["coarser"], codes[0])
    np.testing.assert_array_equal(fine["codes"], codes[1])
    np.testing.assert_array_equal(fine["label"], examples()["label"])
    assert not coarse["train"] and not context["train"] and not fine["train"]


def test_dalles_loss_weighs_the_mean_of_tokens_and_of_codes(stubs):
    """w of the mean over tokens that are no padding, and 1 - w of the mean over codes."""
    family = stream(text_weight=0.3)
    params = fresh(family)
    found = losses.jitted(family, params, examples(), KEY, frozen=FROZEN)
    tokens, codes = np.asarray(examples()["tokens"]), np.asarray(encode(FROZEN["tokenizer"], examples()["image"])[1])
    text, image = nats(params["model"]["text"], tokens)[0], nats(params["model"]["image"], codes)[0]
    kept = tokens != 0
    np.testing.assert_allclose(found.value, 0.3 * text[kept].mean() + 0.7 * image.mean(), rtol=1e-5)
    np.testing.assert_allclose(found.metrics["text"], text[kept].mean(), rtol=1e-5)
    values = jax.jit(stream(text_dropout=0.9).evaluate)(Weights(params, (), FROZEN), examples(), KEY)
    per_token = np.where(kept, text, 0).sum(1) / kept.sum(1)
    np.testing.assert_allclose(values["text_nats_per_token"], per_token, rtol=1e-5)
    np.testing.assert_allclose(values["image_nats_per_token"], image.mean((1, 2)), rtol=1e-5)
    np.testing.assert_allclose(values["image_nats"], image.sum((1, 2)), rtol=1e-5)
    training, held_out = WATCH.calls()
    assert training["train"] and not held_out["train"]
    for call in (training, held_out):
        np.testing.assert_array_equal(call["tokens"], tokens)
        np.testing.assert_array_equal(call["codes"], codes)


def test_dalle_drops_the_texts_of_a_share_of_the_examples(stubs):
    family, count = stream(text_dropout=0.35), 2_000
    params = fresh(family)
    found = losses.jitted(family, params, examples(count), KEY, frozen=FROZEN)
    seen, tokens = WATCH.calls()[0]["tokens"], np.asarray(examples(count)["tokens"])
    dropped = (seen == 0).all(1)
    assert dropped.mean() == pytest.approx(0.35, abs=0.03)
    np.testing.assert_array_equal(seen[~dropped], tokens[~dropped])
    cost = nats(params["model"]["text"], tokens)[0]
    np.testing.assert_allclose(found.metrics["text"], cost[(tokens != 0) & ~dropped[:, None]].mean(), rtol=1e-5)
    nothing = [
        losses.jitted(stream(text_dropout=1.0), params, given, KEY, frozen=FROZEN).value
        for given in (examples(), examples() | {"tokens": jnp.ones((6, S), jnp.int32)})
    ]
    assert nothing[0] == nothing[1]


def real_prior(tokenizer=LEVELS, **model):
    networks = [
        priors.transformer(width=8, depth=1, num_heads=2, dropout=0.5),
        priors.gated_pixelcnn(width=4, depth=1, first_kernel=3, head_width=4, dropout=0.5),
    ]
    config = priors.code_prior(*networks[: len(tokenizer.grids)])
    config.model.context.update(width=4, num_blocks=1, dropout=0.5)
    config.model.update({"conditional": True, "label_dropout": 0.2, "code_noise": 0.1} | model)
    spec = DataSpec((4, 4, 1), num_classes=CLASSES)
    return registry.build("code_prior", config.model.to_dict(), {}, spec, {"tokenizer": tokenizer})


def real_stream(**model):
    config = dalles.dalle()
    config.model.network.update(width=8, depth=1, num_heads=2, kernel_size=3, dropout=0.5)
    config.model.update({"text_dropout": 0.2} | model)
    spec = DataSpec((4, 4, 1), has_text=True, text_length=S, vocab_size=V)
    return registry.build("dalle", config.model.to_dict(), {}, spec, {"tokenizer": FLAT})


@pytest.mark.parametrize(
    ("make", "player", "count"),
    [(real_prior, "level_0", 1 + 6 + 3), (real_prior, "level_1", 1 + 6 + 3), (real_stream, "model", 1 + 3)],
)
def test_every_draw_has_a_key_of_its_own_and_evaluation_draws_nothing(make, player, count):
    """Labels or texts, which codes become which of two levels, and dropout of the networks."""
    family = make()
    shapes = jax.eval_shape(family.init, KEY, examples())[0]

    def loss(params, key):
        return losses.compute(family, params, examples(), key, player=player, frozen=FROZEN).value

    found = draws(loss, shapes, KEY)
    assert not repeated(found) and len(found) == count, found
    held_out = draws(lambda p, key: family.evaluate(Weights(p, (), FROZEN), examples(), key), shapes, KEY)
    assert held_out == []


@pytest.mark.parametrize("make", [partial(real_prior, FLAT), real_stream], ids=["prior", "dalle"])
def test_guidance_of_0_draws_what_is_drawn_without_label_or_text(make):
    """l_u + 0 (l_c - l_u): the null class and the empty text are those that training drops to."""
    family = make()
    weights, count = perturbed.noise(family, examples(1), scale=1.0, frozen=FROZEN), 24
    given, index = Conditions(label=jnp.arange(count) % CLASSES, tokens=examples(count)["tokens"]), jnp.arange(count)
    empty = Conditions(label=jnp.full(count, CLASSES), tokens=jnp.zeros((count, S), jnp.int32))
    draw = jax.jit(family.interface.sample)
    nothing = draw(weights, empty, index, KEY).images
    guided = draw(weights, given._replace(options={"guidance_scale": jnp.float32(0.0)}), index, KEY).images
    np.testing.assert_array_equal(guided, nothing)
    assert (draw(weights, given, index, KEY).images != nothing).any()
