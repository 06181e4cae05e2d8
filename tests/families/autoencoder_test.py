"""Autoencoders: what the corruptions do, what is learned to be undone, features, refusals."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from configs import ae_digits, dae_digits
from genjax.families import autoencoder, registry
from genjax.families.base import FeatureExtractor, LossInputs, Weights
from genjax.typing import DataSpec

SPEC = DataSpec((8, 8, 1), num_classes=10)
KEY = jax.random.key(0)
BLACK_AND_WHITE = jnp.where(jax.random.bernoulli(KEY, 0.5, (64, 8, 8, 1)), 0.9, -0.9)


def build(module=ae_digits, **model):
    config = module.get_config("tiny")
    config.model.update(model)
    return registry.build(config.family, config.model.to_dict(), {}, SPEC)


def stripes(count):
    """Pictures of one number: each is constant, so that a pixel's neighbours tell what it was."""
    return jnp.broadcast_to(jnp.linspace(-0.8, 0.8, count)[:, None, None, None], (count, 8, 8, 1))


def train(family, images, steps=150):
    optimizer = optax.adam(5e-3)
    params = jax.jit(family.init)(KEY, {"image": images[:1]})[0]["model"]

    def step(carry, i):
        params, state = carry
        inputs = LossInputs({}, (), {}, {"image": images}, jax.random.fold_in(KEY, i), i)
        (loss, _), grads = jax.value_and_grad(family.players[0].loss, has_aux=True)(params, inputs)
        updates, state = optimizer.update(grads, state)
        return (optax.apply_updates(params, updates), state), loss

    run = jax.jit(lambda carry: jax.lax.scan(step, carry, jnp.arange(steps)))
    (params, _), losses = run((params, optimizer.init(params)))
    return Weights({"model": params}, (), {}), losses


def test_gaussian_corruption():
    noise = autoencoder.CORRUPTIONS["gaussian"](BLACK_AND_WHITE, 0.5, KEY) - BLACK_AND_WHITE
    assert noise.mean() == pytest.approx(0.0, abs=0.03) and noise.std() == pytest.approx(0.5, rel=0.03)


def test_masking_makes_a_share_black_and_leaves_the_rest():
    corrupted = autoencoder.CORRUPTIONS["masking"](BLACK_AND_WHITE, 0.3, KEY)
    changed = corrupted != BLACK_AND_WHITE
    assert changed.mean() == pytest.approx(0.3, abs=0.02) and (corrupted[changed] == -1).all()


def test_salt_and_pepper_are_even():
    corrupted = autoencoder.CORRUPTIONS["salt_and_pepper"](BLACK_AND_WHITE, 0.4, KEY)
    changed = corrupted != BLACK_AND_WHITE
    assert changed.mean() == pytest.approx(0.4, abs=0.02)
    assert (jnp.abs(corrupted[changed]) == 1).all() and corrupted[changed].mean() == pytest.approx(0.0, abs=0.05)


def test_the_loss_is_the_squared_error_of_clean_pictures():
    family = build()
    params, extra = jax.jit(family.init)(KEY, {"image": BLACK_AND_WHITE})
    weights = Weights(params, extra, {})
    inputs = LossInputs({}, (), {}, {"image": BLACK_AND_WHITE}, KEY, jnp.int32(0))
    loss, _ = jax.jit(family.players[0].loss)(params["model"], inputs)
    values = jax.jit(family.evaluate)(weights, {"image": BLACK_AND_WHITE}, KEY)
    assert set(values) == {"mse", "psnr"} and values["mse"].shape == (64,)
    assert loss == pytest.approx(float(values["mse"].mean()), rel=0.05)  # reconstructions are clipped


@pytest.mark.slow
def test_denoising_is_learned():
    # Of constant pictures under noise of .75 the mean of 64 pixels is known to .09: 20 dB; a copy would have 8.5 dB.
    images = stripes(32)
    family = build(dae_digits)
    weights, losses = train(family, images)
    values = jax.jit(family.evaluate)(weights, {"image": images}, KEY)
    assert values["corrupted_psnr"].mean() == pytest.approx(8.5, abs=0.5)
    assert values["denoised_psnr"].mean() > 15.0
    assert losses[-20:].mean() < 0.1 * losses[0]


def test_features_are_of_each_picture_alone_and_uncorrupted():
    family = build(dae_digits)
    weights = Weights(jax.jit(family.init)(KEY, {"image": BLACK_AND_WHITE})[0], (), {})
    features = jax.jit(family.interface.features)
    assert isinstance(family.interface, FeatureExtractor) and family.interface.dim == 16
    together = features(weights, BLACK_AND_WHITE[:4])
    assert together.shape == (4, 16)
    np.testing.assert_allclose(features(weights, BLACK_AND_WHITE[2:3])[0], together[2], atol=1e-5)
    assert jnp.abs(together[0] - together[1]).max() > 1e-3


def test_it_is_no_sampler():
    family = build()
    with pytest.raises(ValueError, match="draws no pictures.*vae_digits"):
        family.sample(Weights({}, (), {}), {"index": jnp.arange(2)}, KEY)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"corruption": {"name": "rain", "amount": 0.1}}, "unknown corruption 'rain'.*masking"),
        ({"corruption": {"name": "masking", "amount": 1.5}}, "amount=1.5 is no share of pixels"),
        ({"network": {"name": "rnn"}}, "unknown network 'rnn'"),
    ],
)
def test_refusals(changes, words):
    with pytest.raises(ValueError, match=words):
        build(**changes)
