"""Thresholding and editing: x0 is changed, eps follows, the rest stays."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from genjax.diffusion import editing, process, samplers, schedules, thresholding
from genjax.diffusion.denoisers import Prediction

KEY = jax.random.key(0)
LEVEL = schedules.cosine()(300.0)
X = jax.random.normal(KEY, (4, 6, 6, 1))
X0 = 1.5 * jax.random.normal(jax.random.key(1), X.shape)


def wild(x_t, level, key):
    """A denoiser that estimates far out of range."""
    frac = jnp.full_like(x_t, 0.3)
    return Prediction(X0, process.eps_from_x0(x_t, X0, level), frac, 2 * frac)


def test_static_clips_before_eps():
    found = thresholding.static()(wild)(X, LEVEL, KEY)
    np.testing.assert_array_equal(found.x0, jnp.clip(X0, -1, 1))
    np.testing.assert_allclose(found.eps, (X - LEVEL.alpha * found.x0) / LEVEL.sigma, rtol=1e-5)
    np.testing.assert_array_equal(found.var_frac, wild(X, LEVEL, KEY).var_frac)
    np.testing.assert_array_equal(found.mean_grad, wild(X, LEVEL, KEY).mean_grad)


def test_clipped_x0_enters_the_posterior_mean_and_ddims_eps():
    cur, nxt = LEVEL, schedules.cosine()(280.0)
    denoise = thresholding.static()(lambda x, level, key: wild(x, level, key)._replace(mean_grad=None))
    clipped = np.clip(np.asarray(X0, np.float64), -1, 1)
    before, bar = float(nxt.alpha) ** 2, float(cur.alpha) ** 2
    beta = 1 - bar / before
    mean = np.sqrt(before) * beta / (1 - bar) * clipped + np.sqrt(1 - beta) * (1 - before) / (1 - bar) * np.asarray(X)
    sampler = samplers.ancestral("fixed_small")
    found, _ = sampler.step(denoise, X, jnp.ones(()), cur, nxt, KEY)
    noise = process.noise_like(process.fold(KEY, 1), X)
    std = np.sqrt(beta * (1 - before) / (1 - bar))
    np.testing.assert_allclose(found, mean + std * noise, rtol=1e-3, atol=1e-4)
    eps = (np.asarray(X) - np.sqrt(bar) * clipped) / np.sqrt(1 - bar)
    found, _ = samplers.ddim().step(denoise, X, (), cur, nxt, KEY)
    np.testing.assert_allclose(found, np.sqrt(before) * clipped + np.sqrt(1 - before) * eps, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("quantile, cap", [(0.995, None), (0.9, None), (0.95, 1.7), (0.95, 1.0)])
def test_dynamic(quantile, cap):
    found = thresholding.dynamic(quantile, cap)(wild)(X, LEVEL, KEY).x0
    for i in range(4):
        s = max(1.0, np.quantile(np.abs(X0[i]), quantile))
        s = s if cap is None else min(s, cap)
        np.testing.assert_allclose(found[i], np.clip(X0[i], -s, s) / s, rtol=1e-4, atol=1e-6)


def test_dynamic_leaves_data_in_range_alone():
    calm = lambda x, level, key: wild(x, level, key)._replace(x0=0.2 * jnp.tanh(X0))  # noqa: E731
    np.testing.assert_allclose(thresholding.dynamic()(calm)(X, LEVEL, KEY).x0, 0.2 * jnp.tanh(X0), rtol=1e-6)


def test_known_parts_are_kept_to_the_end():
    known, mask = jnp.full(X.shape, 0.25), jnp.zeros((1, 6, 6, 1)).at[:, :3].set(1.0)
    denoise = editing.replace_known(known, mask)(thresholding.static()(wild))
    found = denoise(X, LEVEL, KEY)
    np.testing.assert_array_equal(found.x0[:, :3], 0.25)
    np.testing.assert_array_equal(found.x0[:, 3:], jnp.clip(X0, -1, 1)[:, 3:])
    np.testing.assert_allclose(LEVEL.alpha * found.x0 + LEVEL.sigma * found.eps, X, atol=1e-5)
    end, _ = samplers.ddim().step(
        lambda x, level, key: denoise(x, level, key)._replace(mean_grad=None),
        X,
        (),
        LEVEL,
        schedules.cosine()(-1),
        KEY,
    )
    np.testing.assert_array_equal(end[:, :3], 0.25)
