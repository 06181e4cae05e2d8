"""Guides by a text: known gradients of towers in closed form, what compiles anew, and what is refused."""

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from genjax.configs import clip_shapes
from genjax.data import tokenizers
from genjax.diffusion import schedules
from genjax.diffusion.denoisers import Prediction
from genjax.families.interfaces import Conditions, ImageTextEncoder, TextEncoder, TextFeatures, Weights
from genjax.pipelines.guides import clip, energies, image, registry, text
from genjax.stages import Stage
from genjax.typing import DataSpec
from tests.pipelines.energies_test import sampled, unguided
from tests.pipelines.guides_test import KEY, model, observer

SCHEDULE = schedules.cosine()


TOKENIZER = tokenizers.make(
    {"name": "bpe", "length": 8, "vocab_size": 300}, captions=lambda: ["dark", "light", "dark", "light"]
)
DARK = int(TOKENIZER.encode("dark")[1])


def encoder(schedule=None, size=8, channels=1):
    """A linear image tower: its one number is the mean pixel, and texts are -1 and 1. Embeddings aren't of length 1,
    which no guide asks for but the spherical distance, which sees to it."""

    def encode_image(weights, images, t):
        assert images.shape[1:] == (size, size, channels) and (t is None) == (schedule is None)
        mean = images.mean((1, 2, 3))
        return jnp.stack([mean, jnp.ones_like(mean)], axis=-1) if t is None else jnp.stack([mean, t], axis=-1)

    def encode_text(weights, tokens):
        sign = jnp.where(tokens[:, 1] == DARK, -1.0, 1.0)
        return jnp.stack([sign, jnp.zeros_like(sign)], axis=-1)

    def read(weights, tokens):
        return TextFeatures(jnp.zeros((*tokens.shape, 1)), tokens != 0, encode_text(weights, tokens))

    interface = ImageTextEncoder(
        encode_image,
        encode_text,
        lambda weights: weights.params["model"],
        TextEncoder(read, 8, TOKENIZER.vocab_size, 1, 2),
        (size, size, channels),
        2,
        schedule,
    )
    stage = observer()
    family = stage.family._replace(interface=interface)
    spec = DataSpec((size, size, channels), has_text=True, text_length=8, vocab_size=TOKENIZER.vocab_size)
    weights = Weights({"model": jnp.float32(10.0)}, (), {})
    return Stage(family, weights, clip_shapes.get_config("tiny"), spec, 0, tokenizer=TOKENIZER)


@pytest.mark.parametrize("schedule", [None, SCHEDULE])
def test_gradient_of_a_linear_tower(schedule):
    """d/dx_t of 10 <z_i, z_t> is 10 / 64 a pixel, of clean images through the denoiser x0 = alpha x_t."""
    stage = model()
    guide = text.from_stage(encoder(schedule), "light", 3.0, stage)

    def denoise(x_t, level, key):
        return Prediction(level.alpha * x_t, level.sigma * x_t)

    x_t, level = jax.random.normal(KEY, (2, 8, 8, 1)), SCHEDULE(jnp.float32(300.0))
    found = guide.function(guide.inputs, Conditions(), "mean")(denoise)(x_t, level, KEY)
    expected = 3.0 * 10 / 64 * (level.alpha if schedule is None else 1.0)
    np.testing.assert_allclose(found.mean_grad, jnp.full_like(x_t, expected), rtol=1e-5)
    np.testing.assert_allclose(found.x0, level.alpha * x_t, rtol=1e-6)
    scored = guide.function(guide.inputs, Conditions(), "score")(denoise)(x_t, level, KEY)
    shifted = level.alpha * x_t + level.sigma**2 / level.alpha * expected
    np.testing.assert_allclose(scored.x0, jnp.clip(shifted, -1, 1), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(
    ("sampler", "kind"),
    [
        ("ddim", "clean"),
        ("ancestral", "noisy"),
        ("ddim", "cutouts"),
        pytest.param("ancestral", "clean", marks=pytest.mark.slow),
        pytest.param("ddim", "noisy", marks=pytest.mark.slow),
        pytest.param("ancestral", "cutouts", marks=pytest.mark.slow),
    ],
)
def test_images_follow_the_text(sampler, kind):
    """Of each of two texts, compiled once; at scale 0 nothing changes."""
    stage, images = unguided(sampler)
    make, scale = (clip.from_stage, 200.0) if kind == "cutouts" else (text.from_stage, 2.0)
    seer = encoder(SCHEDULE if kind == "noisy" else None)
    pulls = [make(seer, *pull, stage) for pull in (("dark", scale), ("light", scale), ("light", 0.0))]
    guided = [registry.guide(stage, [pull]) for pull in pulls]
    means = [images.mean((1, 2, 3)) for images in (images, *sampled(guided[0], *(each.weights for each in guided)))]
    before, dark, light, none = means
    assert (dark - before < -0.05).all() and (light - before > 0.05).all()
    np.testing.assert_allclose(none, before, atol=1e-4)


def test_what_the_cutouts_are_of():
    """The blend of estimate and image by hand; looks are each image's own, and noisy."""
    x0, x_t = jax.random.uniform(KEY, (2, 2, 8, 8, 1), minval=-1.5)
    for t in (0.0, 500.0, 999.0):
        level = SCHEDULE(jnp.float32(t))
        f = np.sqrt(1 - np.square(level.alpha))
        np.testing.assert_allclose(clip.blend(x0, x_t, level), x0 * f + x_t * (1 - f), rtol=1e-3, atol=1e-4)
    random_looks = jax.jit(clip.random_looks, static_argnums=2)
    looks = random_looks(KEY, jnp.full((2, 8, 8, 1), 0.5), 4)
    assert looks.shape == (2, clip.CUTOUTS, 4, 4, 1)
    np.testing.assert_allclose(looks.mean((2, 3, 4)), 0.5, atol=0.15)
    assert 0.01 < looks.std(axis=(2, 3, 4)).mean() < clip.NOISE
    keys = jax.random.split(KEY, 2)
    for key, own in zip(keys, looks):  # strengths and noise have keys of their own
        strength = clip.NOISE * jax.random.uniform(jax.random.fold_in(key, 1), (clip.CUTOUTS, 1, 1, 1))
        noise = strength * jax.random.normal(jax.random.fold_in(key, 2), own.shape)
        np.testing.assert_allclose(own, 0.5 + noise, atol=1e-5)
    images = jax.random.normal(KEY, (2, 8, 8, 1))
    both, alone = random_looks(keys, images, 8), random_looks(keys[1:], images[1:], 8)
    np.testing.assert_allclose(both[1], alone[0], atol=1e-5)


def test_the_energy_is_half_the_squared_angle_roughness_of_what_is_seen_and_excess_of_the_estimate(monkeypatch):
    monkeypatch.setattr(energies, "make_noisy", lambda energy, arrays, scale, stage: registry.Guide(energy, arrays))
    monkeypatch.setattr(clip, "random_looks", lambda key, x, size: jnp.stack([x, key - x / 2], axis=1))
    monkeypatch.setattr(registry, "expect_guidable", lambda stage: stage)
    guide = clip.from_stage(encoder(), "light", 1.0, encoder())
    x0, x_t = 2 * np.random.default_rng(0).normal(size=(2, 3, 8, 8, 1)).astype(np.float32)

    @jax.jit
    def run(inputs, x0, x_t, shift):
        level = SCHEDULE(500.0)
        return guide.function(inputs, x0, x_t, level, shift), clip.blend(x0, x_t, level)

    found, x_in = jax.tree.map(np.float64, run(guide.inputs, x0, x_t, jnp.float32(0.3)))
    seen = np.stack([x_in, 0.3 - x_in / 2], axis=1).mean(axis=(2, 3, 4))
    angles = np.arccos(seen / np.sqrt(seen**2 + 1))
    rough = sum(np.square(np.diff(x_in, axis=axis)).sum(axis=(1, 2, 3)) for axis in (1, 2)) / 64
    excess = np.square(np.maximum(np.abs(x0) - 1, 0)).mean(axis=(1, 2, 3))
    wanted = (angles**2 / 2).mean(axis=1) + 0.15 * rough + 0.05 * excess
    np.testing.assert_allclose(found, wanted, rtol=1e-4)


def test_texts_scales_and_weights_compile_once_and_guides_add_up():
    stage, seer = model(num_steps=20), encoder()
    reference = jnp.zeros((1, 2, 2, 1))
    chex.clear_trace_counter()

    def guided(words, scale, weights):
        other = seer._replace(weights=weights)
        pulls = [make.from_stage(other, words, scale, stage) for make in (text, clip)]
        return registry.guide(stage, [*pulls, energies.make(image.energy, reference, scale, stage)])

    one = guided("light", 1.0, seer.weights)
    counted = jax.jit(chex.assert_max_traces(lambda *inputs: one.family.interface.sample(*inputs).images, n=1))
    doubled = jax.tree.map(lambda leaf: 2 * leaf, seer.weights)
    images = [
        counted(guided(words, scale, weights).weights, Conditions(), jnp.arange(2), KEY)
        for words, scale, weights in (("light", 1.0, seer.weights), ("dark", 5.0, seer.weights), ("dark", 5.0, doubled))
    ]
    assert jnp.abs(images[0] - images[1]).max() > 0.01 and jnp.abs(images[1] - images[2]).max() > 1e-5


def test_clean_images_are_resized_and_noisy_ones_not():
    stage, images = model(), jax.random.normal(KEY, (2, 8, 8, 1))
    small = encoder(size=4)
    resized = text.fit(images, small.family.interface)
    np.testing.assert_allclose(resized, jax.image.resize(images, (2, 4, 4, 1), "bilinear"), atol=1e-6)
    text.from_stage(small, "light", 2.0, stage)
    with pytest.raises(ValueError, match=r"noisy images of \(4, 4, 1\).*noise can't be resized"):
        text.from_stage(encoder(SCHEDULE, size=4), "light", 1.0, stage)


@pytest.mark.parametrize(
    ("make", "seer", "guided", "words"),
    [
        (text, observer, model, "family 'noisy_classifier'; --guide=text needs the workdir of a clip"),
        (clip, observer, model, "--guide=clip needs the workdir of a clip"),
        (clip, lambda: encoder(SCHEDULE), model, "no use for cutouts: --guide=text takes it"),
        (text, lambda: encoder(schedules.linear_beta()), model, "another noising process"),
        (text, lambda: encoder(channels=3), model, "3 channels, and the model draws images of 1"),
        (text, encoder, observer, "can't be guided"),
    ],
)
def test_what_does_not_fit_is_refused(make, seer, guided, words):
    with pytest.raises(ValueError, match=f"(?s){words}"):
        make.from_stage(seer(), "light", 1.0, guided())


@pytest.mark.parametrize(
    ("requested", "words"),
    [
        ("text:runs/clip:1.0", "write text:WORKDIR,TEXT:SCALE"),
        ("clip:runs/clip, :1.0", "write clip:WORKDIR,TEXT:SCALE"),
        ("text:/nowhere,in the middle, a red ring: or two:1.0", "/nowhere is not a workdir"),
    ],
)
def test_texts_that_are_refused(requested, words):
    with pytest.raises(ValueError, match=words):
        registry.make(requested, model())


def test_unknown_words_are_told(caplog):
    text.embed(encoder(), "bright")
    assert "'bright' has words that no training caption has" in caplog.text
