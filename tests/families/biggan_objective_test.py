"""BigGAN's losses, truncation and evaluation in closed form: a generator of greys, a critic that checks the label."""

from functools import cache
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.stats

from genjax.families import biggan, registry
from genjax.families.interfaces import Conditions, Weights
from genjax.nn.layers import conditional_norm, spectral_norm
from genjax.typing import DataSpec
from tests.families import losses
from tests.families.draws import draws, repeated

KEY = jax.random.key(7)
CLASSES, SHAPE = 3, (2, 2, 1)
GREY = np.array([-0.5, 0.1, 0.7])


class Generator(nn.Module):
    """images = grey of the label + slope z_0 + mean |z|, of the batch in training, else as stored."""

    num_classes: int
    out_channels: int
    dtype: Any = None
    z_dim: int = 5
    image_size: int = 2

    def check(self):
        pass

    @nn.compact
    def __call__(self, z, label, *, train=False, momentum=0.1):
        grey = self.param("grey", lambda key: jnp.asarray(GREY, jnp.float32))
        slope = self.param("slope", nn.initializers.zeros, ())
        level = self.param("level", nn.initializers.zeros, ())
        self.param("kernel", nn.initializers.normal(1.0), (3, 4))
        nn.Embed(CLASSES, 4, name="shared")(label)
        stored = self.variable(conditional_norm.COLLECTION, "mean", jnp.zeros, ())
        passes = self.variable(spectral_norm.COLLECTION, "passes", jnp.zeros, ())
        own = jnp.abs(z).mean()
        if train and not self.is_initializing():
            stored.value = stored.value + momentum * (own - stored.value)
            passes.value = passes.value + 1
        images = grey[label] + slope * z[:, 0] + level * (own if train else stored.value)
        return jnp.broadcast_to(images[:, None, None, None], (len(z), *SHAPE))


class Critic(nn.Module):
    """logit = offset + bonus of the label - strength (mean pixel - grey of the label)^2."""

    num_classes: int
    dtype: Any = None

    @nn.compact
    def __call__(self, images, label, *, train=False):
        grey = self.param("grey", lambda key: jnp.asarray(GREY, jnp.float32))
        bonus = self.param("bonus", nn.initializers.zeros, (self.num_classes,))
        strength = self.param("strength", nn.initializers.ones, ())
        offset = self.variable(spectral_norm.COLLECTION, "offset", jnp.zeros, ())
        logits = offset.value + bonus[label] - strength * (images.mean((1, 2, 3)) - grey[label]) ** 2
        if train and not self.is_initializing():
            offset.value = offset.value + 1
        return logits


@pytest.fixture(autouse=True)
def networks(monkeypatch):
    monkeypatch.setattr(biggan.networks, "Generator", Generator)
    monkeypatch.setattr(biggan.networks, "Discriminator", Critic)


def build(sampling=(), **model):
    settings = {"generator": {}, "discriminator": {}, "loss": "least_squares"} | model
    return registry.build("biggan", settings, dict(sampling), DataSpec(SHAPE, num_classes=CLASSES))


STRENGTH, OFFSET = 3.0, 0.2


@cache
def start():
    return jax.jit(build().init)(KEY, batch(1))


def state(slope=0.0, level=0.0, bonus=(0.0, 0.0, 0.0)):
    """(parameters, extra) with nothing at a neutral value."""
    params, extra = jax.tree.map(lambda leaf: leaf, start())
    params["generator"] |= {"slope": jnp.float32(slope), "level": jnp.float32(level)}
    params["discriminator"] |= {"strength": jnp.float32(STRENGTH), "bonus": jnp.asarray(bonus, jnp.float32)}
    extra["discriminator"][spectral_norm.COLLECTION]["offset"] = jnp.float32(OFFSET)
    extra["generator"][conditional_norm.COLLECTION]["mean"] = jnp.float32(9.0)
    return params, extra


def make_images(count=7):
    return np.random.default_rng(0).uniform(-1, 1, (count, *SHAPE))


def batch(count=7):
    return {
        "image": jnp.asarray(make_images(count), jnp.float32),
        "label": jnp.arange(count, dtype=jnp.int32) % CLASSES,
    }


def loss(family, player, weights, count=7, key=KEY):
    params, extra = weights
    return losses.jitted(family, params, batch(count), key, player=player, extra=extra)


def real_logits(x=None):
    x = make_images() if x is None else x
    return OFFSET - STRENGTH * (x.mean((1, 2, 3)) - GREY[np.arange(len(x)) % CLASSES]) ** 2


def test_the_discriminator_sees_real_images_with_their_labels_and_generated_ones_with_theirs():
    """Generated images have the grey of their label, so their logit is the offset alone; R1 is by the real labels."""
    found, r = loss(build(r1=0.6), "discriminator", state()), real_logits()
    slope = 2 * STRENGTH * (make_images().mean((1, 2, 3)) - GREY[np.arange(7) % CLASSES]) / 4
    r1 = 0.6 / 2 * (4 * slope**2).mean()
    np.testing.assert_allclose(found.metrics["real_logits"], r.mean(), rtol=1e-5)
    np.testing.assert_allclose(found.metrics["fake_logits"], OFFSET, rtol=1e-5)
    np.testing.assert_allclose(found.metrics["r1"], r1, rtol=1e-5)
    np.testing.assert_allclose(found.value, (0.5 * (r - 1) ** 2).mean() + 0.5 * OFFSET**2 + r1, rtol=1e-5)
    np.testing.assert_allclose(found.metrics["accuracy_real"], (r > 0.5).mean(), rtol=1e-5)
    assert found.metrics["accuracy_fake"] == 1.0


def test_the_generators_loss_asks_for_its_own_labels_and_regularises_all_but_the_shared_embedding():
    params, extra = state()
    found = loss(build(orthogonal=0.03), "generator", (params, extra))
    kernel = np.asarray(params["generator"]["kernel"], np.float64)
    off = ((kernel.T @ kernel * (1 - np.eye(4))) ** 2).sum()
    np.testing.assert_allclose(found.metrics["fake_logits"], OFFSET, rtol=1e-5)
    np.testing.assert_allclose(found.metrics["orthogonal"], off, rtol=1e-4)
    np.testing.assert_allclose(found.value, 0.5 * (OFFSET - 1) ** 2 + 0.03 * off, rtol=1e-5)


@pytest.mark.parametrize("player", ["discriminator", "generator"])
def test_labels_of_generated_images_are_drawn_evenly(player):
    """A bonus for one class: the mean logit of generated images says how often it comes."""
    (params, extra), family = state(), build()

    def share(bonus):
        own = {**params, "discriminator": {**params["discriminator"], "bonus": bonus}}
        found = losses.compute(family, own, batch(4_000), KEY, player=player, extra=extra)
        return found.metrics["fake_logits"] - OFFSET

    np.testing.assert_allclose(jax.jit(jax.vmap(share))(jnp.eye(CLASSES)), 1 / CLASSES, atol=0.03)


@pytest.mark.parametrize("player", ["discriminator", "generator"])
def test_a_pass_of_either_player_renews_the_state_of_both(player):
    params, extra = state()
    after = loss(build(r1=0.6), player, (params, extra), count=2_000).extra
    assert after["discriminator"][spectral_norm.COLLECTION]["offset"] == pytest.approx(OFFSET + 1)
    assert after["generator"][spectral_norm.COLLECTION]["passes"] == 1
    expected = 0.9 * 9.0 + 0.1 * np.sqrt(2 / np.pi)
    assert after["generator"][conditional_norm.COLLECTION]["mean"] == pytest.approx(expected, rel=1e-3)


def test_augmentation_acts_on_both_sides_in_both_losses():
    """Everything is cut out: all images are .4, and R1 is taken there."""
    family = build(augment={"policy": "cutout", "cutout": 4.0, "fill": 0.4}, r1=1.0)
    found = loss(family, "discriminator", state())
    np.testing.assert_allclose(found.metrics["real_logits"], real_logits(np.full((7, *SHAPE), 0.4)).mean(), rtol=1e-5)
    slope = 2 * STRENGTH * (0.4 - GREY[np.arange(7) % CLASSES]) / 4
    np.testing.assert_allclose(found.metrics["r1"], 0.5 * (4 * slope**2).mean(), rtol=1e-5)
    seen = OFFSET - STRENGTH * (0.4 - GREY) ** 2
    for player in ("discriminator", "generator"):
        mean = loss(family, player, state(), count=4_000).metrics["fake_logits"]
        np.testing.assert_allclose(mean, seen.mean(), atol=0.1)


@pytest.mark.parametrize("truncation", [0.0, 0.5])
def test_latents_and_standing_statistics_are_truncated_alike(truncation):
    """What is drawn is grey + mean |z| of the standing passes, and z itself: both of the truncated law."""
    family = build(sampling={"standing_passes": 25, "standing_batch": 100})
    law = scipy.stats.truncnorm(-truncation, truncation) if truncation else scipy.stats.norm()
    count = 300
    conditions = (
        Conditions(label=jnp.arange(count) % CLASSES, options={"truncation": jnp.float32(truncation)}),
        jnp.arange(count),
    )
    params, extra = state(level=1.0)
    draw = jax.jit(family.interface.sample)
    images = draw(Weights(params, extra, {}), *conditions, KEY).images[:, 0, 0, 0]
    standing = images - GREY[np.arange(count) % CLASSES]
    np.testing.assert_allclose(standing, law.expect(abs), rtol=0.02)
    params, _ = state(level=0.0, slope=1.0)
    images = draw(Weights(params, extra, {}), *conditions, KEY).images[:, 0, 0, 0]
    assert scipy.stats.kstest(images - GREY[np.arange(count) % CLASSES], law.cdf).pvalue > 0.01


def test_without_passes_the_stored_statistics_are_used():
    params, extra = state(level=1.0)
    conditions = (Conditions(label=jnp.arange(3)), jnp.arange(3))
    family = build(sampling={"standing_passes": 0})
    images = jax.jit(family.interface.sample)(Weights(params, extra, {}), *conditions, KEY).images
    np.testing.assert_allclose(images[:, 0, 0, 0], GREY + 9.0, rtol=1e-5)


def test_standing_statistics_are_the_plain_mean_over_passes():
    """Passes of one latent each: the mean of their |z|, whose spread over ten is far below that of one."""
    params, extra = state(level=1.0)
    conditions = (Conditions(label=jnp.arange(1)), jnp.arange(1))
    found = []
    for passes in (1, 200):
        family = build(sampling={"standing_passes": passes, "standing_batch": 2})
        images = jax.jit(family.interface.sample)(Weights(params, extra, {}), *conditions, KEY).images
        found.append(float(images[0, 0, 0, 0]) - GREY[0])
    assert found[1] == pytest.approx(np.sqrt(2 / np.pi), abs=0.05) and abs(found[0] - found[1]) > 0.01


def test_evaluation_is_of_the_batchs_labels_with_stored_states_and_without_augmentation():
    family = build(sampling={"standing_passes": 2, "truncation": 0.3}, augment={"policy": "cutout", "cutout": 4.0})
    values = jax.jit(family.evaluate)(Weights(*state(), {}), batch(), KEY)
    np.testing.assert_allclose(values["real_logits"], real_logits(), rtol=1e-4)
    np.testing.assert_allclose(values["fake_logits"], OFFSET, rtol=1e-5)
    np.testing.assert_array_equal(values["accuracy_real"], real_logits() > 0.5)
    np.testing.assert_array_equal(values["accuracy_fake"], 1.0)


def test_coverage_in_a_batch_that_is_filled_up_is_that_of_its_own_images():
    """Four dark images near each other, and none generated near them; with four grey ones their balls reach to it."""
    greys = jnp.array([-0.95, -0.9, -0.85, -0.8, 0.0, 0.0, 0.0, 0.0])
    examples = {"image": greys[:, None, None, None] * jnp.ones((1, *SHAPE)), "label": jnp.zeros(8, jnp.int32)}
    evaluate, weights = jax.jit(build(sampling={"standing_passes": 1}).evaluate), Weights(*state(), {})
    for there, covered in ((4, 0.0), (8, 1.0)):
        values = evaluate(weights, examples | {"present": jnp.arange(8) < there}, KEY)
        np.testing.assert_array_equal(values["mode_coverage"][:4], covered)


@pytest.mark.parametrize("player", ["discriminator", "generator"])
def test_every_draw_has_a_key_of_its_own(player):
    family, (params, extra) = build(augment={"policy": "color,cutout"}, r1=0.5), state()

    def made(key):
        return draws(lambda key: losses.compute(family, params, batch(), key, player=player, extra=extra).value, key)

    found = made(KEY)
    keys = {draw.key for draw in found}
    assert not repeated(found) and not keys & {draw.key for draw in made(jax.random.key(8))}
    assert len(found) == 1 + 2 + 1 + 4  # latents, labels, colour, and rows and columns of the square
