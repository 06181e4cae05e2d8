"""Learning rates and optimizers against hand-computed values."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from configs import common
from genjax.core import tree
from genjax.training import optim


def settings(**changes):
    return common.adam(0.1, **changes).to_dict()


@pytest.mark.parametrize(("changes", "expected"), [
    ({}, {0: 0.1, 50: 0.1}),
    ({"warmup_steps": 10}, {0: 0.01, 4: 0.05, 9: 0.1, 10: 0.1, 99: 0.1}),
    ({"schedule": "cosine"}, {0: 0.1, 50: 0.05, 100: 0.0}),
    ({"schedule": "cosine", "warmup_steps": 20, "end_factor": 0.5}, {20: 0.1, 60: 0.075, 100: 0.05}),
    ({"schedule": "linear", "end_factor": 0.1}, {0: 0.1, 50: 0.055, 100: 0.01}),
    ({"schedule": "linear", "decay_steps": 50}, {0: 0.1, 25: 0.05, 50: 0.0, 100: 0.0}),
])  # fmt: skip
def test_learning_rate(changes, expected):
    rate = optim.learning_rate(settings(**changes), num_steps=100)
    for step, value in expected.items():
        assert float(rate(step)) == pytest.approx(value, abs=1e-7)


def first_update(grad, **changes):
    params = {"kernel": jnp.ones((2, 2)), "bias": jnp.ones(2)}
    optimizer = optim.make_optimizer(settings(**changes), 100)
    grads = {"kernel": jnp.full((2, 2), grad), "bias": jnp.full(2, grad)}
    updates, _ = optimizer.update(grads, optimizer.init(params), params)
    return updates


def test_adam_first_step_is_the_sign():
    np.testing.assert_allclose(first_update(3.0)["kernel"], -0.1, rtol=1e-5)


def test_decay_acts_on_kernels_alone():
    updates = first_update(3.0, name="adamw", weight_decay=0.5)
    np.testing.assert_allclose(updates["kernel"], -0.1 * (1 + 0.5), rtol=1e-5)
    np.testing.assert_allclose(updates["bias"], -0.1, rtol=1e-5)


def test_sgd_with_clipping_by_the_global_norm():
    updates = first_update(3.0, name="sgd", clip_norm=1.0)
    np.testing.assert_allclose(updates["bias"], -0.1 / np.sqrt(6), rtol=1e-5)


def test_adafactor_descends():
    assert (first_update(3.0, name="adafactor")["kernel"] < 0).all()


def test_lower_layers_learn_slower():
    one = {"kernel": jnp.ones((2, 2))}
    trunk = {"patches": one, "mask_token": jnp.ones(2), "block_0": {"mlp_in": one}, "block_1": one}
    params = {"trunk": trunk, "head": one}
    expected = {"trunk/patches/kernel": 1 / 8, "trunk/mask_token": 1 / 8, "trunk/block_0/mlp_in/kernel": 1 / 4}
    expected |= {"trunk/block_1/kernel": 1 / 2, "head/kernel": 1.0}
    optimizer = optim.make_optimizer(settings(layer_decay=0.5), 100)
    updates, _ = optimizer.update(params, optimizer.init(params), params)
    for path, leaf in zip(tree.param_paths(updates), jax.tree.leaves(updates), strict=True):
        np.testing.assert_allclose(leaf, -0.1 * expected[path], rtol=1e-5, err_msg=path)


@pytest.mark.parametrize(("changes", "words"), [
    ({"name": "lion"}, "unknown optimizer 'lion'"),
    ({"schedule": "steps"}, "unknown learning-rate schedule 'steps'"),
    ({"weight_decay": 0.1}, "needs the optimizer 'adamw', not 'adam'"),
])
def test_refusals(changes, words):
    with pytest.raises(ValueError, match=words):
        optim.make_optimizer(settings(**changes), 100)
