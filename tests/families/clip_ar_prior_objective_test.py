"""The autoregressive prior's loss in float64, and what it is told: a network of one table that notes its input."""

from functools import cache
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.special

from genjax.families import clip_ar_prior, registry
from genjax.families.interfaces import Conditions, Weights
from genjax.nn.embedding_code_transformer import EmbeddingCodeTransformer
from tests.families import losses, perturbed, toy_clip
from tests.families.draws import draws, repeated
from tests.families.toy_clip import CLIP, FROZEN, SPEC
from tests.families.watch import Watch

KEY = jax.random.key(8)
AXES, CODES, DOTS, SPAN, FIT = 3, 6, 8, 0.7, 4
WATCH = Watch()


class Network(nn.Module):
    """Logits of each code from a table."""

    num_axes: int
    num_codes: int
    num_dots: int
    text_length: int
    dtype: Any = None

    @nn.compact
    def __call__(self, codes, states, mask, text_embed, dot, train=False):
        WATCH.note(codes=codes, states=states, mask=mask, text_embed=text_embed, dot=dot, train=train)
        table = self.param("table", nn.initializers.normal(2.0), (self.num_axes, self.num_codes))
        return jnp.broadcast_to(table, (len(codes), *table.shape))


@pytest.fixture
def stub(monkeypatch):
    monkeypatch.setattr(clip_ar_prior, "EmbeddingCodeTransformer", Network)
    WATCH.calls()


def build(sampling=(), network=(), **model):
    settings = {"network": dict(network), "num_axes": AXES, "num_codes": CODES, "num_dots": DOTS, "span": SPAN}
    settings |= {"fit_steps": FIT, "text_dropout": 0.3, **model}
    return registry.build("clip_ar_prior", settings, {"candidates": 1, **dict(sampling)}, SPEC, {"clip": CLIP})


def state(family):
    params, extra = jax.jit(family.init)(KEY, toy_clip.batch(1))
    WATCH.calls()  # of `init`
    return params, extra


@cache
def stubbed():
    """(a family of the stub, its parameters, its state); for tests that use the fixture."""
    family = build()
    return family, *state(family)


def embeddings(batch):
    """z_i and z_t in float64."""
    z_i = np.asarray(batch["image"], np.float64).mean((1, 2))
    z_t = np.asarray(toy_clip.TABLE, np.float64)[np.asarray(batch["tokens"])[:, 0]]
    return (z / np.linalg.norm(z, axis=1, keepdims=True) for z in (z_i, z_t))


def codes_of(z):
    """The first axes as they are, which is what is measured before anything is."""
    return np.clip(np.floor((z[:, :AXES] / SPAN + 1) / 2 * CODES), 0, CODES - 1).astype(int)


def cost(table, codes):
    log_p = scipy.special.log_softmax(np.asarray(table, np.float64), axis=-1)
    return -log_p[np.arange(AXES), codes]


def test_the_loss_is_the_formula_and_captions_are_dropped_with_their_dot_product(stub):
    (family, params, extra), count = stubbed(), 2_000
    batch = toy_clip.batch(count)
    found = losses.jitted(family, params, batch, KEY, extra=extra, frozen=FROZEN, step=FIT)
    z_i, z_t = embeddings(batch)
    codes = codes_of(z_i)
    nats = cost(params["model"]["table"], codes)
    np.testing.assert_allclose(found.value, nats.mean(), rtol=1e-4)
    right = np.argmax(params["model"]["table"], -1) == codes
    np.testing.assert_allclose(found.metrics["accuracy"], right.mean(), atol=1e-3)
    (call,) = WATCH.calls()
    assert call["train"] and (call["codes"] == codes).mean() > 0.999
    dropped = ~call["mask"].any(1)
    assert dropped.mean() == pytest.approx(0.3, abs=0.03)
    bucket = np.floor(((z_i * z_t).sum(1) + 1) / 2 * DOTS).astype(int)
    np.testing.assert_array_equal(call["dot"][dropped], DOTS)
    assert (call["dot"][~dropped] == bucket[~dropped]).mean() > 0.99
    np.testing.assert_array_equal(call["text_embed"][dropped], 0)
    np.testing.assert_allclose(call["text_embed"][~dropped], z_t[~dropped], rtol=1e-5)
    np.testing.assert_array_equal(call["mask"][~dropped], (np.asarray(batch["tokens"]) != 0)[~dropped])
    np.testing.assert_allclose(found.extra.dots.counts, np.bincount(bucket, minlength=DOTS), atol=3)
    everything = losses.jitted(build(text_dropout=1.0), params, batch, KEY, extra=extra, frozen=FROZEN, step=FIT)
    (call,) = WATCH.calls()
    assert not call["mask"].any() and (call["dot"] == DOTS).all() and everything.value == found.value


@pytest.mark.parametrize(("step", "learns", "measures", "fits"), [(0, 0, 1, 0), (FIT - 1, 0, 1, 1), (FIT, 1, 0, 0)])
def test_it_measures_first_fits_once_and_then_learns(stub, step, learns, measures, fits):
    (family, params, extra), batch = stubbed(), toy_clip.batch(50)
    found = losses.jitted(family, params, batch, KEY, extra=extra, frozen=FROZEN, step=step)
    assert (found.value > 0) == bool(learns)
    z_i, _ = embeddings(batch)
    assert found.extra.moments.count == 50 * measures
    if fits:
        covariance = np.cov(z_i.T, ddof=0)
        np.testing.assert_allclose(found.extra.axes.mean, z_i.mean(0), atol=1e-5)
        np.testing.assert_allclose(found.extra.axes.std**2, np.linalg.eigvalsh(covariance)[::-1][:AXES], rtol=1e-2)
    else:
        jax.tree.map(np.testing.assert_array_equal, found.extra.axes, extra.axes)


def test_evaluation_is_told_of_every_caption(stub):
    (_, params, extra), batch = stubbed(), toy_clip.batch(30)
    values = jax.jit(build(text_dropout=1.0).evaluate)(Weights(params, extra, FROZEN), batch, KEY)
    z_i, z_t = embeddings(batch)
    codes = codes_of(z_i)
    np.testing.assert_allclose(values["nats_per_code"], cost(params["model"]["table"], codes).mean(1), rtol=1e-4)
    (call,) = WATCH.calls()
    assert call["mask"].any(1).all() and not call["train"]
    np.testing.assert_array_equal(call["dot"], np.floor(((z_i * z_t).sum(1) + 1) / 2 * DOTS))
    kept = np.zeros_like(z_i)
    kept[:, :AXES] = SPAN * ((codes + 0.5) / CODES * 2 - 1)
    cosine = (kept * z_i).sum(1) / np.linalg.norm(kept, axis=1)
    np.testing.assert_allclose(values["cosine"], cosine, rtol=1e-4)


REAL = {"width": 8, "depth": 1, "num_heads": 2, "dropout": 0.5}


def noisy(family):
    return perturbed.noise(family, toy_clip.batch(1), frozen=FROZEN)


def test_every_draw_has_a_key_of_its_own():
    """Dropped captions, and dropout after both branches of the block; none of it in evaluation."""
    family, batch = build(network=REAL), toy_clip.batch(5)
    shapes = jax.eval_shape(family.init, KEY, batch)

    def loss(params, extra, key):
        return losses.compute(family, params, batch, key, extra=extra, frozen=FROZEN, step=9).value

    found = draws(loss, *shapes, KEY)
    assert len(found) == 3 and not repeated(found)
    held_out = draws(lambda p, extra, key: family.evaluate(Weights(p, extra, FROZEN), batch, key), *shapes, KEY)
    assert held_out == []


def test_no_frozen_weight_of_clip_gets_a_gradient():
    family = build(network=REAL)
    params, extra, *_ = noisy(family)

    def loss(frozen):
        return losses.compute(family, params, toy_clip.batch(5), KEY, extra=extra, frozen=frozen, step=9).value

    for leaf in jax.tree.leaves(jax.jit(jax.grad(loss))(FROZEN)):
        np.testing.assert_array_equal(leaf, 0.0)


def test_guidance_of_0_draws_what_is_drawn_for_no_caption():
    family = build(network=REAL)
    weights = noisy(family)
    given, index = Conditions(tokens=toy_clip.batch(40)["tokens"]), jnp.arange(40)
    draw = jax.jit(family.interface.sample_embeddings)
    nothing = draw(weights, Conditions(tokens=jnp.zeros_like(given.tokens)), index, KEY)
    unguided = draw(weights, given._replace(options={"guidance_scale": jnp.float32(0.0)}), index, KEY)
    np.testing.assert_allclose(unguided, nothing, atol=1e-6)
    assert jnp.abs(draw(weights, given, index, KEY) - nothing).max() > 1e-3


def test_of_more_candidates_the_nearest_to_the_caption_is_kept():
    given = (Conditions(tokens=toy_clip.batch(60)["tokens"]), jnp.arange(60))
    _, z_t = embeddings(toy_clip.batch(60))
    near = []
    for candidates in (1, 6):
        family = build({"candidates": candidates}, network=REAL)
        found = jax.jit(family.interface.sample_embeddings)(noisy(family), *given, KEY)
        near.append((np.asarray(found) * z_t).sum(1))
    assert (near[1] >= near[0] - 1e-6).all() and near[1].mean() > near[0].mean() + 0.1


class Watched(EmbeddingCodeTransformer):
    """The real network, whose start is noted."""

    def start(self, states, mask, text_embed, dot):
        WATCH.note(mask=mask, text_embed=text_embed, dot=dot)
        return super().start(states, mask, text_embed, dot)


def test_samples_are_requested_with_a_dot_product_of_the_upper_half(monkeypatch):
    """Half of those seen were in bucket 1, half in 6; without a caption, and in the half for guidance, none is told."""
    monkeypatch.setattr(clip_ar_prior, "EmbeddingCodeTransformer", Watched)
    family = build(network=REAL)
    weights = noisy(family)
    extra = weights.extra
    seen = extra._replace(dots=extra.dots._replace(counts=jnp.zeros(DOTS).at[jnp.array([1, 6])].set(10.0)))
    tokens = toy_clip.batch(4)["tokens"].at[3].set(0)
    given = (Conditions(tokens=tokens, options={"guidance_scale": jnp.float32(2.0)}), jnp.arange(4))
    jax.jit(family.interface.sample_embeddings)(weights._replace(extra=seen), *given, KEY)
    (call,) = WATCH.calls()
    np.testing.assert_array_equal(call["dot"], [6, 6, 6, DOTS] + [DOTS] * 4)
    np.testing.assert_array_equal(call["mask"].any(1), [True] * 3 + [False] * 5)
    np.testing.assert_array_equal(np.abs(call["text_embed"]).sum(1) > 0, [True] * 3 + [False] * 5)
