"""Learning rates and optimizers against hand-computed values."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from genjax.configs.recipes import common
from genjax.core import tree
from genjax.training import optim
from tests.training import toy


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


def test_clipping_can_be_turned_on_in_a_run():
    params = {"kernel": jnp.ones((2, 2))}
    states = [optim.make_optimizer(settings(clip_norm=norm), 100).init(params) for norm in (0.0, 1.0)]
    assert jax.tree.structure(states[0]) == jax.tree.structure(states[1])


@pytest.mark.parametrize("name", ["adam", "adafactor", "sgd"])
def test_the_rate_is_that_of_the_step_of_the_run(name):
    """From the rate 0.1 at step 0 to 0.05 at step 50."""
    params = {"kernel": jnp.ones((2, 2))}
    optimizer = optim.make_optimizer(settings(name=name, schedule="linear"), 100)
    first, half = (optimizer.update(params, optimizer.init(params), params, step=step)[0] for step in (0, 50))
    np.testing.assert_allclose(half["kernel"], 0.5 * first["kernel"], rtol=1e-6)


def resumed(num_steps, schedule="cosine", before=0, **changes):
    """Configs of a run of 1000 steps, and of what it is to go on with."""
    there = {"training": {"num_steps": 1000}, "optimizer": {"model": settings(schedule=schedule, decay_steps=before)}}
    here = {"training": {"num_steps": num_steps}, "optimizer": {"model": settings(schedule=schedule, **changes)}}
    return there, here


def test_a_decay_that_ends_with_the_run_is_not_moved_unnoticed():
    words = "num_steps=2000 moves .* step 1000, .* jump from 0 to 0.05: .*model.decay_steps=1000 to keep .* =2000"
    with pytest.raises(ValueError, match=words):
        optim.check_decays(*resumed(2000), 1000)
    with pytest.raises(ValueError, match="is at step 700"):
        optim.check_decays(*resumed(2000, before=700), 700)
    for same in (resumed(1000), resumed(2000, "constant"), resumed(2000, decay_steps=1000)):
        optim.check_decays(*same, 1000)
    optim.check_decays(*resumed(2000, warmup_steps=300), 299)
    with pytest.raises(ValueError, match="jump"):
        optim.check_decays(*resumed(2000, warmup_steps=300), 400)
    rate = optim.learning_rate(settings(schedule="cosine", decay_steps=1000, end_factor=0.1), 2000)
    assert float(rate(1000)) == float(rate(1999)) == pytest.approx(0.01), "it stays at its end"


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


ADAM = {"b1": 0.8, "b2": 0.7, "eps": 0.3, "clip_norm": 0.5, "warmup_steps": 4, "name": "adamw", "weight_decay": 0.25}


def test_adam_by_hand_with_settings_away_from_their_defaults():
    """Three steps in float64: clipping by the global norm, moments, eps outside of the root, decay, warm-up."""
    gradients, w = np.array([[3.0, -1.0], [0.2, 0.1], [-0.3, 2.0]]), np.array([[1.0, -2.0]])
    optimizer = optim.make_optimizer(settings(**ADAM), 100)
    params = {"kernel": jnp.asarray(w, jnp.float32)}
    state, mean, square = optimizer.init(params), np.zeros_like(w), np.zeros_like(w)
    for step, gradient in enumerate(gradients[:, None]):
        updates, state = optimizer.update({"kernel": jnp.asarray(gradient, jnp.float32)}, state, params)
        params = optax.apply_updates(params, updates)
        clipped = gradient * min(1, 0.5 / np.linalg.norm(gradient))
        mean, square = 0.8 * mean + 0.2 * clipped, 0.7 * square + 0.3 * clipped**2
        direction = mean / (1 - 0.8 ** (step + 1)) / (np.sqrt(square / (1 - 0.7 ** (step + 1))) + 0.3)
        w = w - 0.1 * (step + 1) / 4 * (direction + 0.25 * w)
        np.testing.assert_allclose(params["kernel"], w, rtol=1e-5)


def test_sgd_by_hand_with_momentum():
    optimizer = optim.make_optimizer(settings(name="sgd", momentum=0.5), 100)
    params = {"kernel": jnp.zeros((1, 1))}
    state, seen = optimizer.init(params), []
    for gradient in (1.0, 3.0):
        updates, state = optimizer.update({"kernel": jnp.full((1, 1), gradient)}, state, params)
        seen.append(float(updates["kernel"][0, 0]))
    np.testing.assert_allclose(seen, [-0.1, -0.1 * (0.5 + 3.0)], rtol=1e-6)


def test_adafactor_learns_at_the_rate_of_its_schedule():
    slow, fast = (first_update(3.0, name="adafactor", warmup_steps=steps)["kernel"] for steps in (10, 2))
    np.testing.assert_allclose(fast / slow, 5.0, rtol=1e-4)


def test_each_player_has_the_optimizer_of_its_name():
    family = toy.family(("first", "second"))
    each = {"second": settings(name="sgd", schedule="linear"), "first": settings(name="sgd", schedule="cosine")}
    made = optim.make_optimizers(each, family, num_steps=4)
    assert list(made) == ["first", "second"]
    for name, expected in (("first", 0.5 * (1 + np.cos(np.pi / 4))), ("second", 0.75)):
        state = made[name].init({"w": jnp.zeros(1)})
        for _ in range(2):
            updates, state = made[name].update({"w": jnp.ones(1)}, state)
        np.testing.assert_allclose(updates["w"], -0.1 * expected, rtol=1e-5)
    with pytest.raises(ValueError, match="config.optimizer.second is missing"):
        optim.make_optimizers({"first": each["first"]}, family, 4)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"name": "lion"}, "unknown optimizer 'lion'"),
        ({"schedule": "steps"}, "unknown learning-rate schedule 'steps'"),
        ({"weight_decay": 0.1}, "needs the optimizer 'adamw', not 'adam'"),
    ],
)
def test_refusals(changes, words):
    with pytest.raises(ValueError, match=words):
        optim.make_optimizer(settings(**changes), 100)
