"""RealNVP's likelihood against closed forms: the density of a Gaussian of logits, and its mass, which is 1."""

import functools
import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.stats

from genjax.core import images
from genjax.families import real_nvp, registry
from genjax.families.interfaces import Weights
from genjax.nn.real_nvp import from_logits
from genjax.typing import DataSpec
from tests.laws.oracles import normal_points

KEY = jax.random.key(3)
ALPHA = 0.05
MODEL = {"network": {"width": 4, "num_res_blocks": 1, "num_scales": 1}, "dtype": "float64"}


@functools.cache
def build(shape):
    family = registry.build("real_nvp", MODEL, {}, DataSpec(shape))
    params, _ = jax.jit(family.init)(KEY, {"image": jnp.zeros((1, *shape))})
    return family, jax.tree.map(lambda leaf: leaf.astype(jnp.float64), params)


def bits_per_dim(family, params, x):
    return jax.jit(family.evaluate)(Weights(params, (), {}), {"image": x}, KEY)["bits_per_dim"]


def logits(x):
    """(logits, log of the slope) of dequantized images."""
    p = ALPHA + (1 - 2 * ALPHA) * (np.asarray(x) * 127.5 + 128) / 256
    return scipy.special.logit(p), np.log((1 - 2 * ALPHA) * 127.5 / 256 / (p * (1 - p)))


@pytest.fixture
def continuous(monkeypatch):
    """Images are taken as they are, instead of as 8-bit levels with noise."""
    monkeypatch.setattr(real_nvp.images, "dequantize", lambda x, key: x)


def test_the_identity_is_a_standard_gaussian_of_logits():
    """Of 8-bit images under the very noise, by hand: normal density, slope, and bins of 1/127.5."""
    family, params = build((4, 4, 1))
    x = jnp.round(jax.random.uniform(KEY, (5, 4, 4, 1), jnp.float64) * 255).at[0].set(0).at[1].set(255) / 127.5 - 1
    y, log_slope = logits(images.dequantize(x, KEY))
    nats = (scipy.stats.norm.logpdf(y) + log_slope).sum((1, 2, 3))
    np.testing.assert_allclose(bits_per_dim(family, params, x), -nats / math.log(2) / 16 + math.log2(127.5), rtol=1e-12)


def set_gaussian(params, means, scales):
    """Parameters of couplings that only scale and shift: z = (y - mean) / scale, by the colour on the checkerboard.

    The first layer changes the black cells, the second the white ones, and the others nothing.
    """
    fixed = jax.tree.map(lambda leaf: leaf, params)
    for index, (mean, scale) in enumerate(zip(means, scales, strict=True)):
        layer = fixed["model"][f"checkerboards_0_{index}"]
        layer["tanh_scale"] = jnp.full(1, 4.0)
        layer["conv_out"]["bias"] = jnp.array([math.atanh(-math.log(scale) / 4), -mean / scale])
    return fixed


def test_bits_of_gaussian_data_are_its_entropy(continuous):
    """h(x) = h(y) + E log |dx/dy| with y ~ N(mean, scale^2): closed but for one integral, by Gauss and Hermite."""
    family, params = build((1, 2, 1))
    means, scales = (0.7, -0.4), (0.5, 0.2)
    fixed = set_gaussian(params, means, scales)
    points = normal_points(20_000)
    nodes, weights = np.polynomial.hermite_e.hermegauss(80)
    # The first layer keeps the even cells: it is the odd one that it changes.
    other = np.random.default_rng(0).permutation(points)
    y = np.stack([means[1] + scales[1] * points, means[0] + scales[0] * other], axis=1)
    found = bits_per_dim(family, fixed, from_logits(jnp.asarray(y)[:, None, :, None], ALPHA))
    wanted = 0.0
    for mean, scale in zip(means, scales, strict=True):
        p = scipy.special.expit(mean + scale * nodes)
        log_dx_dy = np.log(p * (1 - p) * 256 / 127.5 / (1 - 2 * ALPHA))
        nats = 0.5 * math.log(2 * math.pi * math.e * scale**2) + weights @ log_dx_dy / weights.sum()
        wanted += nats / math.log(2) / 2 + math.log2(127.5) / 2
    assert found.std() > 0.1
    np.testing.assert_allclose(found.mean(), wanted, atol=1e-5)


def test_a_linear_flow_has_the_density_of_its_correlated_gaussian(continuous, monkeypatch):
    """z = A (y - m) with det A != 1: log p is that of N(m, (A^T A)^-1), slope included."""
    size = 6
    random = np.random.default_rng(0)
    matrix, mean = np.eye(size) + 0.4 * random.standard_normal((size, size)), 0.3 * random.standard_normal(size)

    class Linear(real_nvp.real_nvp.RealNVP):
        def setup(self):
            self.unused = self.param("unused", lambda key: jnp.zeros(()))

        def flow(self, x):
            z = (x.reshape(-1, size) - mean) @ matrix.T
            return z.reshape(x.shape), jnp.full(len(x), np.linalg.slogdet(matrix)[1])

    monkeypatch.setattr(real_nvp.real_nvp, "RealNVP", Linear)
    family, params = build((2, 3, 1))
    x = jnp.asarray(random.uniform(-1, 1, (7, 2, 3, 1)))
    y, log_slope = logits(x)
    normal = scipy.stats.multivariate_normal(mean, np.linalg.inv(matrix.T @ matrix))
    nats = normal.logpdf(y.reshape(-1, size)) + log_slope.sum((1, 2, 3))
    np.testing.assert_allclose(
        bits_per_dim(family, params, x), -nats / math.log(2) / size + math.log2(127.5), rtol=1e-10
    )


def test_the_density_of_two_pixels_has_a_mass_of_one(continuous):
    """With random networks; the sum of a fine grid of p = alpha + (1 - 2 alpha) u over the open square."""
    family, params = build((1, 2, 1))
    noise = np.random.default_rng(2)
    params = jax.tree.map(lambda leaf: leaf + 0.3 * noise.standard_normal(leaf.shape), params)
    count = 250
    p = (np.arange(count) + 0.5) / count
    x = ((p - ALPHA) / (1 - 2 * ALPHA) * 256 - 128) / 127.5
    grid = np.stack(np.meshgrid(x, x, indexing="ij"), -1).reshape(-1, 1, 2, 1)
    bits = bits_per_dim(family, params, jnp.asarray(grid)) - math.log2(127.5)
    densities, cell = np.exp2(-2 * np.asarray(bits)), (x[1] - x[0]) ** 2
    assert densities.max() > 2 * densities.mean()
    np.testing.assert_allclose(densities.sum() * cell, 1, atol=2e-3)
