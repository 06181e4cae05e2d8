"""Divergences, likelihoods and bounds against closed forms, sums over all pixels, and a model of known evidence."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.integrate
import scipy.stats

from genjax.losses import elbo

RNG = np.random.default_rng(0)


def normal(*shape):
    return jnp.asarray(RNG.normal(size=shape), jnp.float32)


def test_gaussian_kl_is_the_integral():
    for mu, logvar in ((0.0, 0.0), (1.3, -0.7), (-0.4, 1.1)):
        q = scipy.stats.norm(mu, np.exp(logvar / 2))
        integrand = lambda z, q=q: q.pdf(z) * (q.logpdf(z) - scipy.stats.norm.logpdf(z))  # noqa: E731
        expected, _ = scipy.integrate.quad(integrand, -20, 20)
        assert elbo.gaussian_kl(jnp.full((1, 1), mu), jnp.full((1, 1), logvar))[0] == pytest.approx(expected, abs=1e-6)


def test_kl_sums_over_dimensions():
    mu, logvar = normal(3, 4), normal(3, 4)
    np.testing.assert_allclose(elbo.gaussian_kl(mu, logvar), elbo.gaussian_kl_per_dim(mu, logvar).sum(1), rtol=1e-6)


def test_uniform_kl_is_log_k_less_entropy():
    logits = normal(3, 2, 2, 5)
    q = np.asarray(jax.nn.softmax(logits), np.float64)
    expected = (np.log(5) - scipy.stats.entropy(q, axis=-1)).sum((1, 2))
    np.testing.assert_allclose(elbo.uniform_kl(logits), expected, rtol=1e-5)
    np.testing.assert_allclose(elbo.uniform_kl(jnp.zeros((1, 2, 5))), 0.0, atol=1e-6)
    certain = jnp.asarray([[[200.0, 0.0, 0.0, 0.0]]])
    np.testing.assert_allclose(elbo.uniform_kl(certain), np.log(4), rtol=1e-6)


def test_free_bits_spare_a_dimension_until_it_costs_them():
    kl = jnp.asarray([[0.0, 1.0], [0.2, 3.0]])
    assert elbo.free_bits(kl, 0.0) == pytest.approx(float(kl.sum(1).mean()))
    assert elbo.free_bits(kl, 0.5) == pytest.approx(0.5 + 2.0)
    gradient = jax.grad(elbo.free_bits)(kl, 0.5)
    np.testing.assert_allclose(gradient, [[0.0, 0.5], [0.0, 0.5]])


def test_gaussian_and_bernoulli_against_scipy():
    x, mean, log_scale = normal(2, 3, 3, 1), normal(2, 3, 3, 1), normal(2, 3, 3, 1)
    expected = scipy.stats.norm.logpdf(x, mean, np.exp(log_scale)).sum((1, 2, 3))
    np.testing.assert_allclose(elbo.gaussian_log_likelihood(x, mean, log_scale), expected, rtol=1e-5)
    bits, logits = (x > 0).astype(jnp.float32), 5 * mean
    expected = scipy.stats.bernoulli.logpmf(bits, 1 / (1 + np.exp(-np.asarray(logits, np.float64)))).sum((1, 2, 3))
    np.testing.assert_allclose(elbo.bernoulli_log_likelihood(bits, logits), expected, rtol=1e-5)


@pytest.mark.parametrize("log_scale", [-6.9, -4.0, -1.0, 2.0])
@pytest.mark.parametrize("mean", [-1.7, -0.3, 0.999, 4.0])
def test_discretized_logistic_sums_to_one_and_is_the_float64_formula(mean, log_scale):
    x = jnp.arange(256, dtype=jnp.float32)[:, None] / 127.5 - 1
    log_p = elbo.discretized_logistic_log_likelihood(x, jnp.float32(mean) * jnp.ones_like(x), jnp.float32(log_scale))
    assert np.exp(np.asarray(log_p, np.float64)).sum() == pytest.approx(1.0, abs=2e-4)
    exact = scipy.stats.logistic(mean, np.exp(log_scale))
    edges = np.concatenate([[-np.inf], (np.arange(255) + 0.5) / 127.5 - 1, [np.inf]])
    p = np.where(edges[1:] < mean, np.diff(exact.cdf(edges)), -np.diff(exact.sf(edges)))
    seen = p > 1e-30
    np.testing.assert_allclose(log_p[seen], np.log(p[seen]), rtol=1e-3, atol=2e-3)
    assert np.isfinite(log_p).all()


def test_discretized_logistic_pulls_from_far_away():
    def log_p(mean):
        return elbo.discretized_logistic_log_likelihood(jnp.full((1, 1), 0.2), mean, jnp.float32(-6.0)).sum()

    gradient = jax.grad(log_p)
    assert gradient(jnp.full((1, 1), -3.0)) > 100 and gradient(jnp.full((1, 1), 3.0)) < -100


def test_logit_laplace_integrates_to_one_over_the_unit_interval():
    x = (jnp.arange(100_000)[:, None] + 0.5) / 100_000
    for mu, b in ((0.3, 0.2), (-1.5, 0.6)):
        log_p = elbo.logit_laplace_log_likelihood(x, jnp.full(x.shape, mu), jnp.full(x.shape, np.log(b)))
        assert np.exp(log_p).mean() == pytest.approx(1.0, abs=1e-3)


def test_logit_laplace_pixels_and_back():
    images = jnp.linspace(-1, 1, 9).reshape(1, 3, 3, 1)
    pixels = elbo.logit_laplace_pixels(images)
    assert pixels.min() == pytest.approx(0.1) and pixels.max() == pytest.approx(0.9)
    np.testing.assert_allclose(elbo.logit_laplace_images(jnp.log(pixels / (1 - pixels))), images, atol=1e-6)
    np.testing.assert_array_equal(elbo.logit_laplace_images(jnp.asarray([[-9.0, 9.0]])), [[-1.0, 1.0]])


def test_bits_per_dim_of_uniform_pixels_is_eight():
    dims = 12
    np.testing.assert_allclose(elbo.bits_per_dim(jnp.full(2, -dims * np.log(256.0)), dims), 8.0, rtol=1e-6)
    # A density of 1 / 2 on [-1, 1], in bins of 2 / 256.
    np.testing.assert_allclose(elbo.bits_per_dim(jnp.full(2, -dims * np.log(2.0)), dims, 2 / 256), 8.0, rtol=1e-6)


def test_ramps():
    steps = jnp.asarray([0, 25, 50, 100, 1000])
    np.testing.assert_allclose(jax.vmap(lambda s: elbo.linear_ramp(s, 100))(steps), [0, 0.25, 0.5, 1, 1])
    assert elbo.linear_ramp(jnp.int32(0), 0) == 1
    cosine = jax.vmap(lambda s: elbo.cosine_ramp(s, 1.0, 1 / 16, 100))(steps)
    np.testing.assert_allclose(cosine[jnp.asarray([0, 2, 3, 4])], [1, 17 / 32, 1 / 16, 1 / 16], rtol=1e-6)
    assert cosine[1] == pytest.approx(1 / 16 + 15 / 16 * np.cos(np.pi / 8) ** 2), "half a cosine"


class LinearGaussian:
    """x = W z + b + sigma eps, z ~ N(0, I): the evidence is N(b, W W^T + sigma^2 I). W's columns are orthogonal, so
    that the true posterior has a diagonal covariance."""

    def __init__(self, dims=6, latents=3, sigma=0.3):
        rng = np.random.default_rng(1)
        basis = np.linalg.qr(rng.normal(size=(dims, dims)))[0][:, :latents]
        self.w, self.b, self.sigma = basis * [2.0, 1.0, 0.5], rng.normal(size=dims), sigma
        self.x = jnp.asarray(rng.multivariate_normal(self.b, self.covariance, 5), jnp.float32)
        self.evidence = scipy.stats.multivariate_normal(self.b, self.covariance).logpdf(np.asarray(self.x, np.float64))

    @property
    def covariance(self):
        return self.w @ self.w.T + self.sigma**2 * np.eye(len(self.b))

    @property
    def precision(self):
        return 1 + (self.w**2).sum(0) / self.sigma**2

    def posterior(self):
        mu = (self.x - self.b) @ self.w / self.sigma**2 / self.precision
        return jnp.asarray(mu, jnp.float32), jnp.broadcast_to(-jnp.log(self.precision), mu.shape)

    def log_weights(self, mu, logvar, k):
        eps = jax.random.normal(jax.random.key(0), (k, *mu.shape))

        def one(eps):
            z = mu + jnp.exp(logvar / 2) * eps
            mean = z @ jnp.asarray(self.w.T, jnp.float32) + self.b
            log_prob = elbo.gaussian_log_likelihood(self.x, mean, jnp.log(self.sigma))
            return elbo.gaussian_log_weight(log_prob, z, mu, logvar)

        return jax.jit(lambda eps: jax.lax.map(one, eps))(eps)


def test_the_bound_is_the_evidence_where_the_posterior_is_true():
    model = LinearGaussian()
    log_weights = model.log_weights(*model.posterior(), 64)
    np.testing.assert_allclose(log_weights, np.broadcast_to(model.evidence, (64, 5)), atol=1e-4)
    np.testing.assert_allclose(elbo.iwae_bound(log_weights), model.evidence, atol=1e-4)


def test_importance_weights_close_the_gap_of_a_wrong_posterior():
    model = LinearGaussian()
    mu, logvar = model.posterior()
    wrong = (mu + 0.1, logvar + 0.7)
    log_weights = model.log_weights(*wrong, 20_000)
    # In closed form the gap is KL(q || true posterior).
    ratio = jnp.exp(jnp.float32(0.7))
    gap = 0.5 * jnp.sum(ratio + 0.1**2 * jnp.exp(-logvar) - 1 - 0.7, axis=1)
    np.testing.assert_allclose(log_weights.mean(0), model.evidence - gap, atol=0.05)
    bounds = [
        jnp.mean(elbo.iwae_bound(log_weights.reshape(-1, k, 5).swapaxes(0, 1).reshape(k, -1))) for k in (1, 5, 50)
    ]
    assert bounds == sorted(bounds) and bounds[-1] < model.evidence.mean()
    assert bounds[0] == pytest.approx(float(log_weights.mean()), rel=1e-5), "the ELBO is the bound of one draw"
    np.testing.assert_allclose(elbo.iwae_bound(log_weights), model.evidence, atol=0.02)
