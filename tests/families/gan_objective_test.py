"""The GAN's losses, penalties and evaluation in closed form: a generator of one number a pixel, a quadratic critic."""

from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from genjax.families import gan, registry
from genjax.families.interfaces import Conditions, Weights
from genjax.typing import DataSpec
from tests.families import losses
from tests.families.draws import draws, repeated

KEY = jax.random.key(7)
SHAPE = (2, 2, 1)


class Generator(nn.Module):
    """images = shift + slope z + mean of the batch in training, else its running mean; a pixel each of z."""

    image_shape: tuple[int, int, int]
    momentum: float = 0.9
    dtype: Any = None

    @nn.compact
    def __call__(self, z, train=False):
        shift, slope = (self.param(name, nn.initializers.zeros, ()) for name in ("shift", "slope"))
        running = self.variable("batch_stats", "mean", jnp.zeros, ())
        images = (shift + slope * z).reshape(-1, *self.image_shape)
        if not train:
            return images + running.value
        if not self.is_initializing() and self.is_mutable_collection("batch_stats"):
            running.value = self.momentum * running.value + (1 - self.momentum) * images.mean()
        return images


class Critic(nn.Module):
    """logit = bias + sum over pixels of linear x + square x^2 / 2, dropped out in training."""

    dropout: float = 0.0
    norm: str = "none"
    dtype: Any = None

    @nn.compact
    def __call__(self, images, train=False):
        bias, linear, square = (self.param(name, nn.initializers.zeros, ()) for name in ("bias", "linear", "square"))
        logits = bias + jnp.sum(linear * images + square * images**2 / 2, axis=(1, 2, 3))
        return nn.Dropout(self.dropout, deterministic=not train)(logits)


@pytest.fixture(autouse=True)
def networks(monkeypatch):
    monkeypatch.setitem(gan.GENERATORS, "line", Generator)
    monkeypatch.setitem(gan.DISCRIMINATORS, "square", Critic)


def build(shape=SHAPE, sampling=(), **model):
    settings = {
        "generator": {"name": "line"},
        "discriminator": {"name": "square"},
        "loss": "least_squares",
        "latent_dim": int(np.prod(shape)),
        "r1": {},
        "augment": {},
    }
    return registry.build("gan", settings | model, dict(sampling), DataSpec(shape))


def params(shift=0.6, slope=0.0, bias=0.3, linear=0.5, square=-0.8):
    generator, critic = {"shift": shift, "slope": slope}, {"bias": bias, "linear": linear, "square": square}
    return jax.tree.map(jnp.float32, {"generator": generator, "discriminator": critic})


EXTRA = {"mean": jnp.float32(0.25)}


def make_images(count=6, shape=SHAPE):
    return np.random.default_rng(0).uniform(-1, 1, (count, *shape))


def as_batch(x):
    return {"image": jnp.asarray(x, jnp.float32)}


def logit(x, bias=0.3, linear=0.5, square=-0.8):
    return bias + (linear * x + square * x**2 / 2).sum((1, 2, 3))


def loss(family, player, weights, x, step=0, key=KEY):
    return losses.jitted(family, weights, as_batch(x), key, player=player, extra=EXTRA, step=step)


@pytest.mark.parametrize(("interval", "step", "factor"), [(1, 5, 1), (3, 5, 0), (3, 6, 3)])
def test_the_discriminators_loss_is_the_formula(interval, step, factor):
    """mean (r - 1)^2 / 2 + f^2 / 2, and gamma / 2 |grad D(x)|^2 at real images, n times that on every n-th step."""
    x, fake = make_images(), np.full((1, *SHAPE), 0.6)
    found = loss(build(r1={"gamma": 0.9, "interval": interval}), "discriminator", params(), x, step)
    r, f = logit(x), logit(fake)
    penalty = factor * 0.9 / 2 * ((0.5 - 0.8 * x) ** 2).sum((1, 2, 3)).mean()
    np.testing.assert_allclose(found.value, (0.5 * (r - 1) ** 2).mean() + 0.5 * f[0] ** 2 + penalty, rtol=1e-5)
    np.testing.assert_allclose(found.metrics["penalty"], penalty, rtol=1e-5)
    np.testing.assert_allclose(found.metrics["real_logits"], r.mean(), rtol=1e-5)
    np.testing.assert_allclose(found.metrics["fake_logits"], f[0], rtol=1e-5)
    np.testing.assert_allclose(found.metrics["accuracy_real"], (r > 0.5).mean(), rtol=1e-5)
    np.testing.assert_allclose(found.metrics["accuracy_fake"], f[0] <= 0.5, rtol=1e-5)
    assert found.extra == EXTRA, "the statistics move in the generator's step alone"


def test_the_generators_loss_is_the_formula_and_its_gradient_comes_through_the_discriminator():
    family, value = build(r1={"gamma": 0.9}), logit(np.full((1, *SHAPE), 0.6))[0]
    found = loss(family, "generator", params(), make_images())
    np.testing.assert_allclose(found.value, 0.5 * (value - 1) ** 2, rtol=1e-5)
    np.testing.assert_allclose(found.metrics["fake_logits"], value, rtol=1e-5)
    np.testing.assert_allclose(found.extra["mean"], 0.9 * 0.25 + 0.1 * 0.6, rtol=1e-5)
    gradient = losses.gradient(family, params(), as_batch(make_images()), KEY, player="generator", extra=EXTRA)
    np.testing.assert_allclose(gradient["shift"], (value - 1) * 4 * (0.5 - 0.8 * 0.6), rtol=1e-4)


def test_the_gradient_penalty_is_between_real_and_generated_images():
    """On one pixel, with both sets constant: E (|linear + square m| - 1)^2 over m between them, evenly."""
    shape, real, count = (1, 1, 1), -0.7, 20_000
    weights = params(shift=0.9, linear=0.2, square=1.5)
    family = build(shape, loss="wasserstein", gradient_penalty=7.0)
    found = loss(family, "discriminator", weights, np.full((count, *shape), real))
    between = np.linspace(real, 0.9, 200_001)
    penalty = 7.0 * ((np.abs(0.2 + 1.5 * between) - 1) ** 2).mean()
    np.testing.assert_allclose(found.metrics["penalty"], penalty, rtol=0.02)
    scores = [0.2 * m + 1.5 * m**2 / 2 for m in (real, 0.9)]
    np.testing.assert_allclose(found.value, scores[1] - scores[0] + found.metrics["penalty"], rtol=1e-4)
    alone = loss(family, "discriminator", weights, np.full((count, *shape), 0.9)).metrics["penalty"]
    np.testing.assert_allclose(alone, 7.0 * (0.2 + 1.5 * 0.9 - 1) ** 2, rtol=1e-4)


def test_both_penalties_add_up():
    found = [
        loss(build(gradient_penalty=weight, r1={"gamma": gamma}), "discriminator", params(), make_images()).metrics[
            "penalty"
        ]
        for weight, gamma in ((2.0, 0.0), (0.0, 0.4), (2.0, 0.4))
    ]
    assert min(found) > 0.01
    np.testing.assert_allclose(found[2], found[0] + found[1], rtol=1e-5)


@pytest.mark.parametrize(("noise", "variance"), [("normal", 1.0), ("uniform", 1 / 3)])
def test_noise_is_the_configured_one_in_both_losses_and_in_samples(noise, variance):
    """The critic reads the mean square of what the generator passes on."""
    family = build(noise=noise, sampling={"standing_passes": 0})
    weights, x = params(shift=0.0, slope=1.0, bias=0.0, linear=0.0, square=0.5), make_images(4_000)
    for player in ("discriminator", "generator"):
        found = loss(family, player, weights, x).metrics["fake_logits"]
        np.testing.assert_allclose(found, variance, rtol=0.05)
    drawn = jax.jit(family.interface.sample)(Weights(weights, EXTRA, {}), Conditions(), jnp.arange(4_000), KEY).images
    np.testing.assert_allclose(((drawn - 0.25) ** 2).mean(), variance, rtol=0.05)


def test_penalties_are_of_what_the_discriminator_sees():
    """With everything cut out, no pixel moves a logit."""
    hidden = {"policy": "cutout", "cutout": 4.0, "fill": 0.1}
    found = loss(build(r1={"gamma": 1.0}, augment=hidden), "discriminator", params(), make_images())
    assert found.metrics["penalty"] == 0.0
    np.testing.assert_allclose(found.metrics["real_logits"], logit(np.full((1, *SHAPE), 0.1))[0], rtol=1e-5)


def test_evaluation_is_without_augmentation_and_dropout():
    family = build(augment={"policy": "cutout", "cutout": 4.0}, discriminator={"name": "square", "dropout": 0.5})
    x = np.concatenate([np.full((7, *SHAPE), -0.9), np.full((1, *SHAPE), 0.6)])
    weights = Weights(params(), EXTRA, {})
    values = jax.jit(family.evaluate)(weights, as_batch(x), KEY)
    r, f = logit(x), logit(np.full((8, *SHAPE), 0.6))
    np.testing.assert_allclose(values["real_logits"], r, rtol=1e-5)
    np.testing.assert_allclose(values["fake_logits"], f, rtol=1e-5)
    np.testing.assert_array_equal(values["accuracy_real"], r > 0.5)
    np.testing.assert_array_equal(values["accuracy_fake"], f <= 0.5)
    np.testing.assert_array_equal(values["mode_coverage"], [0] * 7 + [1])  # the lonely one is met


def test_samples_are_drawn_with_the_mean_statistics_of_many_batches():
    """A slope of 0: every batch has the mean .6, which training's running mean of .25 doesn't know."""
    conditions = (Conditions(), jnp.arange(3))
    for passes, mean in ((5, 0.6), (0, 0.25)):
        family = build(sampling={"standing_passes": passes, "standing_batch": 4})
        images = jax.jit(family.interface.sample)(Weights(params(), EXTRA, {}), *conditions, KEY).images
        np.testing.assert_allclose(images, 0.6 + mean, rtol=1e-5)
    # With a slope, batches differ: their mean is nearer to 0 than one of them.
    noisy = Weights(params(shift=0.0, slope=1.0), EXTRA, {})

    def spread(passes):
        family = build(sampling={"standing_passes": passes, "standing_batch": 4})
        means = jax.jit(jax.vmap(lambda key: family.interface.sample(noisy, *conditions, key).images.mean()))
        own = jax.jit(jax.vmap(lambda key: running.interface.sample(noisy, *conditions, key).images.mean()))
        keys = jax.random.split(KEY, 100)
        return np.std(means(keys) - own(keys))

    running = build(sampling={"standing_passes": 0})
    np.testing.assert_allclose([spread(1), spread(16)], [1 / 4, 1 / 16], rtol=0.3)


@pytest.mark.parametrize("player", ["discriminator", "generator"])
def test_every_draw_has_a_key_of_its_own(player):
    """Noise; and of each set of images that is judged, augmentation and dropout."""
    family = build(augment={"policy": "color,cutout"}, discriminator={"name": "square", "dropout": 0.5})
    batch = as_batch(make_images())

    def made(key):
        return draws(lambda key: losses.compute(family, params(), batch, key, player=player, extra=EXTRA).value, key)

    found = made(KEY)
    assert len(found) == (13 if player == "discriminator" else 7) and not repeated(found)
    assert not {draw.key for draw in found} & {draw.key for draw in made(jax.random.key(8))}
    held_out = draws(lambda key: family.evaluate(Weights(params(), EXTRA, {}), batch, key), KEY)
    assert len(held_out) == 1
