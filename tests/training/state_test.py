"""What a fresh state holds, and what is sampled with."""

import chex
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from jax.sharding import PartitionSpec

from genjax import sharding
from genjax.core import rng
from genjax.training import state as state_lib
from tests.training import toy

KEY = jax.random.key(0)


def fresh(keep_ema=True, size=3):
    family = toy.family(("first", "second"), size=size)
    optimizers = {"first": optax.adam(0.1), "second": optax.sgd(0.1)}
    return family, state_lib.make_init(family, optimizers, keep_ema)


def test_a_fresh_state_is_the_familys_own_of_a_named_stream():
    family, init = fresh()
    state = init(KEY, toy.batch([0.0]))
    params, extra = family.init(rng.stream(KEY, "init"), toy.batch([0.0]))
    chex.assert_trees_all_equal(state.params, params)
    chex.assert_trees_all_equal(state.ema, params)
    assert int(state.step) == 0 and state.step.dtype == jnp.int32 and int(state.extra) == int(extra)
    assert state.opt_state.keys() == {"first", "second"}
    assert state.opt_state["first"][0].mu["w"].shape == (3,)
    assert state.ema["first"]["w"] is not state.params["first"]["w"], "a donated state may hold no array twice"
    assert fresh(keep_ema=False)[1](KEY, toy.batch([0.0])).ema == {}


def test_samples_are_drawn_with_the_averages_where_there_are_any():
    state = fresh()[1](KEY, toy.batch([0.0]))
    moved = state._replace(params=jax.tree.map(lambda leaf: leaf + 1, state.params), extra=jnp.int32(7))
    weights = state_lib.weights(moved, {"stage": 5})
    chex.assert_trees_all_equal(weights.params, state.ema)
    assert int(weights.extra) == 7 and weights.frozen == {"stage": 5}
    partly = state_lib.weights(moved._replace(ema={"first": state.ema["first"]}), {})
    np.testing.assert_array_equal(partly.params["first"]["w"], state.params["first"]["w"])
    np.testing.assert_array_equal(partly.params["second"]["w"], moved.params["second"]["w"])


def test_parameters_moments_and_averages_lie_alike_by_the_familys_axes():
    family, init = fresh(size=64 * 64)
    family = family._replace(logical_axes=((r"first/(.*/)?w$", ("mlp",)),))
    mesh = sharding.make_mesh(data=2, fsdp=2, tensor=2)
    shapes = jax.eval_shape(init, KEY, toy.batch([0.0]))
    lies = state_lib.state_shardings(shapes, mesh, family)
    for where in (lies.params, lies.ema):
        assert where["first"]["w"].spec == PartitionSpec("tensor") and where["second"]["w"].spec == PartitionSpec(
            "fsdp"
        )
    moments = lies.opt_state["first"][0]
    assert moments.mu["w"].spec == PartitionSpec("tensor") and lies.step.spec == PartitionSpec()
    state = state_lib.create(init, KEY, toy.batch([0.0]), lies)
    assert state.params["first"]["w"].addressable_shards[0].data.shape == (64 * 32,)
    np.testing.assert_allclose(state.params["first"]["w"], init(KEY, toy.batch([0.0])).params["first"]["w"])


def test_parameters_that_cannot_be_cut_are_refused():
    family, init = fresh(size=4099)
    shapes = jax.eval_shape(init, KEY, toy.batch([0.0]))
    with pytest.raises(ValueError, match="only 0% of the parameters are sharded"):
        state_lib.state_shardings(shapes, sharding.make_mesh(data=4, fsdp=2), family)


def test_a_state_of_given_parameters_draws_only_those_that_are_missing():
    family, init = fresh()
    shapes = jax.eval_shape(init, KEY, toy.batch([0.0]))
    shardings = state_lib.state_shardings(shapes, sharding.make_mesh(), family)
    given = jax.tree.map(lambda leaf: np.arange(3, dtype=np.float16), shapes.params)
    state = state_lib.create(init, KEY, toy.batch([0.0]), shardings, given)
    chex.assert_trees_all_equal(state.params, jax.tree.map(np.float32, given))
    chex.assert_trees_all_equal(state.ema, state.params)
    partly = state_lib.create(init, KEY, toy.batch([0.0]), shardings, given | {"second": {"w": None}})
    chex.assert_trees_all_equal(partly.params["first"], state.params["first"])
    chex.assert_trees_all_equal(partly.params["second"], init(KEY, toy.batch([0.0])).params["second"])
    program = jax.jit(init).lower(KEY, toy.batch([0.0]), given).compile().as_text()
    assert "xor" in jax.jit(init).lower(KEY, toy.batch([0.0])).compile().as_text() and "xor" not in program
