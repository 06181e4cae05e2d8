"""unCLIP's diffusion prior: what it learns, what it draws, and what it is told."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from genjax import generate
from genjax.core import rng
from genjax.families import registry
from genjax.families.interfaces import Conditions, Weights
from genjax.families.shared import prior as prior_lib
from tests.families import losses, perturbed, toy_clip
from tests.families.toy_clip import CLIP, DIM, FROZEN, SPEC

KEY = jax.random.key(0)
MODEL = {
    "schedule": {"name": "cosine", "num_steps": 100},
    "network": {"width": 16, "depth": 1, "num_heads": 2},
    "text_dropout": 0.25,
    "scale": 2.0,
    "fit_steps": 0,
    "dtype": "float32",
}
SAMPLING = {"sampler": {"name": "ancestral"}, "num_steps": "10", "threshold": {"name": "none"}, "candidates": 1}


def build(spec=SPEC, clip=CLIP, sampling=SAMPLING, **model):
    return registry.build("clip_prior", {**MODEL, **model}, sampling, spec, {"clip": clip})


@pytest.fixture(scope="module")
def fresh():
    """(family, parameters, extra)"""
    family = build(fit_steps=10)
    params, extra = jax.jit(family.init)(KEY, toy_clip.batch(1))
    return family, params["model"], extra


@pytest.fixture(scope="module")
def trained(fresh):
    """(family, weights, batches) after 300 steps, the first ten of which only measure."""
    (family, params, extra), optimizer = fresh, optax.adam(optax.cosine_decay_schedule(1e-2, 300))

    def step(carry, number):
        params, state, extra = carry
        batch = jax.tree.map(lambda x: x[number % 20], everything)
        key = jax.random.fold_in(KEY, number)

        def value(params):
            found = losses.compute(family, {"model": params}, batch, key, extra=extra, frozen=FROZEN, step=number)
            return found.value, found.extra

        (loss, extra), grads = jax.value_and_grad(value, has_aux=True)(params)
        updates, state = optimizer.update(grads, state)
        return (optax.apply_updates(params, updates), state, extra), loss

    everything = jax.tree.map(lambda x: x.reshape(20, 32, *x.shape[1:]), toy_clip.batch(640))
    carry = (params, optimizer.init(params), extra)
    (params, _, extra), values = jax.jit(lambda carry: jax.lax.scan(step, carry, jnp.arange(300)))(carry)
    assert (values[:10] == 0).all() and (values[10:] > 0).all()
    return family, Weights({"model": params}, extra, FROZEN), everything


def embeddings(everything):
    images = everything["image"].reshape(-1, *toy_clip.SHAPE)
    return np.asarray(toy_clip.encode_image(None, images, None)), np.asarray(everything["tokens"].reshape(-1, 3)[:, 0])


@pytest.mark.slow
def test_whitening_is_measured_on_the_first_batches(trained):
    _, weights, everything = trained
    seen, _ = embeddings(jax.tree.map(lambda x: x[:10], everything))
    np.testing.assert_allclose(weights.extra.mean, seen.mean(axis=0), atol=1e-5)
    np.testing.assert_allclose(weights.extra.std, seen.std(axis=0), rtol=1e-4)
    assert weights.extra.moments.count == 320


@pytest.mark.slow
def test_draws_have_the_moments_of_each_captions_embeddings(trained):
    """The first moment of p(z_i | y), for both captions; of length 1, and not told apart without a caption."""
    family, weights, everything = trained
    seen, word = embeddings(everything)
    count = 200
    tokens = jnp.asarray(toy_clip.batch(count)["tokens"])
    run = jax.jit(family.interface.sample_embeddings)
    drawn = np.asarray(run(weights, Conditions(tokens=tokens), jnp.arange(count), KEY))
    np.testing.assert_allclose(np.linalg.norm(drawn, axis=1), 1, atol=1e-5)
    means = [seen[word == which].mean(axis=0) for which in (1, 2)]
    found = [drawn[np.asarray(tokens[:, 0]) == which].mean(axis=0) for which in (1, 2)]
    apart = np.linalg.norm(means[0] - means[1])
    assert max(np.linalg.norm(a - b) for a, b in zip(means, found, strict=True)) < 0.15 * apart
    empty = np.asarray(run(weights, Conditions(tokens=jnp.zeros_like(tokens)), jnp.arange(count), KEY))
    assert np.linalg.norm(empty.mean(axis=0) - seen.mean(axis=0)) < 0.2 * apart


@pytest.mark.slow
def test_from_pure_noise_it_estimates_the_conditional_mean(trained):
    """At the last step x_t says nothing, and the least squared error is the mean of p(z_i | y)."""
    family, weights, everything = trained
    seen, word = embeddings(everything)
    model = family.interface.sample_embeddings.__self__
    tokens = jnp.array([[1, 3, 0], [2, 3, 0]])
    caption = prior_lib.read_caption(CLIP, FROZEN, tokens)
    net = jax.jit(lambda x: model.bind(weights.params["model"], caption)(x, jnp.full((2,), 99.0)))
    noise = jax.random.normal(KEY, (64, 2, DIM))
    guess = jnp.stack([net(x) for x in noise]).mean(axis=0) * weights.extra.std + weights.extra.mean
    means = np.stack([seen[word == which].mean(axis=0) for which in (1, 2)])
    assert np.abs(guess - means).max() < 0.1 * np.linalg.norm(means[0] - means[1])


def test_a_sample_does_not_depend_on_its_batch_and_guidance_of_one_is_none():
    family = build()
    weights = perturbed.noise(family, toy_clip.batch(1), frozen=FROZEN)
    tokens = jnp.asarray(toy_clip.batch(6)["tokens"])
    run = jax.jit(family.interface.sample_embeddings)
    whole = run(weights, Conditions(tokens=tokens), jnp.arange(6), KEY)
    part = run(weights, Conditions(tokens=jnp.roll(tokens, -2, axis=0)), jnp.array([2, 3, 9, 30, 7, 8]), KEY)
    np.testing.assert_allclose(part[:2], whole[2:4], atol=1e-5)
    assert jnp.abs(part[2:] - whole[4:].repeat(2, axis=0)).max() > 1e-3
    guided = run(weights, Conditions(tokens=tokens, options={"guidance_scale": jnp.asarray(1.0)}), jnp.arange(6), KEY)
    np.testing.assert_allclose(guided, whole, atol=1e-5)


def test_the_draw_nearest_to_the_caption_is_kept():
    text = jnp.asarray(toy_clip.unit(np.random.default_rng(0).normal(size=(5, DIM)).astype(np.float32)))
    keys = rng.of_samples(KEY, jnp.arange(5))

    def draw(keys):
        return jax.vmap(lambda key: jax.random.normal(key, (DIM,)))(keys)

    def dots(candidates):
        best = jax.jit(lambda keys: prior_lib.best_of(draw, candidates, text, keys))(keys)
        np.testing.assert_allclose(np.linalg.norm(best, axis=1), 1, atol=1e-5)
        return np.sum(best * text, axis=1)

    kept = [dots(candidates) for candidates in (1, 2, 8)]
    assert (kept[0] <= kept[1]).all() and (kept[1] <= kept[2]).all() and (kept[0] < kept[2]).any()


def test_cached_embeddings_are_as_good_as_images():
    family, batch = build(), toy_clip.batch(8)
    params, extra, *_ = perturbed.noise(family, batch)

    def value(batch):
        return losses.jitted(family, params, batch, KEY, extra=extra, frozen=FROZEN, step=20).value

    cached = {"tokens": batch["tokens"], "image_embed": toy_clip.encode_image(None, batch["image"], None)}
    np.testing.assert_allclose(value(cached), value(batch), rtol=1e-6)


def test_what_does_not_fit_is_refused():
    with pytest.raises(ValueError, match="config.data.tokenizer"):
        build(spec=SPEC._replace(text_length=9))
    with pytest.raises(ValueError, match="text_dropout"):
        family = build(text_dropout=0.0)
        family.interface.sample_embeddings(
            Weights({}, (), FROZEN), Conditions(options={"guidance_scale": jnp.asarray(2.0)}), jnp.arange(1), KEY
        )
    with pytest.raises(ValueError, match="draws no images.*the whole chain"):
        generate.require_sampler(build().interface, "a prior")
