"""Coders between images and vectors."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from genjax.core.tree import count_params
from genjax.nn import mlp, vector_coders

KEY = jax.random.key(0)
CONV = {"name": "conv", "width": 8, "num_downs": 2, "num_res_blocks": 1, "res_width": 4}
MLP = {"name": "mlp", "hidden": (7,), "activation": "tanh"}


@pytest.mark.parametrize("settings", [CONV, MLP], ids=["conv", "mlp"])
def test_image_to_vector_and_back(settings):
    encoder, decoder = vector_coders.make(settings, 5, (8, 12, 3), "float32")
    vector, _ = jax.eval_shape(encoder.init_with_output, KEY, jnp.ones((2, 8, 12, 3)))
    assert vector.shape == (2, 5)
    assert jax.eval_shape(decoder.init_with_output, KEY, vector)[0].shape == (2, 8, 12, 3)


def test_mlp_is_its_formula():
    network = mlp.MLP(3, (5, 4), "tanh")
    x = jax.random.normal(KEY, (2, 6))
    y, variables = network.init_with_output(KEY, x)
    p = jax.tree.map(lambda a: np.asarray(a, np.float64), variables["params"])
    h = np.asarray(x)
    for name in ("hidden_0", "hidden_1"):
        h = np.tanh(h @ p[name]["kernel"] + p[name]["bias"])
    np.testing.assert_allclose(y, h @ p["dense_out"]["kernel"] + p["dense_out"]["bias"], rtol=1e-5, atol=1e-6)


def test_paper_size():
    # Kingma & Welling's MNIST: 784 -> 500 -> (mu, logvar) of 20, and back.
    encoder, decoder = vector_coders.make({**MLP, "hidden": (500,)}, 40, (28, 28, 1))
    count = count_params(jax.eval_shape(encoder.init, KEY, jnp.zeros((1, 28, 28, 1))))
    assert count == 784 * 500 + 500 + 500 * 40 + 40
    assert count_params(jax.eval_shape(decoder.init, KEY, jnp.zeros((1, 20)))) == 20 * 500 + 500 + 500 * 784 + 784


@pytest.mark.parametrize(
    ("settings", "shape", "words"),
    [
        ({"name": "rnn"}, (8, 8, 1), "unknown network 'rnn'"),
        ({**MLP, "activation": "cube"}, (8, 8, 1), "unknown activation 'cube'"),
        ({**CONV, "num_downs": 3}, (12, 12, 1), "12x12 can't be reached by 3 doublings"),
    ],
)
def test_refusals(settings, shape, words):
    with pytest.raises(ValueError, match=words):
        _, decoder = vector_coders.make(settings, 5, shape)
        decoder.init(KEY, jnp.zeros((1, 5)))
