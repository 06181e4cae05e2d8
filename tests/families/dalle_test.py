"""DALL-E: the weighted loss, where codes come from, drawing and its options, completion, shards, and bad input."""

import math
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from genjax import sharding
from genjax.autoregressive import sample as autoregressive
from genjax.configs.recipes import dalles
from genjax.families import dalle, registry
from genjax.families.interfaces import Conditions, ImageSampler, Tokenizer, Weights
from genjax.training import optim, step
from genjax.training import state as state_lib
from genjax.typing import DataSpec
from tests.families import losses, perturbed

S, V, K = 5, 9, 6
SPEC = DataSpec((8, 8, 1), has_text=True, text_length=S, vocab_size=V)
KEY = jax.random.key(0)


def encode(weights, images):
    """Mean brightness of 2x2 patches, in K levels; the frozen weights shift it."""
    means = images.reshape(len(images), 4, 2, 4, 2).mean((2, 4)) + weights.params["shift"]
    return (jnp.clip(jnp.floor((means + 1) / 2 * K), 0, K - 1).astype(jnp.int32),)


def decode(weights, codes):
    """Patches of even brightness."""
    return (2 * codes[0].repeat(2, 1).repeat(2, 2)[..., None] + 1) / K - 1 - 0 * weights.params["shift"]


TOKENIZER = Tokenizer(encode, decode, K, ((4, 4),), (8, 8, 1))
FROZEN = {"tokenizer": Weights({"shift": jnp.float32(0.0)}, (), {})}


def settings(**changes):
    config = dalles.dalle()
    config.model.network.update(width=16, depth=1, num_heads=2, kernel_size=3)
    config.model.network.update(changes.pop("network", {}))
    config.model.update(changes)
    return config.model.to_dict()


def build(spec=SPEC, tokenizer=TOKENIZER, **changes):
    return registry.build("dalle", settings(**changes), {}, spec, {"tokenizer": tokenizer})


def batch(count=8):
    """Images, and texts of 1 to S tokens."""
    rng = np.random.default_rng(0)
    tokens = np.where(np.arange(S) <= np.arange(count)[:, None] % S, rng.integers(1, V, (count, S)), 0)
    image = rng.uniform(-1, 1, (count, 8, 8, 1)).astype(np.float32)
    return {"image": jnp.asarray(image), "tokens": jnp.asarray(tokens, jnp.int32)}


@pytest.fixture(scope="module")
def family():
    return build()


@pytest.fixture(scope="module")
def weights(family):
    """Parameters with noise, so that everything matters."""
    return perturbed.weights(family, batch(1), frozen=FROZEN)


@pytest.fixture(scope="module")
def sample(family):
    return jax.jit(family.interface.sample)


def conditions(count, start=0, **options):
    tokens = jnp.tile(batch()["tokens"], (4, 1))[start : start + count]
    options = {name: jnp.float32(value) for name, value in options.items()}
    return Conditions(tokens=tokens, options=options), jnp.arange(start, start + count)


def test_untrained_it_knows_nothing(family):
    assert isinstance(family.interface, ImageSampler)
    assert (family.interface.text_length, family.interface.num_classes) == (S, 0)
    params = jax.jit(family.init)(KEY, batch(1))[0]
    values = jax.jit(family.evaluate)(Weights(params, (), FROZEN), batch(), KEY)
    np.testing.assert_allclose(values["text_nats_per_token"], math.log(V), atol=0.2)
    np.testing.assert_allclose(values["image_nats_per_token"], math.log(K), atol=0.2)


def test_the_rate_of_dropped_texts_is_the_configured_one():
    model = dalle.make_model(dalle.Settings(**settings(text_dropout=0.3)), TOKENIZER, SPEC)
    dropped = model._dropped(jnp.ones((20_000, S), jnp.int32), KEY)
    assert (dropped.max(1) == dropped.min(1)).all()
    assert (dropped == 0).all(1).mean() == pytest.approx(0.3, abs=0.01)


def test_codes_may_come_with_the_batch(weights):
    model = dalle.make_model(dalle.Settings(**settings()), TOKENIZER, SPEC)
    live = model.batch_codes(batch(), FROZEN)
    coded = model.batch_codes({"codes_0": live, "tokens": batch()["tokens"]}, FROZEN)
    np.testing.assert_array_equal(live, encode(FROZEN["tokenizer"], batch()["image"])[0])
    np.testing.assert_array_equal(live, coded)


def test_all_parameters_and_no_frozen_weights_get_a_gradient(family, weights):
    def loss(params, frozen):
        return losses.compute(family, params, batch(), KEY, frozen=frozen).value

    own, frozen = jax.jit(jax.grad(loss, argnums=(0, 1)))(weights.params, FROZEN)
    assert all(jnp.abs(leaf).max() > 0 for leaf in jax.tree.leaves(own))
    assert (frozen["tokenizer"].params["shift"] == 0).all()


def test_an_image_depends_on_its_text_and_not_on_the_batch(sample, weights):
    requested, index = conditions(6)
    together = sample(weights, requested, index, KEY).images
    assert together.shape == (6, 8, 8, 1) and len(np.unique(np.asarray(together), axis=0)) == 6
    np.testing.assert_array_equal(together[3:], sample(weights, *conditions(6, start=3), KEY).images[:3])
    other = sample(weights, Conditions(tokens=1 + requested.tokens % (V - 1)), index, KEY).images
    assert (other != together).any()


def test_options_are_traced_and_change_the_draw(family, sample, weights):
    count = 0

    @jax.jit
    def draw(conditions):
        nonlocal count
        count += 1
        return family.interface.sample(weights, *conditions, KEY).images

    neutral = family.interface.options
    assert neutral == {"guidance_scale": 1.0, "temperature": 1.0, "top_k": 0.0, "top_p": 1.0}
    at_neutral = draw(conditions(6, **neutral))
    # Another code would be another colour; two programs round the same one differently.
    np.testing.assert_allclose(at_neutral, sample(weights, *conditions(6), KEY).images, atol=1e-6)
    for changed in ({"guidance_scale": 9.0}, {"temperature": 0.1}, {"top_k": 1.0}, {"top_p": 0.1}):
        assert (draw(conditions(6, **{**neutral, **changed})) != at_neutral).any(), changed
    assert count == 1


def test_guidance_draws_nothing_that_is_unlikely_for_the_text():
    """What is likely without the text alone is not drawn, whatever the scale; the noise in its logits is large."""
    requested = jnp.log(jnp.array([[0.5, 0.4, 0.09, 0.01]]))
    nothing = jnp.array([[0.0, 0.0, -90.0, -90.0]])
    both = dalle._filter_requested(jnp.concatenate([requested, nothing]), {"top_p": jnp.float32(0.85)})
    for scale in (0.5, 1.0, 3.0):
        guided = autoregressive.guide(both, scale)
        assert guided[0].argmax() == 0 and (jax.nn.softmax(guided)[0, 2:] == 0).all()
    assert jnp.isfinite(autoregressive.guide(both, 0.0)).all()


class Answers(nn.Module):
    """The same logits of every code: of texts those of `TEXT`, of no text those of `NOTHING`."""

    vocab_size: int
    text_length: int
    num_codes: int
    grid: tuple[int, int]
    dtype: Any = None

    def start(self, tokens):
        return (tokens != 0).any(1)

    def step(self, cache, code, position):
        return jnp.where(cache[:, None], TEXT, NOTHING), cache


TEXT = jnp.log(jnp.array([0.5, 0.4, 0.06, 0.03, 0.005, 0.005]))
NOTHING = jnp.log(jnp.array([0.4, 0.59, 0.001, 0.001, 0.004, 0.004]))


@pytest.mark.parametrize("given", [{"top_p": 0.85}, {"top_k": 2.0}])
def test_with_guidance_the_filters_are_of_what_the_text_alone_makes_likely(monkeypatch, given):
    """Where guidance makes of unlikely codes the likeliest ones."""
    monkeypatch.setattr(dalle.dalle, "DalleTransformer", Answers)
    family = registry.build("dalle", {"network": {}, "text_dropout": 0.1}, {}, SPEC, {"tokenizer": TOKENIZER})
    weights, index = Weights({"model": {}}, (), FROZEN), jnp.arange(4)
    draw, codes = jax.jit(family.interface.sample), []
    for options in ({}, given):
        options = {name: jnp.float32(value) for name, value in ({"guidance_scale": 3.0} | options).items()}
        requested = Conditions(tokens=jnp.ones((4, S), jnp.int32), options=options)
        codes.append(encode(FROZEN["tokenizer"], draw(weights, requested, index, KEY).images)[0])
    assert jnp.mean(codes[0] >= 2) > 0.9 and codes[1].max() <= 1


def test_given_codes_stay(family, weights):
    known = jnp.full((6, 4, 4), 2).at[:, 0, 0].set(5)
    mask = jnp.broadcast_to(jnp.arange(4)[:, None] < 2, known.shape)
    requested, index = conditions(6)
    requested = requested._replace(codes=(known,), codes_mask=(mask,))
    codes = encode(FROZEN["tokenizer"], jax.jit(family.interface.sample)(weights, requested, index, KEY).images)[0]
    np.testing.assert_array_equal(codes[:, :2], known[:, :2])
    assert len(np.unique(codes[:, 2:])) > 3


@pytest.mark.slow
def test_cut_over_eight_devices_a_step_is_the_step_of_one():
    """On a mesh with all three axes: parameters, losses and gradients after two steps, to 1e-4."""
    family = build(network={"width": 32, "mlp_ratio": 8}, text_dropout=0.5)
    optimizers = optim.make_optimizers(dalles.dalle().optimizer.to_dict(), family, 10)
    train_step = step.make_train_step(family, optimizers, step.Ema(0.99))
    init = state_lib.make_init(family, optimizers, keep_ema=True)
    results = []
    for mesh in (sharding.make_mesh(devices=jax.devices()[:1]), sharding.make_mesh(data=2, fsdp=2, tensor=2)):
        shardings = state_lib.state_shardings(jax.eval_shape(init, KEY, batch(1)), mesh, family)
        state = jax.device_put(jax.jit(init)(KEY, batch(1)), shardings)
        placed = jax.device_put(batch(), sharding.batch_sharding(mesh))
        run = jax.jit(train_step, in_shardings=(shardings, None, None, None), out_shardings=(shardings, None))
        for _ in range(2):
            state, metrics = run(state, placed, jax.device_put(FROZEN, sharding.replicated(mesh)), KEY)
        results.append((jax.device_get(state.params), jax.device_get(metrics), state))
    specs = {leaf.sharding.spec for leaf in jax.tree.leaves(results[1][2].params)}
    assert {axis for spec in specs for axis in spec} >= {"fsdp", "tensor"}
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-4), results[0][0], results[1][0])
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-4), results[0][1], results[1][1])


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda: registry.build("dalle", settings(), {}, SPEC), "stages.tokenizer.workdir=DIR"),
        (lambda: build(tokenizer="vae"), "has to be the run of a Tokenizer"),
        (lambda: build(tokenizer=TOKENIZER._replace(grids=((2, 2), (4, 4)))), "draws one grid of codes"),
        (lambda: build(tokenizer=TOKENIZER._replace(image_shape=(16, 16, 1))), r"\(16, 16, 1\), config.data has"),
        (lambda: build(spec=DataSpec((8, 8, 1), has_text=True)), "set config.data.tokenizer"),
        (lambda: build(widths=3), "unknown"),
    ],
)
def test_bad_input_is_told_of(make, words):
    with pytest.raises((ValueError, AttributeError, KeyError), match=words):
        make()


def test_guidance_needs_dropped_texts(weights):
    with pytest.raises(ValueError, match="text_dropout > 0"):
        build(text_dropout=0.0).interface.sample(weights, *conditions(2, guidance_scale=2.0), KEY)
