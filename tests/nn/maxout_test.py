"""The networks of 2014 against formulas in numpy, and their sizes on MNIST."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from genjax.core.tree import count_params
from genjax.nn import maxout

KEY = jax.random.key(0)


def params_of(network, *inputs):
    """As initialised, but larger and with biases."""
    params = network.init(KEY, *inputs)["params"]
    noise = np.random.default_rng(0)
    return jax.tree.map(lambda leaf: leaf + 0.3 * noise.standard_normal(leaf.shape, np.float32), params)


def dense(params, name, x):
    return x @ np.asarray(params[name]["kernel"], np.float64) + np.asarray(params[name]["bias"], np.float64)


def test_generator():
    network = maxout.Generator((3, 4, 1), width=7)
    z = jax.random.normal(KEY, (5, 6))
    params = params_of(network, z)
    h = np.asarray(z, np.float64)
    for name in ("hidden_0", "hidden_1"):
        h = np.maximum(dense(params, name, h), 0)
    pixels = 1 / (1 + np.exp(-dense(params, "pixels", h)))
    images = network.apply({"params": params}, z)
    np.testing.assert_allclose((images.reshape(5, -1) + 1) / 2, pixels, rtol=1e-5)


def test_discriminator():
    network = maxout.Discriminator(width=3, pieces=4)
    images = jax.random.uniform(KEY, (5, 2, 3, 1), minval=-1)
    params = params_of(network, images)
    h = (np.asarray(images, np.float64).reshape(5, -1) + 1) / 2
    for name in ("hidden_0", "hidden_1"):
        h = np.stack([dense(params, name, h)[:, 4 * i : 4 * i + 4].max(1) for i in range(3)], axis=1)
    np.testing.assert_allclose(network.apply({"params": params}, images), dense(params, "logit", h)[:, 0], rtol=1e-5)


def test_dropout_is_of_training_only_and_keeps_the_mean():
    """A discriminator that is linear in its pixels: dropout changes its logit, and not on average."""
    network = maxout.Discriminator(width=8, pieces=1, depth=1, dropout_input=0.2, dropout=0.5)
    images = jax.random.uniform(KEY, (1, 4, 4, 1))
    params = {"params": params_of(network, images)}
    many = jnp.repeat(images, 20_000, 0)
    logits = network.apply(params, many, train=True, rngs={"dropout": KEY})
    np.testing.assert_array_equal(network.apply(params, images), network.apply(params, images))
    assert logits.std() > 0.1
    np.testing.assert_allclose(logits.mean(), network.apply(params, images)[0], atol=4 * logits.std() / 20_000**0.5)


@pytest.mark.parametrize("depth", [1, 2])
def test_pixels_and_each_layers_units_are_dropped_at_their_own_rates(depth):
    """With pixels, the last layer's units or the first one's left out altogether, nothing of an image is left."""
    images = jax.random.uniform(KEY, (3, 4, 4, 1))
    rates = {"pixels": (1.0, 0.0), "units": (0.0, 1.0), "none": (0.0, 0.0)}
    logits = {}
    for name, (dropout_input, dropout) in rates.items():
        network = maxout.Discriminator(width=8, pieces=2, depth=depth, dropout_input=dropout_input, dropout=dropout)
        params = params_of(network, images)
        logits[name] = network.apply({"params": params}, images, train=True, rngs={"dropout": KEY})
    assert np.ptp(logits["none"]) > 1e-2 and np.ptp(logits["pixels"]) == np.ptp(logits["units"]) == 0.0
    np.testing.assert_allclose(logits["units"], params["logit"]["bias"][0], rtol=1e-6)
    assert abs(logits["pixels"][0] - logits["units"][0]) > 1e-3, "biases go through where pixels don't"


def test_sizes_on_mnist():
    """100-1200-1200-784, and maxout of 240 units of 5 pieces twice."""
    generator = maxout.Generator((28, 28, 1))
    discriminator = maxout.Discriminator()
    counts = [
        count_params(jax.eval_shape(network.init, KEY, jax.ShapeDtypeStruct(shape, jnp.float32)))
        for network, shape in ((generator, (1, 100)), (discriminator, (1, 28, 28, 1)))
    ]
    assert counts == [101 * 1200 + 1201 * 1200 + 1201 * 784, 785 * 1200 + 241 * 1200 + 241]
    kernel = maxout.Discriminator(width=50).init(KEY, jnp.zeros((1, 8, 8, 1)))["params"]["hidden_0"]["kernel"]
    assert 0.0049 < jnp.abs(kernel).max() <= 0.005
