"""Autoencoders: what the corruptions do, what is learned to be undone, features, refusals."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from genjax import generate
from genjax.configs import ae_digits, dae_digits
from genjax.families import autoencoder, registry
from genjax.families.interfaces import FeatureExtractor, Weights
from genjax.typing import DataSpec
from tests.families import losses
from tests.families.draws import draws, repeated

SPEC = DataSpec((8, 8, 1), num_classes=10)
KEY = jax.random.key(0)
BLACK_AND_WHITE = jnp.where(jax.random.bernoulli(KEY, 0.5, (64, 8, 8, 1)), 0.9, -0.9)


def build(module=ae_digits, **model):
    config = module.get_config("tiny")
    config.model.update(model)
    return registry.build(config.family, config.model.to_dict(), {}, SPEC)


def stripes(count):
    """Images of one number: each is constant, so that a pixel's neighbours tell what it was."""
    return jnp.broadcast_to(jnp.linspace(-0.8, 0.8, count)[:, None, None, None], (count, 8, 8, 1))


def train(family, images, steps=150):
    optimizer = optax.adam(5e-3)
    params = jax.jit(family.init)(KEY, {"image": images[:1]})[0]["model"]

    def step(carry, i):
        params, state = carry

        def value(params):
            key = jax.random.fold_in(KEY, i)
            return losses.compute(family, {"model": params}, {"image": images}, key, step=i).value

        loss, grads = jax.value_and_grad(value)(params)
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


def linear(**corruption):
    """(family, weights, M): 2x2 images through a code of three numbers and back, x M + b in float64."""
    rng = np.random.default_rng(0)
    layers = {"encoder": rng.normal(size=(4, 3)) / 2, "decoder": rng.normal(size=(3, 4)) / 2}
    bias = np.array([0.1, -0.2, 0.3, 0.0])
    params = {
        name: {"mlp": {"dense_out": {"kernel": jnp.asarray(kernel, jnp.float32), "bias": jnp.zeros(kernel.shape[1])}}}
        for name, kernel in layers.items()
    }
    params["decoder"]["mlp"]["dense_out"]["bias"] = jnp.asarray(bias, jnp.float32)
    network = {"name": "mlp", "hidden": (), "activation": "tanh"}
    model = {"network": network, "corruption": {"name": "none", "amount": 0.0, **corruption}, "code_dim": 3}
    family = registry.build("autoencoder", model, {}, DataSpec((2, 2, 1)))
    return family, Weights({"model": params}, (), {}), layers["encoder"] @ layers["decoder"], bias


def make_images(count):
    return np.random.default_rng(1).uniform(-0.9, 0.9, (count, 4))


def as_images(flat):
    return jnp.asarray(flat.reshape(-1, 2, 2, 1), jnp.float32)


def psnr(a, b):
    return 10 * np.log10(4 / ((a - b) ** 2).mean(1))


@pytest.mark.parametrize(("name", "amount", "variance"), [("none", 0.0, 0.0), ("gaussian", 0.6, 0.36)])
def test_the_loss_is_the_squared_error_of_clean_images(name, amount, variance):
    """Noise of variance s^2 on what is seen adds s^2 |M|^2 to the error, and none to the target."""
    family, weights, matrix, bias = linear(name=name, amount=amount)
    x = make_images(8_000)
    found = losses.jitted(family, weights.params, {"image": as_images(x)}, KEY)
    expected = ((x @ matrix + bias - x) ** 2).mean() + variance * (matrix**2).sum() / 4
    np.testing.assert_allclose(found.value, expected, rtol=0.02 if amount else 1e-5)


def test_corruption_acts_on_what_is_seen_in_training_and_in_no_feature():
    """With all pixels black, every image is seen as the same one; targets and features are of the image itself."""
    family, weights, matrix, bias = linear(name="masking", amount=1.0)
    x = make_images(16)
    black = -np.ones_like(x) @ matrix + bias
    found = losses.jitted(family, weights.params, {"image": as_images(x)}, KEY)
    np.testing.assert_allclose(found.value, ((black - x) ** 2).mean(), rtol=1e-5)
    values = jax.jit(family.evaluate)(weights, {"image": as_images(x)}, KEY)
    clean = np.clip(x @ matrix + bias, -1, 1)
    assert np.abs(x @ matrix + bias).max() > 1, "reconstructions are clipped"
    np.testing.assert_allclose(values["mse"], ((clean - x) ** 2).mean(1), rtol=1e-4)
    np.testing.assert_allclose(values["psnr"], psnr(clean, x), rtol=1e-4)
    np.testing.assert_allclose(values["corrupted_psnr"], psnr(-np.ones_like(x), x), rtol=1e-4)
    np.testing.assert_allclose(values["denoised_psnr"], psnr(np.clip(black, -1, 1), x), rtol=1e-4)
    np.testing.assert_allclose(jax.jit(family.reconstruct)(weights, as_images(x), KEY).reshape(-1, 4), clean, atol=1e-5)
    encoder = weights.params["model"]["encoder"]["mlp"]["dense_out"]["kernel"]
    found = jax.jit(family.interface.features)(weights, as_images(x))
    np.testing.assert_allclose(found, x @ np.asarray(encoder), atol=1e-5)


@pytest.mark.parametrize(("name", "count"), [("none", 0), ("gaussian", 1), ("masking", 1), ("salt_and_pepper", 2)])
def test_every_draw_has_a_key_of_its_own(name, count):
    family, weights, *_ = linear(name=name, amount=0.3)
    batch = {"image": as_images(make_images(4))}
    found = draws(lambda key: losses.compute(family, weights.params, batch, key).value, KEY)
    assert len(found) == count and not repeated(found)
    assert all(draw.shape == (4, 2, 2, 1) for draw in found), "a number of each pixel of each image"


@pytest.mark.slow
def test_denoising_is_learned():
    # Of constant images under noise of .75 the mean of 64 pixels is known to .09: 20 dB; a copy would have 8.5 dB.
    images = stripes(32)
    family = build(dae_digits)
    weights, losses = train(family, images)
    values = jax.jit(family.evaluate)(weights, {"image": images}, KEY)
    assert values["corrupted_psnr"].mean() == pytest.approx(8.5, abs=0.5)
    assert values["denoised_psnr"].mean() > 15.0
    assert losses[-20:].mean() < 0.1 * losses[0]


def test_features_are_of_each_image_alone_and_uncorrupted():
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
    with pytest.raises(ValueError, match="draws no images.*vae_digits"):
        generate.require_sampler(family.interface, "autoencoder")


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
