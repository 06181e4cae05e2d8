"""Variational autoencoders: bounds of a model whose evidence is known, sampling by the decoder alone, settings."""

import importlib

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.stats

from genjax.configs import vae_digits
from genjax.families import registry, vae
from genjax.families.interfaces import Conditions, ImageSampler, Weights
from genjax.losses import elbo
from genjax.typing import DataSpec
from tests.families import losses

SPEC = DataSpec((8, 8, 1), num_classes=10)
KEY = jax.random.key(0)
IMAGES = jnp.round(jax.random.uniform(KEY, (8, 8, 8, 1)) * 255) / 127.5 - 1


def build(spec=SPEC, **model):
    config = vae_digits.get_config("tiny")
    with config.ignore_type():
        config.model.update(model)
    return registry.build(config.family, config.model.to_dict(), config.sampling.to_dict(), spec)


def likelihood(name, scale=0.0):
    return {"name": name, "scale": scale}


@pytest.fixture(scope="module")
def family():
    return build()


@pytest.fixture(scope="module")
def weights(family):
    return Weights(jax.jit(family.init)(KEY, {"image": IMAGES})[0], (), {})


def loss(family, params, step=0, images=IMAGES):
    found = losses.jitted(family, params, {"image": images}, KEY, step=step)
    return found.value, found


class ProbabilisticPCA:
    """x = W z + b + sigma eps on 2x2 images, as a linear VAE whose encoder is the true posterior."""

    sigma = 0.3

    def __init__(self):
        rng = np.random.default_rng(0)
        self.w = np.linalg.qr(rng.normal(size=(4, 4)))[0][:, :2] * [0.4, 0.2]
        self.b = rng.uniform(-0.3, 0.3, 4)
        self.family = build(
            DataSpec((2, 2, 1)),
            network={"name": "mlp", "hidden": (), "activation": "tanh"},
            likelihood=likelihood("gaussian", self.sigma),
            latent_dim=2,
            beta=1.0,
            iwae_samples=200,
        )

    def weights(self, shift=0.0):
        precision = 1 + (self.w**2).sum(0) / self.sigma**2
        to_mu = self.w / self.sigma**2 / precision
        kernel = np.concatenate([to_mu, np.zeros((4, 2))], axis=1)
        bias = np.concatenate([-self.b @ to_mu + shift, -np.log(precision)])
        layers = {"encoder": (kernel, bias), "decoder": (self.w.T, self.b)}
        params = {
            name: {"mlp": {"dense_out": {"kernel": jnp.asarray(k, jnp.float32), "bias": jnp.asarray(b, jnp.float32)}}}
            for name, (k, b) in layers.items()
        }
        return Weights({"model": params}, (), {})

    def draw(self, count):
        normal = np.random.default_rng(1).multivariate_normal(self.b, self.covariance, count)
        return jnp.asarray(normal.reshape(count, 2, 2, 1), jnp.float32)

    def evidence(self, x):
        return scipy.stats.multivariate_normal(self.b, self.covariance).logpdf(np.asarray(x, np.float64).reshape(-1, 4))

    @property
    def covariance(self):
        return self.w @ self.w.T + self.sigma**2 * np.eye(4)


def evaluate_as_observed(model, weights, images):
    """The family's metrics, and the images with the noise of their bins that it looked at."""
    values = jax.jit(model.family.evaluate)(weights, {"image": images}, KEY)
    return values, vae.LIKELIHOODS["gaussian"].observe(images, vae.rng.stream(KEY, "observe"))


def test_at_the_optimum_the_bounds_are_the_evidence():
    model = ProbabilisticPCA()
    values, x = evaluate_as_observed(model, model.weights(), model.draw(16))
    np.testing.assert_allclose(values["elbo_nats"], model.evidence(x), atol=1e-4)
    np.testing.assert_allclose(values["iwae_nats"], model.evidence(x), atol=1e-4)
    bits = -(model.evidence(x) / 4 + np.log(2 / 255)) / np.log(2)
    np.testing.assert_allclose(values["bits_per_dim"], bits, atol=1e-4)


def test_off_the_optimum_importance_sampling_closes_the_gap():
    model = ProbabilisticPCA()
    values, x = evaluate_as_observed(model, model.weights(shift=0.3), model.draw(16))
    evidence = model.evidence(x)
    assert (values["elbo_nats"] < values["iwae_nats"]).all()
    gap = (evidence - values["elbo_nats"]).mean(), (evidence - values["iwae_nats"]).mean()
    assert gap[0] > 0.15 and abs(gap[1]) < 0.2 * gap[0]


def test_the_optimum_is_stationary():
    # Averaged over many draws of x and z, the gradient by the encoder vanishes there, and doesn't elsewhere.
    model = ProbabilisticPCA()
    images = model.draw(20_000)

    def gradient(weights):
        found = losses.gradient(model.family, weights.params, {"image": images}, KEY)
        return jnp.abs(found["encoder"]["mlp"]["dense_out"]["bias"]).max()

    assert gradient(model.weights()) < 0.03 < 0.1 < gradient(model.weights(shift=0.3))


@pytest.mark.parametrize("name", vae.LIKELIHOODS)
def test_the_bounds_are_in_order_for_every_likelihood(name, weights):
    family = build(likelihood=likelihood(name))
    scale = jax.jit(lambda key: family.init(key, {"image": IMAGES})[0]["model"].get("log_scale"))(KEY)
    own = {part: weights.params["model"][part] for part in ("encoder", "decoder")}
    params = {"model": own if scale is None else own | {"log_scale": scale}}
    assert jax.tree.structure(params) == jax.tree.structure(jax.eval_shape(family.init, KEY, {"image": IMAGES})[0])
    values = jax.jit(family.evaluate)(Weights(params, (), {}), {"image": IMAGES}, KEY)
    assert set(values) == {"elbo_nats", "iwae_nats", "bits_per_dim", "kl", "psnr"}
    assert all(value.shape == (8,) for value in values.values())
    assert (values["elbo_nats"] <= values["iwae_nats"]).all() and (values["kl"] > 0).all()
    assert scale == (None if name == "bernoulli" else -1.5)


def test_pixels_as_the_likelihoods_see_them():
    grey = jnp.full((4, 50, 50, 1), -0.5)
    binary = vae.LIKELIHOODS["bernoulli"].observe(grey, KEY)
    assert set(np.unique(binary)) == {-1.0, 1.0} and binary.mean() == pytest.approx(-0.5, abs=0.03)
    noisy = vae.LIKELIHOODS["gaussian"].observe(grey, KEY)
    assert jnp.abs(noisy - grey).max() <= 1 / 255 and noisy.std() == pytest.approx(2 / 255 / 12**0.5, rel=0.05)


def test_sampling_needs_the_decoder_alone_and_no_batch(family, weights):
    decoder = Weights({"model": {"decoder": weights.params["model"]["decoder"]}}, (), {})
    sample = jax.jit(family.interface.sample)
    together = sample(decoder, Conditions(), jnp.arange(6), KEY).images
    among_others = sample(decoder, Conditions(), jnp.asarray([4, 9, 30, 7, 11, 23]), KEY).images
    np.testing.assert_allclose(among_others[0], together[4], atol=1e-5)
    assert together.shape == (6, 8, 8, 1) and jnp.abs(together).max() <= 1
    assert jnp.abs(together[0] - together[1]).max() > 1e-3
    assert isinstance(family.interface, ImageSampler) and family.interface.num_classes == 0


def test_reconstruction_is_the_decoded_mean(family, weights):
    params = weights.params["model"]
    settings = vae_digits.get_config("tiny").model.to_dict()
    model = vae.make_model(vae.Settings(**settings), SPEC)

    @jax.jit
    def decoded_mean(params):
        mu, _ = model.encode(params, IMAGES)
        return jnp.clip(model.decoder.apply({"params": params["decoder"]}, mu), -1, 1)

    np.testing.assert_allclose(jax.jit(family.reconstruct)(weights, IMAGES, KEY), decoded_mean(params), atol=1e-5)


def test_posterior_draws_have_the_posteriors_moments():
    mu, logvar = jnp.full((20_000, 1), 0.7), jnp.full((20_000, 1), np.log(0.25))
    z = vae._draw(mu, logvar, KEY)
    assert z.mean() == pytest.approx(0.7, abs=0.02) and z.std() == pytest.approx(0.5, rel=0.02)
    log_w = elbo.gaussian_log_weight(jnp.zeros(20_000), z, mu, logvar)
    assert -log_w.mean() == pytest.approx(float(elbo.gaussian_kl(mu, logvar)[0]), abs=0.02)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"likelihood": likelihood("poisson")}, "unknown likelihood 'poisson'.*bernoulli"),
        ({"latent_dim": 0}, "latent_dim must be at least 1, not 0"),
        ({"iwae_samples": 0}, "iwae_samples must be at least 1"),
        ({"colour": "red"}, r"vae family: unknown \['colour'\]"),
    ],
)
def test_refusals(changes, words):
    with pytest.raises(ValueError, match=words):
        build(**changes)


@pytest.mark.parametrize("name", ["ae_digits", "dae_digits", "vae_digits", "vae_mnist", "dvae_digits", "dvae_dalle"])
def test_tiny_configs_keep_the_objective(name):
    module = importlib.import_module(f"configs.{name}")
    config, tiny = module.get_config(), module.get_config("tiny")
    assert tiny.data.name == "digits" and tiny.training.num_steps == 20 and tiny.family == config.family
    for field in ("likelihood", "corruption", "beta"):
        assert tiny.model.get(field) == config.model.get(field)
