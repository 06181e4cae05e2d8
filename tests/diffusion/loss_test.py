"""Losses against numpy, and where their gradients go."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.stats import norm

from genjax.diffusion import loss, parameterization, process, schedules, weighting
from genjax.diffusion.denoisers import Prediction

KEY = jax.random.key(0)
SCHEDULE = schedules.linear_beta()
X0 = jax.random.uniform(jax.random.key(1), (5, 3, 3, 2), minval=-1.0)
T = jnp.array([0.0, 1.0, 20.0, 500.0, 999.0])


def net(x, c_noise):
    return jnp.sin(x) + 0.001 * c_noise[:, None, None, None]


def noisy():
    """(eps, x_t, level) as the loss draws them."""
    level = SCHEDULE(T)
    eps = process.noise_like(KEY, X0)
    return eps, process.diffuse(X0, eps, level), level


def test_l_simple_is_the_plain_error_of_eps():
    eps, x_t, level = noisy()
    wanted = jnp.mean((net(x_t, T) - eps) ** 2, axis=(1, 2, 3))
    found = loss.denoising_loss(net, parameterization.eps(), weighting.simple(), SCHEDULE, X0, T, KEY).loss
    np.testing.assert_allclose(found, wanted, rtol=1e-4)


@pytest.mark.parametrize("parameterizer", ["eps", "x0", "v", "flow", "edm"])
@pytest.mark.parametrize("weight", ["simple", "x0", "min_snr", "p2", "edm"])
def test_weighted_error_of_x0(parameterizer, weight):
    with jax.enable_x64(True):
        schedule, made, weigh = (
            schedules.cosine(),
            parameterization.make(parameterizer),
            weighting.make(weight),
        )
        x0 = jnp.asarray(X0, float)
        t = jnp.array([0.0, 1.0, 20.0, 500.0, 990.0])
        level = schedule(t)
        eps = process.noise_like(KEY, x0)
        x_t = process.diffuse(x0, eps, level)
        scalars = made(level)
        c_skip, c_out, c_in = (c[:, None, None, None] for c in scalars[:3])
        guess = c_skip * x_t + c_out * net(c_in * x_t, scalars.c_noise)
        wanted = weigh(level) * jnp.mean((guess - x0) ** 2, axis=(1, 2, 3))
        found = loss.denoising_loss(net, made, weigh, schedule, x0, t, KEY).loss
        np.testing.assert_allclose(found, wanted, rtol=1e-7)


def test_losses_are_per_example():
    found = loss.denoising_loss(net, parameterization.v(), weighting.x0(), SCHEDULE, X0, T, KEY).loss
    keys = jnp.stack([KEY] * 5)
    assert found.shape == (5,)
    one = loss.denoising_loss(net, parameterization.v(), weighting.x0(), SCHEDULE, X0, T, keys).loss
    two = loss.denoising_loss(net, parameterization.v(), weighting.x0(), SCHEDULE, X0[2:3], T[2:3], keys[2:3]).loss
    np.testing.assert_allclose(one[2:3], two, rtol=1e-5)


LINEAR_BETAS = np.linspace(1e-4, 0.02, 1000)


def published_vb(x0, x_t, t, x0_guess, v, betas=LINEAR_BETAS):
    """IDDPM's term in bits a dimension by its released formulas, in float64."""
    bars = np.cumprod(1 - betas)
    before = np.append(1.0, bars[:-1])
    small = betas * (1 - before) / (1 - bars)
    logs = np.log(np.append(small[1], small[1:]))
    of_x0 = betas * np.sqrt(before) / (1 - bars)
    of_xt = (1 - before) * np.sqrt(1 - betas) / (1 - bars)
    true_mean, mean = of_x0[t] * x0 + of_xt[t] * x_t, of_x0[t] * x0_guess + of_xt[t] * x_t
    frac = (v + 1) / 2
    log_variance = frac * np.log(betas[t]) + (1 - frac) * logs[t]
    if t == 0:
        cdf = lambda y: 0.5 * (1 + np.tanh(np.sqrt(2 / np.pi) * (y + 0.044715 * y**3)))  # noqa: E731
        scale = np.exp(-0.5 * log_variance)
        upper, lower = cdf(scale * (x0 - mean + 1 / 255)), cdf(scale * (x0 - mean - 1 / 255))
        inner = np.where(x0 > 0.999, np.log(np.maximum(1 - lower, 1e-12)), np.log(np.maximum(upper - lower, 1e-12)))
        return -np.where(x0 < -0.999, np.log(np.maximum(upper, 1e-12)), inner).mean() / np.log(2)
    kl = 0.5 * (-1 + log_variance - logs[t] + np.exp(logs[t] - log_variance)
                + (true_mean - mean) ** 2 * np.exp(-log_variance))  # fmt: skip
    return kl.mean() / np.log(2)


def two_channel_net(x, c_noise):
    return jnp.concatenate([net(x, c_noise), jnp.cos(3 * x)], axis=-1)


@pytest.mark.parametrize("x64, rtol", [(True, 1e-7), (False, 5e-3)])
def test_hybrid_vb_is_the_published_term(x64, rtol):
    with jax.enable_x64(x64):
        schedule = schedules.linear_beta()
        x0 = jnp.asarray(X0, float).at[:, 0, 0, 0].set(-1.0).at[:, 0, 0, 1].set(1.0)
        t = jnp.asarray(T, float)
        found = jax.jit(
            lambda x0, t: loss.hybrid_loss(
                two_channel_net, parameterization.eps(), weighting.simple(), schedule, x0, t, KEY, vb_weight=0.25
            )
        )(x0, t)
        level = schedule(t)
        eps = process.noise_like(KEY, x0)
        x_t = process.diffuse(x0, eps, level)
        out = np.asarray(two_channel_net(x_t, t), np.float64)
        guess, v = out[..., :2], out[..., 2:]
        for i, step in enumerate(np.asarray(t).astype(int)):
            bar = np.cumprod(1 - np.linspace(1e-4, 0.02, 1000))[step]
            x = np.asarray(x_t[i], np.float64)
            x0_guess = (x - np.sqrt(1 - bar) * guess[i]) / np.sqrt(bar)
            wanted = published_vb(np.asarray(x0[i], np.float64), x, step, x0_guess, v[i])
            np.testing.assert_allclose(found.vb[i], wanted, rtol=rtol, err_msg=str(step))
        np.testing.assert_allclose(found.loss, found.simple + 0.25 * found.vb, rtol=1e-6)
        plain = loss.denoising_loss(net, parameterization.eps(), weighting.simple(), schedule, x0, t, KEY).loss
        np.testing.assert_allclose(found.simple, plain, rtol=1e-6)


def test_vb_trains_the_variance_alone():
    """The bound's gradient misses the mean's weights; the squared error's misses the variance's."""

    def part(weights, name):
        scaled = lambda x, c: jnp.concatenate([weights[0] * net(x, c), weights[1] * jnp.cos(x)], axis=-1)  # noqa: E731
        made = loss.hybrid_loss(scaled, parameterization.eps(), weighting.simple(), SCHEDULE, X0, T, KEY)
        return getattr(made, name).mean()

    of_vb, of_simple = jax.jit(lambda weights: [jax.grad(part)(weights, name) for name in ("vb", "simple")])(
        jnp.array([0.9, 0.4])
    )
    assert of_vb[0] == 0 and abs(of_vb[1]) > 1e-4
    assert abs(of_simple[0]) > 1e-4 and of_simple[1] == 0


def test_variational_loss_is_the_same_term_through_the_mean_too():
    made = (parameterization.eps(), SCHEDULE, X0, T, KEY)
    hybrid = loss.hybrid_loss(two_channel_net, made[0], weighting.simple(), *made[1:])
    np.testing.assert_allclose(loss.variational_loss(two_channel_net, *made).loss, hybrid.vb, rtol=1e-5)

    def of_weight(w):
        return loss.variational_loss(lambda x, c: w * net(x, c), *made, "fixed_small").loss.mean()

    of_mean = jax.jit(jax.grad(of_weight))(0.9)
    assert abs(of_mean) > 1e-4


def test_gradients_are_finite_far_off():
    """Hopeless predictions, at the chain's ends too, give no NaN."""

    def total(scale):
        wild = lambda x, c: jnp.concatenate([scale * x, scale * x], axis=-1)  # noqa: E731
        return loss.hybrid_loss(wild, parameterization.eps(), weighting.simple(), SCHEDULE, X0, T, KEY).loss.mean()

    slope = jax.jit(jax.grad(total))
    for scale in (-30.0, 0.0, 30.0):
        assert jnp.isfinite(slope(scale))


def test_decoder_is_a_distribution_over_256_levels():
    levels = jnp.linspace(-1, 1, 256)[:, None]
    for mean, scale in [(0.1, 0.05), (-0.98, 0.02), (0.7, 0.5)]:
        nll = loss.discretized_gaussian_nll(levels, jnp.full_like(levels, mean), jnp.full_like(levels, np.log(scale)))
        np.testing.assert_allclose(jnp.exp(-nll).sum(), 1, rtol=1e-4)
        exact = norm.cdf((np.asarray(levels) + 1 / 255 - mean) / scale)
        exact -= norm.cdf((np.asarray(levels) - 1 / 255 - mean) / scale)
        np.testing.assert_allclose(jnp.exp(-nll)[1:-1], exact[1:-1], atol=5e-4)


def test_decoder_floors_probability():
    far = loss.discretized_gaussian_nll(jnp.array([[0.9]]), jnp.array([[-0.9]]), jnp.array([[-6.0]]))
    np.testing.assert_allclose(far, -np.log(1e-12), rtol=1e-5)


def test_kl_of_normals():
    mean1, logvar1, mean2, logvar2 = (jnp.array([v]) for v in (0.3, -0.5, -0.2, 0.4))
    found = loss.normal_kl(mean1, logvar1, mean2, logvar2)
    x = np.linspace(-12, 12, 200001)
    p, q = norm(0.3, np.exp(-0.25)), norm(-0.2, np.exp(0.2))
    wanted = (p.pdf(x) * (p.logpdf(x) - q.logpdf(x))).sum() * (x[1] - x[0])
    np.testing.assert_allclose(found, wanted, rtol=1e-4)


def test_a_perfect_denoiser_with_the_true_posterior_pays_nothing_but_decoding():
    cur, nxt, floor = loss.neighbours(SCHEDULE, T)
    eps, x_t, _ = noisy()
    exact = Prediction(X0, eps, jnp.zeros_like(X0))
    bits = loss.vb_terms(exact, X0, x_t, cur, nxt, floor, "learned_range")
    np.testing.assert_allclose(bits[1:], 0, atol=1e-5)
    assert bits[0] > 0.1


def test_a_continuous_schedule_has_no_bound():
    with pytest.raises(ValueError, match="Cosine"):
        loss.hybrid_loss(
            two_channel_net,
            parameterization.eps(),
            weighting.simple(),
            schedules.continuous_cosine(),
            X0,
            T,
            KEY,
        )
