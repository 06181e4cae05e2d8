"""The VAE's loss and evaluation in float64: linear coders on 2x2 images, settings away from their defaults."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.special

from genjax.families import registry
from genjax.families.interfaces import Conditions, Weights
from genjax.typing import DataSpec
from tests.families import losses
from tests.families.draws import draws, repeated

KEY = jax.random.key(3)
SURE = -40.0
"""A log variance at which a draw is its mean."""


def build(name="discretized_logistic", scale=0.0, latent_dim=3, **model):
    network = {"name": "mlp", "hidden": (), "activation": "tanh"}
    model = {"network": network, "likelihood": {"name": name, "scale": scale}, "latent_dim": latent_dim, **model}
    return registry.build("vae", model, {"batch_size": 4}, DataSpec((2, 2, 1)))


def layer(kernel, bias):
    return {"mlp": {"dense_out": {"kernel": jnp.asarray(kernel, jnp.float32), "bias": jnp.asarray(bias, jnp.float32)}}}


def make_images(count=32, seed=0):
    return np.round(np.random.default_rng(seed).uniform(0, 255, (count, 2, 2, 1))) / 127.5 - 1


class Linear:
    """mu and logvar linear in x; the decoder reads the first latent alone, which is drawn without noise."""

    def __init__(self, log_scale=None, first=SURE):
        rng = np.random.default_rng(1)
        self.to_mu, self.to_logvar = rng.normal(size=(4, 3)), 0.7 * rng.normal(size=(4, 3))
        self.to_logvar[:, 0] = 0.0
        self.logvar = np.array([first, -0.4, 0.3])
        self.decoder = np.concatenate([0.5 * rng.normal(size=(1, 4)), np.zeros((2, 4))])
        self.bias = 0.1 * rng.normal(size=4)
        self.params = {
            "encoder": layer(np.concatenate([self.to_mu, self.to_logvar], 1), np.concatenate([[0, 0, 0], self.logvar])),
            "decoder": layer(self.decoder, self.bias),
        }
        if log_scale is not None:
            self.params["log_scale"] = jnp.float32(log_scale)

    def posterior(self, x):
        flat = x.reshape(len(x), 4)
        return flat @ self.to_mu, flat @ self.to_logvar + self.logvar

    def kl(self, x):
        mu, logvar = self.posterior(x)
        return 0.5 * (np.exp(logvar) + mu**2 - 1 - logvar)

    def output(self, x):
        return (self.posterior(x)[0] @ self.decoder + self.bias).reshape(x.shape)


def logistic(x, mean, scale):
    upper = np.where(x > 0.999, np.inf, (x - mean + 1 / 255) / scale)
    lower = np.where(x < -0.999, -np.inf, (x - mean - 1 / 255) / scale)
    return np.log(scipy.special.expit(upper) - scipy.special.expit(lower)).sum((1, 2, 3))


def gaussian(x, mean, scale):
    return (-0.5 * ((x - mean) / scale) ** 2 - np.log(scale) - 0.5 * np.log(2 * np.pi)).sum((1, 2, 3))


def bernoulli(x, logits, scale):
    chance = scipy.special.expit(logits)
    return np.log(np.where(x > 0, chance, 1 - chance)).sum((1, 2, 3))


CASES = {
    "learned": ("discretized_logistic", 0.0, -1.1, logistic, np.exp(-1.1), 1e-5),
    "given": ("discretized_logistic", 0.25, None, logistic, 0.25, 1e-5),
    "gaussian": ("gaussian", 0.5, None, gaussian, 0.5, 5e-3),  # pixels carry noise of 1/255
    "bernoulli": ("bernoulli", 0.7, None, bernoulli, None, 1e-5),
}


@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize(("step", "ramp"), [(3, 0.3), (40, 1.0)])
def test_the_loss_is_the_formula(case, step, ramp):
    """beta sum_j max(free, mean_b KL_j) - mean log p, of data where the place of the mean and of the floor matter."""
    name, given, log_scale, log_prob, scale, rtol = CASES[case]
    x, model, beta = make_images(), Linear(log_scale), 2.5
    x = np.sign(x) if name == "bernoulli" else x
    kl = model.kl(x)
    floor = float(kl.mean(0)[1:].mean())
    assert kl.mean(0).min() < floor < kl[:, np.argmin(kl.mean(0))].max(), "above for some, below on average"
    assert kl[:, 1:].min() < floor < kl.mean(0)[1:].max(), "below for some, above on average"
    family = build(name, given, beta=beta, kl_annealing_steps=10, free_bits=floor)
    found = losses.jitted(family, {"model": model.params}, {"image": jnp.asarray(x, jnp.float32)}, KEY, step=step)
    log_p = log_prob(x, model.output(x), scale)
    expected = beta * ramp * np.maximum(kl.mean(0), floor).sum() - log_p.mean()
    np.testing.assert_allclose(found.value, expected, rtol=rtol)
    np.testing.assert_allclose(found.metrics["kl"], kl.sum(1).mean(), rtol=1e-4)
    np.testing.assert_allclose(found.metrics["elbo_nats"], log_p.mean() - kl.sum(1).mean(), rtol=rtol)
    np.testing.assert_allclose(found.metrics["beta"], beta * ramp, rtol=1e-5)
    assert (found.metrics.get("scale") is None) == (case != "learned")
    if case == "learned":
        np.testing.assert_allclose(found.metrics["scale"], scale, rtol=1e-5)


def test_latents_are_drawn_with_noise_of_the_posteriors_size_for_each_example():
    """E of the squared error of z = mu + s eps through a decoder that passes z on: the variance comes on top."""
    family = build("gaussian", scale=0.5, latent_dim=4, beta=0.0)
    logvar = np.log([0.04, 0.25, 0.5, 1.0])
    encoder = layer(np.concatenate([np.eye(4), np.zeros((4, 4))], 1), np.concatenate([np.zeros(4), logvar]))
    params = {"model": {"encoder": encoder, "decoder": layer(np.eye(4), np.zeros(4))}}
    x = jnp.asarray(make_images(8_000), jnp.float32)
    found = losses.jitted(family, params, {"image": x}, KEY)
    expected = 0.5 * np.exp(logvar).sum() / 0.25 + 4 * (np.log(0.5) + 0.5 * np.log(2 * np.pi))
    np.testing.assert_allclose(found.value, expected, rtol=0.02)


def passing_on(strength):
    """Coders that give an image's pixels back, `strength` times, as the mean and without noise."""
    bias = np.concatenate([np.zeros(4), np.full(4, -12.0)])
    encoder = layer(np.concatenate([strength * np.eye(4), np.zeros((4, 4))], 1), bias)
    return {"encoder": encoder, "decoder": layer(np.eye(4), np.zeros(4))}


def test_encoder_and_likelihood_see_the_same_black_and_white_image():
    """Grey images become black or white, and logits of +-20 by the encoder's own view of them are then right."""
    family, grey = build("bernoulli", latent_dim=4, beta=0.0, iwae_samples=50), {"image": jnp.zeros((64, 2, 2, 1))}
    params = passing_on(20.0)
    assert losses.jitted(family, {"model": params}, grey, KEY).value == pytest.approx(0.0, abs=1e-6)
    values = jax.jit(family.evaluate)(Weights({"model": params}, (), {}), grey, KEY)
    prior, entropy = 0.5 * 4 * 20.0**2, 0.5 * 4 * (12.0 - 1)
    assert values["elbo_nats"].mean() == pytest.approx(-prior - entropy, abs=1), "of logits that are right"
    np.testing.assert_allclose(values["kl"], prior + entropy, rtol=1e-5)  # of what the likelihood sees, not of grey
    np.testing.assert_allclose(values["psnr"], 100.0, rtol=1e-5)  # of the grey images themselves, whose code is grey


def test_evaluation_uses_the_learned_scale_and_every_draw():
    model, x = Linear(log_scale=-0.6, first=-12.0), make_images(8, seed=2)
    family = build(iwae_samples=1_500, beta=7.0, free_bits=3.0)
    weights = Weights({"model": model.params}, (), {})
    values = jax.jit(family.evaluate)(weights, {"image": jnp.asarray(x, jnp.float32)}, KEY)
    kl, log_p = model.kl(x).sum(1), logistic(x, model.output(x), np.exp(-0.6))
    np.testing.assert_allclose(values["kl"], kl, rtol=1e-4)
    np.testing.assert_allclose(values["elbo_nats"], log_p - kl, atol=0.2)
    np.testing.assert_allclose(values["bits_per_dim"], -values["elbo_nats"] / 4 / np.log(2), rtol=1e-5)
    mean = np.clip(model.output(x), -1, 1)
    psnr = 10 * np.log10(4 / ((mean - x) ** 2).mean((1, 2, 3)))
    np.testing.assert_allclose(values["psnr"], psnr, rtol=1e-3)
    found = jax.jit(family.reconstruct)(weights, jnp.asarray(x, jnp.float32), KEY)
    np.testing.assert_allclose(found, mean, atol=1e-4)


def test_samples_are_decoded_standard_normal_draws():
    family = build("gaussian", scale=0.5, latent_dim=4)
    weights = Weights({"model": {"decoder": layer(0.05 * np.eye(4), [0.1, 0.2, -0.1, 0])}}, (), {})
    drawn = jax.jit(family.interface.sample)(weights, Conditions(), jnp.arange(4_000), KEY).images.reshape(-1, 4)
    np.testing.assert_allclose(drawn.mean(0), [0.1, 0.2, -0.1, 0], atol=0.004)
    np.testing.assert_allclose(np.cov(drawn.T), 0.05**2 * np.eye(4), atol=2e-4)


@pytest.mark.parametrize(("name", "count"), [("bernoulli", 2), ("gaussian", 2), ("discretized_logistic", 1)])
def test_every_draw_has_a_key_of_its_own(name, count):
    family, batch = build(name, 0.5, iwae_samples=4), {"image": jnp.zeros((5, 2, 2, 1))}
    params = {"model": Linear().params}
    found = draws(lambda key: losses.compute(family, params, batch, key).value, KEY)
    assert len(found) == count and not repeated(found)
    other = draws(lambda key: losses.compute(family, params, batch, key).value, jax.random.key(4))
    assert not {draw.key for draw in found} & {draw.key for draw in other}
    held_out = draws(lambda key: family.evaluate(Weights(params, (), {}), batch, key), KEY)
    assert not repeated(held_out) and len(held_out) == count - 1 + 4
