"""The discretized mixture of logistics is a distribution, is the paper's, and is what samples are drawn from."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from genjax.losses import mixture_logistics as mol

LEVELS = (np.arange(256) / 127.5 - 1).astype(np.float32)


def raw_params(channels, components, shape=(1, 1, 1), scale=1.0, seed=0):
    count = mol.num_params(channels, components)
    return scale * np.random.default_rng(seed).normal(size=(*shape, count)).astype(np.float32)


def with_scales(raw, channels, components, log_scale):
    """The same parameters, every log-scale replaced."""
    rest = raw[..., components:].reshape(*raw.shape[:-1], channels, -1, components).copy()
    rest[..., 1, :] = log_scale
    return np.concatenate([raw[..., :components], rest.reshape(*raw.shape[:-1], -1)], axis=-1)


def pixels(values, channels):
    """[n, channels] as n images of one pixel."""
    return jnp.asarray(values, jnp.float32).reshape(-1, 1, 1, channels)


log_prob = jax.jit(mol.log_prob)


def probabilities(raw, values, channels=1):
    x = pixels(values, channels)
    return np.exp(np.asarray(log_prob(jnp.broadcast_to(raw, (len(x), *raw.shape[1:])), x), np.float64))


@pytest.mark.parametrize("log_scale", [-20.0, -5.0, -1.0, 3.0])
def test_the_256_levels_sum_to_one(log_scale):
    raw = with_scales(raw_params(1, 4), 1, 4, log_scale)
    assert probabilities(raw, LEVELS).sum() == pytest.approx(1, abs=2e-5)


def test_scales_stop_at_the_least():
    raw = raw_params(1, 3)
    least, below = (probabilities(with_scales(raw, 1, 3, log_scale), LEVELS) for log_scale in (-7.0, -9.0))
    np.testing.assert_array_equal(least, below)
    assert np.abs(least - probabilities(with_scales(raw, 1, 3, -6.0), LEVELS)).max() > 1e-4


def reference(raw, x, channels, components):
    """-log P in float64, by the equations of the paper, one pixel, component and channel at a time."""
    raw, x, total = raw.astype(np.float64), x.astype(np.float64), []
    sigmoid = lambda z: 1 / (1 + np.exp(-z))  # noqa: E731
    for example in range(x.shape[0]):
        sum_of_logs = 0.0
        for place in np.ndindex(x.shape[1:3]):
            p, v = raw[example][place], x[example][place]
            chances = np.exp(p[:components]) / np.exp(p[:components]).sum()
            rest = p[components:].reshape(channels, -1, components)
            density = 0.0
            for k in range(components):
                mean = rest[:, 0, k].copy()
                if channels == 3:
                    c0, c1, c2 = np.tanh(rest[:, 2, k])
                    mean[1] += c0 * v[0]
                    mean[2] += c1 * v[0] + c2 * v[1]
                factor = chances[k]
                for channel in range(channels):
                    s = np.exp(max(rest[channel, 1, k], -7.0))
                    upper = 1.0 if v[channel] > 0.999 else sigmoid((v[channel] - mean[channel] + 1 / 255) / s)
                    lower = 0.0 if v[channel] < -0.999 else sigmoid((v[channel] - mean[channel] - 1 / 255) / s)
                    factor *= upper - lower
                density += factor
            sum_of_logs += np.log(density)
        total.append(sum_of_logs)
    return np.array(total)


@pytest.mark.parametrize("channels", [1, 3])
def test_equals_the_formula_in_float64(channels):
    raw = raw_params(channels, 3, (4, 3, 2), scale=0.7)
    x = np.random.default_rng(1).choice(LEVELS, (4, 3, 2, channels))
    x[0, 0, 0], x[1, 0, 0] = -1, 1
    expected = reference(raw, x, channels, 3)
    np.testing.assert_allclose(log_prob(jnp.asarray(raw), jnp.asarray(x)), expected, rtol=1e-5)


def test_red_knows_no_green_and_green_no_blue():
    raw = with_scales(raw_params(3, 2, scale=0.5), 3, 2, -2.0)
    red = LEVELS[100]
    green, blue = (grid.ravel() for grid in np.meshgrid(LEVELS, LEVELS))
    joint = probabilities(raw, np.stack([np.full_like(green, red), green, blue], axis=-1), 3)
    # Summed over green and blue the joint is red's own mixture, that of a grey image with red's parameters.
    own = np.concatenate([raw[..., :2], raw[..., 2:6]], axis=-1)
    assert joint.sum() == pytest.approx(probabilities(own, [red])[0], rel=1e-4)
    # Whatever the blue parameters are, those of the pair (red, green) sum to the same.
    other = raw.copy()
    other[..., -6:-2] += 0.3
    by_green = joint.reshape(256, 256).sum(0)
    changed = probabilities(other, np.stack([np.full_like(green, red), green, blue], axis=-1), 3)
    np.testing.assert_allclose(changed.reshape(256, 256).sum(0), by_green, rtol=1e-4)


def test_far_from_every_component_it_is_finite_with_a_gradient_that_leads_back():
    raw = with_scales(np.zeros((1, 1, 1, 3), np.float32), 1, 1, -7.0)
    far = jnp.full((1, 1, 1, 1), 0.9)
    value, gradient = jax.jit(jax.value_and_grad(lambda raw: mol.log_prob(raw, far)[0]))(jnp.asarray(raw))
    assert -2000 < value < -500
    assert np.isfinite(gradient).all() and gradient[0, 0, 0, 1] > 100, "a mean nearer to x is likelier"


def draw(raw, channels, count):
    keys = jax.random.split(jax.random.key(3), count)
    raw = jnp.broadcast_to(raw, (count, *raw.shape[1:]))
    return np.asarray(jax.jit(mol.sample, static_argnums=1)(raw, channels, keys)).reshape(count, channels)


def test_samples_are_drawn_with_their_probabilities():
    count, raw = 40_000, with_scales(raw_params(1, 3, scale=0.8), 1, 3, np.array([-3.0, -1.0, -4.0], np.float32))
    samples = draw(raw, 1, count)
    level = np.round((samples[:, 0] + 1) * 127.5).astype(int)
    np.testing.assert_allclose(samples[:, 0], LEVELS[level], atol=1e-6)
    expected = probabilities(raw, LEVELS)
    observed = np.bincount(level, minlength=256) / count
    sigma = np.sqrt(expected * (1 - expected) / count)
    assert (np.abs(observed - expected) < 4.5 * sigma + 1e-4).all()
    assert observed[0] > 0 and observed[255] > 0, "the tails are in the outer levels"


@pytest.mark.slow
def test_colours_are_drawn_jointly():
    """Narrow components around 0, so that all that can happen can be enumerated."""
    count, raw = 20_000, with_scales(raw_params(3, 2, scale=0.03), 3, 2, -5.3)
    raw[..., 6:8], raw[..., 12:14], raw[..., 18:20] = 2.0, -1.5, 1.0  # raw coefficients
    samples = np.round((draw(raw, 3, count) + 1) * 127.5).astype(int)
    near = np.arange(114, 142)
    cells = np.stack(np.meshgrid(near, near, near, indexing="ij"), axis=-1).reshape(-1, 3)
    chances = probabilities(raw, LEVELS[cells], 3)
    assert chances.sum() == pytest.approx(1, abs=2e-3), "nearly all of it"
    for weights in ((1, -1, 0), (0, 1, 1), (1, 0, 1), (1, 1, -1)):
        values, sampled = cells @ weights, samples @ weights
        expected = (chances * values).sum() / chances.sum()
        spread = np.sqrt((chances * (values - expected) ** 2).sum())
        assert sampled.mean() == pytest.approx(expected, abs=5 * spread / np.sqrt(count) + 0.02)
        assert sampled.std() == pytest.approx(spread, rel=0.05)


@pytest.mark.parametrize("channels", [1, 3])
def test_mean_is_that_of_samples(channels):
    count, raw = 20_000, with_scales(raw_params(channels, 2, scale=0.2), channels, 2, -3.0)
    expected = np.asarray(jax.jit(mol.mean, static_argnums=1)(jnp.asarray(raw), channels)).reshape(channels)
    np.testing.assert_allclose(draw(raw, channels, count).mean(0), expected, atol=0.01)


def test_other_numbers_of_channels_are_refused():
    with pytest.raises(ValueError, match="1 or 3 channels, and the images have 2"):
        mol.num_params(2, 5)
