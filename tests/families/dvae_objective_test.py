"""The dVAE's loss and evaluation in float64: a layer to codes and one back; temperature, KL weight, least scale."""

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.special

from genjax.families import dvae, registry
from genjax.families.interfaces import Weights
from genjax.typing import DataSpec
from tests.families import losses
from tests.families.draws import draws, repeated

KEY = jax.random.key(2)
NUM_CODES = 5


class Encoder(nn.Module):
    """2x2 pixels to the logits of a code, by one layer."""

    num_codes: int
    channel_mult: tuple[int, ...] = ()
    dtype: str = "float32"

    @nn.compact
    def __call__(self, x):
        b, h, w, _ = x.shape
        patches = x.reshape(b, h // 2, 2, w // 2, 2).swapaxes(2, 3).reshape(b, h // 2, w // 2, 4)
        return nn.Dense(self.num_codes, name="layer")(patches)


class Decoder(nn.Module):
    """Back, to location and log-scale of each pixel."""

    out_channels: int
    input_width: int
    channel_mult: tuple[int, ...] = ()
    dtype: str = "float32"

    @nn.compact
    def __call__(self, codes):
        b, h, w, _ = codes.shape
        out = nn.Dense(8, use_bias=False, name="layer")(codes).reshape(b, h, w, 2, 2, 2)
        return out.swapaxes(2, 3).reshape(b, 2 * h, 2 * w, 2)


@pytest.fixture(autouse=True)
def layers(monkeypatch):
    monkeypatch.setattr(dvae.dvae_coders, "DVAEEncoder", Encoder)
    monkeypatch.setattr(dvae.dvae_coders, "DVAEDecoder", Decoder)


def build(temperature=(1.0, 1.0, 1), kl=(0.7, 8), min_log_scale=-0.2):
    model = {
        "network": {"input_width": 3, "channel_mult": (1, 2)},
        "num_codes": NUM_CODES,
        "temperature": dict(zip(("start", "end", "num_steps"), temperature, strict=True)),
        "kl": dict(zip(("weight", "num_steps"), kl, strict=True)),
        "min_log_scale": min_log_scale,
    }
    return registry.build("dvae", model, {}, DataSpec((4, 4, 1)))


def make_images(count=64):
    return np.random.default_rng(0).uniform(-1, 1, (count, 4, 4, 1))


def as_batch(x):
    return {"image": jnp.asarray(x, jnp.float32)}


def matrices(sharpness=1.0):
    rng = np.random.default_rng(1)
    return sharpness * rng.normal(size=(4, NUM_CODES)), 0.8 * rng.normal(size=(NUM_CODES, 8))


def params_of(encoder, decoder):
    dense = {"kernel": jnp.asarray(encoder, jnp.float32), "bias": jnp.zeros(NUM_CODES)}
    return {"model": {"encoder": {"layer": dense}, "decoder": {"layer": {"kernel": jnp.asarray(decoder, jnp.float32)}}}}


def in_patches(x):
    return x.reshape(len(x), 2, 2, 2, 2).swapaxes(2, 3).reshape(len(x), 2, 2, 4)


def bound(x, encoder, decoder, min_log_scale):
    """(log p(x | most likely codes), KL, locations) of each image, by hand."""
    pixels = 0.8 * (in_patches(x) + 1) / 2 + 0.1
    logits = pixels @ encoder
    log_q = scipy.special.log_softmax(logits, axis=-1)
    kl = (np.exp(log_q) * (log_q + np.log(NUM_CODES))).sum((1, 2, 3))
    out = np.eye(NUM_CODES)[logits.argmax(-1)] @ decoder
    location, raw = out.reshape(*out.shape[:-1], 4, 2)[..., 0], out.reshape(*out.shape[:-1], 4, 2)[..., 1]
    assert raw.min() < min_log_scale < raw.max(), "the bound acts on some"
    log_scale = np.maximum(raw, min_log_scale)
    density = -np.abs(np.log(pixels / (1 - pixels)) - location) / np.exp(log_scale) - log_scale
    return (density - np.log(2 * pixels * (1 - pixels))).sum((1, 2, 3)), kl, location


@pytest.mark.parametrize(("step", "share"), [(2, 0.5 * (1 - np.cos(np.pi / 4))), (20, 1.0)])
def test_the_loss_is_the_formula(step, share):
    """(beta KL - log p) / dims, with codes so sure that noise and temperature don't matter."""
    encoder, decoder = matrices(sharpness=3_000.0)
    found = losses.jitted(build(), params_of(encoder, decoder), as_batch(make_images()), KEY, step=step)
    log_p, kl, _ = bound(make_images(), encoder, decoder, -0.2)
    np.testing.assert_allclose(found.value, (0.7 * share * kl.mean() - log_p.mean()) / 16, rtol=3e-3)
    np.testing.assert_allclose(found.metrics["kl"], kl.mean(), rtol=1e-4)
    np.testing.assert_allclose(found.metrics["relaxed_elbo_nats"], log_p.mean() - kl.mean(), rtol=3e-3)
    np.testing.assert_allclose(found.metrics["beta"], 0.7 * share, rtol=1e-5)


def test_the_kl_is_that_of_the_logits():
    """At the weight w the loss grows by w KL / dims, whatever is drawn."""
    encoder, decoder = matrices()
    batch, params = as_batch(make_images()), params_of(encoder, decoder)
    with_kl, without = (losses.jitted(build(kl=(weight, 1)), params, batch, KEY, step=5).value for weight in (4.0, 0.0))
    kl = bound(make_images(), encoder, decoder, -0.2)[1].mean()
    np.testing.assert_allclose(with_kl - without, 4.0 * kl / 16, rtol=1e-4)


def test_codes_are_relaxed_at_the_scheduled_temperature():
    """In the middle of its schedule the loss is that of the middle temperature, and of no other one."""
    params, batch = params_of(*matrices()), as_batch(make_images(8))

    def loss(family, step):
        return losses.jitted(family, params, batch, KEY, step=step)

    falling = build(temperature=(2.0, 0.5, 6), kl=(0.0, 1))
    scheduled, middle = loss(falling, 3), loss(build(temperature=(1.25, 1.25, 1), kl=(0.0, 1)), 3)
    np.testing.assert_allclose(scheduled.value, middle.value, rtol=1e-5)
    np.testing.assert_allclose(scheduled.metrics["temperature"], 1.25, rtol=1e-5)
    others = [loss(falling, step) for step in (0, 4, 6)]
    np.testing.assert_allclose([other.metrics["temperature"] for other in others], [2.0, 0.875, 0.5], rtol=1e-5)
    assert min(abs(middle.value - other.value) for other in others) > 1e-3


def test_evaluation_is_the_bound_of_drawn_codes():
    encoder, decoder = matrices(sharpness=3_000.0)
    weights, x = Weights(params_of(encoder, decoder), (), {}), make_images(16)
    values = jax.jit(build(kl=(9.0, 1)).evaluate)(weights, as_batch(x), KEY)
    log_p, kl, location = bound(x, encoder, decoder, -0.2)
    np.testing.assert_allclose(values["kl"], kl, rtol=1e-4)
    np.testing.assert_allclose(values["elbo_nats"], log_p - kl, atol=0.6)  # pixels carry noise of a bin
    assert abs((values["elbo_nats"] - (log_p - kl)).mean()) < 0.1
    made = 2 * np.clip((1 / (1 + np.exp(-location)) - 0.1) / 0.8, 0, 1) - 1
    psnr = 10 * np.log10(4 / ((made - in_patches(x)) ** 2).mean((1, 2, 3)))
    np.testing.assert_allclose(values["psnr"], psnr, rtol=1e-3)


def test_evaluation_draws_codes_by_their_chances():
    """Logits of (0, 0, 0, -inf, -inf): all of three codes come, and the bound is of a code at a time."""
    encoder, decoder = np.zeros((4, NUM_CODES)), np.zeros((NUM_CODES, 8))
    decoder[0, ::2], decoder[1, ::2], decoder[2, ::2] = 3.0, -3.0, 0.0
    params = params_of(encoder, decoder)
    params["model"]["encoder"]["layer"]["bias"] = jnp.array([0.0, 0.0, 0.0, -1e9, -1e9])
    x = jnp.zeros((400, 4, 4, 1))
    values = jax.jit(build(min_log_scale=-9.0).evaluate)(Weights(params, (), {}), {"image": x}, KEY)
    # At a grey pixel, logit 0 and x (1 - x) = 1/4: log p = log 2 - |location| of each.
    log_p = values["elbo_nats"] + values["kl"]
    np.testing.assert_allclose(log_p.mean(), 16 * (np.log(2) - 2.0), atol=0.6)
    np.testing.assert_allclose(values["kl"], 4 * np.log(5 / 3), rtol=1e-4)
    assert set(np.unique(np.round((16 * np.log(2) - log_p) / 12).astype(int))) == {0, 1, 2, 3, 4}


def test_pixels_carry_noise_of_an_8_bit_bin_among_the_mapped_ones(monkeypatch):
    """In place of log p, how far the farthest pixel of a grey image is from 1/2: less than half of .8 / 255."""
    far = lambda x, *_: jnp.abs(x - 0.5).max((1, 2, 3))  # noqa: E731
    monkeypatch.setattr(dvae.elbo, "logit_laplace_log_likelihood", far)
    params, batch, half = params_of(*matrices()), {"image": jnp.zeros((400, 4, 4, 1))}, 0.4 / 255
    values = jax.jit(build().evaluate)(Weights(params, (), {}), batch, KEY)
    found = values["elbo_nats"] + values["kl"]
    assert 0.98 * half < found.max() < 1.001 * half
    trained = losses.jitted(build(), params, batch, KEY).metrics
    np.testing.assert_allclose(trained["relaxed_elbo_nats"] + trained["kl"], half * 16 / 17, rtol=0.02)


def test_every_draw_has_a_key_of_its_own():
    params, batch = params_of(*matrices()), {"image": jnp.zeros((3, 4, 4, 1))}
    found = draws(lambda key: losses.compute(build(), params, batch, key).value, KEY)
    assert sorted(draw.shape for draw in found) == [(3, 2, 2, NUM_CODES), (3, 4, 4, 1)] and not repeated(found)
    held_out = draws(lambda key: build().evaluate(Weights(params, (), {}), batch, key), KEY)
    assert len(held_out) == 2 and not repeated(held_out)
