"""unCLIP's autoregressive prior: what it measures, what it learns, what it draws."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from genjax.families import registry
from genjax.families.interfaces import Conditions, Weights
from tests.families import losses, perturbed, toy_clip
from tests.families.toy_clip import CLIP, FROZEN, SPEC

KEY = jax.random.key(0)
MODEL = {
    "network": {"width": 16, "depth": 1, "num_heads": 2},
    "num_axes": 3,
    "num_codes": 16,
    "num_dots": 8,
    "span": 3.0,
    "fit_steps": 10,
    "text_dropout": 0.25,
    "dtype": "float32",
}


def build(spec=SPEC, clip=CLIP, candidates=1, **model):
    return registry.build("clip_ar_prior", {**MODEL, **model}, {"candidates": candidates}, spec, {"clip": clip})


@pytest.fixture(scope="module")
def trained():
    """(family, weights, batches) after 300 steps, the first ten of which only measure."""
    family, optimizer = build(), optax.adam(optax.cosine_decay_schedule(1e-2, 300))
    params, extra = jax.jit(family.init)(KEY, toy_clip.batch(1))
    params = params["model"]
    everything = jax.tree.map(lambda x: x.reshape(20, 32, *x.shape[1:]), toy_clip.batch(640))

    def step(carry, number):
        params, state, extra = carry
        batch = jax.tree.map(lambda x: x[number % 20], everything)

        def value(params):
            key = jax.random.fold_in(KEY, number)
            found = losses.compute(family, {"model": params}, batch, key, extra=extra, frozen=FROZEN, step=number)
            return found.value, found.extra

        (loss, extra), grads = jax.value_and_grad(value, has_aux=True)(params)
        updates, state = optimizer.update(grads, state)
        return (optax.apply_updates(params, updates), state, extra), loss

    carry = (params, optimizer.init(params), extra)
    (params, _, extra), curve = jax.jit(lambda carry: jax.lax.scan(step, carry, jnp.arange(300)))(carry)
    assert (curve[:10] == 0).all() and (curve[10:] > 0).all()
    return family, Weights({"model": params}, extra, FROZEN), everything


def embeddings(everything):
    images = everything["image"].reshape(-1, *toy_clip.SHAPE)
    return np.asarray(toy_clip.encode_image(None, images, None)), np.asarray(everything["tokens"].reshape(-1, 3)[:, 0])


@pytest.mark.slow
def test_axes_and_dot_products_are_measured(trained):
    _, weights, everything = trained
    seen, word = embeddings(everything)
    values = np.linalg.eigvalsh(np.cov(seen[:320].T, ddof=0))[::-1]
    np.testing.assert_allclose(weights.extra.axes.std, np.sqrt(values[:3]), rtol=1e-3)
    assert weights.extra.dots.counts.sum() == 300 * 32
    dot = np.sum(seen * toy_clip.unit(toy_clip.TABLE[word]), axis=1)
    shares = np.histogram(dot, 8, (-1, 1))[0] / len(dot)
    np.testing.assert_allclose(weights.extra.dots.counts / 9_600, shares, atol=1e-3)


@pytest.mark.slow
def test_draws_have_the_moments_of_each_captions_embeddings(trained):
    family, weights, everything = trained
    seen, word = embeddings(everything)
    count = 200
    tokens = jnp.asarray(toy_clip.batch(count)["tokens"])
    drawn = np.asarray(
        jax.jit(family.interface.sample_embeddings)(weights, Conditions(tokens=tokens), jnp.arange(count), KEY)
    )
    np.testing.assert_allclose(np.linalg.norm(drawn, axis=1), 1, atol=1e-5)
    dot = np.sum(seen * toy_clip.unit(toy_clip.TABLE[word]), axis=1)
    high = dot >= np.median(dot)  # what sampling asks for
    means = [seen[high & (word == which)].mean(axis=0) for which in (1, 2)]
    found = [drawn[np.asarray(tokens[:, 0]) == which].mean(axis=0) for which in (1, 2)]
    apart = np.linalg.norm(means[0] - means[1])
    assert max(np.linalg.norm(a - b) for a, b in zip(means, found, strict=True)) < 0.2 * apart


@pytest.mark.slow
def test_evaluation_says_what_codes_lose(trained):
    family, weights, everything = trained
    values = jax.jit(family.evaluate)(weights, jax.tree.map(lambda x: x[0], everything), KEY)
    assert values["cosine"].mean() > 0.9 and values["nats_per_code"].mean() < np.log(16)


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


def test_what_does_not_fit_is_refused():
    with pytest.raises(ValueError, match="num_axes"):
        build(num_axes=9)
    with pytest.raises(ValueError, match="fit_steps"):
        build(fit_steps=0)
