"""The train step against hand-computed updates."""

from functools import partial

import chex
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from genjax.configs.recipes import common
from genjax.core import rng
from genjax.families.base import Family, LossOutputs, Player
from genjax.families.terms import mean_of, same
from genjax.training import finite, optim
from genjax.training import state as state_lib
from genjax.training.step import Ema, ema_decay, make_train_step
from tests.training import toy

KEY = jax.random.key(0)


def start(family, optimizers, keep_ema=True):
    return state_lib.make_init(family, optimizers, keep_ema)(KEY, toy.batch([0.0]))


def test_one_player_takes_the_gradient_step():
    family, optimizers = toy.family(), {"model": optax.sgd(0.1)}
    state = start(family, optimizers)
    new, metrics = make_train_step(family, optimizers, Ema(0.9, warmup=False))(state, toy.batch([1.0, 3.0]), (), KEY)
    w = state.params["model"]["w"]
    expected = w - 0.1 * 2 * (w - 2.0) / 3
    np.testing.assert_allclose(new.params["model"]["w"], expected, rtol=1e-6)
    np.testing.assert_allclose(new.ema["model"]["w"], 0.9 * w + 0.1 * expected, rtol=1e-6)
    np.testing.assert_allclose(metrics["model/loss"], np.mean((w - 2.0) ** 2), rtol=1e-6)
    np.testing.assert_allclose(metrics["model/grad_norm"], np.linalg.norm(2 * (w - 2.0) / 3), rtol=1e-6)
    assert int(new.step) == 1 and int(new.extra) == 1 and metrics["finite"] == 1


def test_second_player_sees_what_the_first_became():
    family = toy.family(("first", "second"))
    optimizers = {name: optax.sgd(0.1) for name in ("first", "second")}
    state = start(family, optimizers)
    new, metrics = make_train_step(family, optimizers, Ema(0.0))(state, toy.batch([1.0]), (), KEY)
    np.testing.assert_allclose(metrics["second/seen"], jnp.sum(new.params["first"]["w"]), rtol=1e-6)
    assert int(new.extra) == 2


def test_a_player_rests_between_its_steps():
    family = toy.family(("first", "second"), every=3)
    optimizers = {name: optax.adam(0.1) for name in ("first", "second")}
    state = start(family, optimizers, keep_ema=False)
    step = jax.jit(make_train_step(family, optimizers, Ema(0.0)))
    changed = []
    for _ in range(6):
        new, metrics = step(state, toy.batch([1.0]), (), KEY)
        moved = bool(jnp.any(new.params["second"]["w"] != state.params["second"]["w"]))
        changed.append(moved)
        assert moved == bool(metrics["second/acts"]), "resting is reported"
        assert metrics["finite"] == 1, "resting is not a failure"
        state = new
    assert changed == [True, False, False, True, False, False]
    assert state.ema == {}


@pytest.mark.parametrize("microbatches", [2, 4])
def test_microbatches_equal_the_whole_batch(microbatches):
    family, optimizers = toy.family(), {"model": optax.adam(0.1)}

    def loss(params, inputs):  # linear in the examples, so that pieces average exactly
        values = jnp.mean(inputs.batch["image"], axis=(1, 2, 3))[:, None] * jnp.sin(params["w"])
        return LossOutputs({"loss": mean_of(values)}, {"twice": mean_of(2 * values)}, inputs.extra + 1)

    family = family._replace(players=(Player("model", loss),))
    state, batch = start(family, optimizers), toy.batch(np.arange(8.0))
    whole, whole_metrics = make_train_step(family, optimizers, Ema(0.9))(state, batch, (), KEY)
    pieces, metrics = make_train_step(family, optimizers, Ema(0.9), microbatches)(state, batch, (), KEY)
    chex.assert_trees_all_close(whole.params, pieces.params, rtol=1e-5)
    chex.assert_trees_all_close(whole_metrics, metrics, rtol=1e-5)
    assert int(pieces.extra) == microbatches


def recorder(names=("model",), every=1):
    """(family, what its losses saw): each player's loss notes all of its inputs, through a callback."""
    seen = []

    def loss(name, params, inputs):
        key = jax.random.key_data(inputs.key)
        note = {"others": inputs.others, "frozen": inputs.frozen, "image": inputs.batch["image"][:, 0, 0, 0]}
        note |= {"key": key, "step": inputs.step, "extra": inputs.extra}
        jax.debug.callback(lambda **values: seen.append((name, values)), ordered=True, **note)
        value = jnp.sum(params["w"] ** 2) * jnp.mean(inputs.batch["image"])
        return LossOutputs({"loss": same(value)}, {}, inputs.extra + 1)

    players = tuple(Player(name, partial(loss, name), every) for name in names)
    return toy.family(names)._replace(players=players), seen


def test_pieces_of_a_batch_have_keys_of_their_own_and_every_nth_example():
    family, seen = recorder()
    optimizers = {"model": optax.sgd(0.1)}
    step = make_train_step(family, optimizers, Ema(0.0), microbatches=3)
    state = start(family, optimizers)._replace(step=jnp.int32(5))
    step(state, toy.batch(np.arange(6.0)), {"stage": jnp.float32(9.0)}, KEY)
    jax.effects_barrier()
    notes = [values for _, values in seen]
    assert [values["image"].tolist() for values in notes] == [[0.0, 3.0], [1.0, 4.0], [2.0, 5.0]]
    assert [int(values["extra"]) for values in notes] == [0, 1, 2], "the state passes from piece to piece"
    assert len({values["key"].tobytes() for values in notes}) == 3
    assert all(int(values["step"]) == 5 and float(values["frozen"]["stage"]) == 9.0 for values in notes)


def test_a_player_sees_the_others_alone_and_a_key_of_its_own():
    family, seen = recorder(("first", "second"))
    optimizers = {name: optax.sgd(0.1) for name in ("first", "second")}
    state = start(family, optimizers)
    new, _ = make_train_step(family, optimizers, Ema(0.0))(state, toy.batch([1.0]), (), KEY)
    jax.effects_barrier()
    (one, first), (two, second) = seen
    assert (one, two) == ("first", "second")
    assert first["others"].keys() == {"second"} and second["others"].keys() == {"first"}
    np.testing.assert_allclose(second["others"]["first"]["w"], new.params["first"]["w"])
    for name, note in (("first", first), ("second", second)):
        np.testing.assert_array_equal(note["key"], jax.random.key_data(rng.stream(KEY, name, 0)))


def test_resting_players_keep_their_moments_and_all_averages_move():
    family, optimizers = recorder(("first", "second"), every=2)[0], {}
    optimizers = {name: optax.adam(0.1) for name in ("first", "second")}
    step = make_train_step(family, optimizers, Ema(0.5, warmup=False))
    state, _ = step(start(family, optimizers), toy.batch([1.0]), (), KEY)
    resting, metrics = step(state, toy.batch([1.0]), (), KEY)
    chex.assert_trees_all_equal(resting.params, state.params)
    chex.assert_trees_all_equal(resting.opt_state, state.opt_state)
    assert int(resting.step) == 2 and metrics["finite"] == 1
    assert not any(value for name, value in metrics.items() if name.endswith(("/acts", "/fault")))
    halfway = jax.tree.map(lambda average, own: (average + own) / 2, state.ema, state.params)
    chex.assert_trees_all_close(resting.ema, halfway, rtol=1e-6)


@pytest.mark.parametrize(("value", "slope"), [(np.nan, 1.0), (1.0, np.inf)])
def test_each_of_loss_and_gradient_has_to_be_finite(value, slope):
    @jax.custom_vjp
    def odd(w):
        return jnp.asarray(value, jnp.float32)

    odd.defvjp(lambda w: (odd(w), w), lambda w, g: (jnp.full_like(w, slope) * g,))
    family, optimizers = toy.family(("first", "second")), {n: optax.sgd(0.1) for n in ("first", "second")}
    broken = Player("first", lambda params, inputs: LossOutputs({"loss": same(odd(params["w"]))}, {}, inputs.extra))
    family = family._replace(players=(broken, family.players[1]._replace(loss=toy.family().players[0].loss)))
    _, metrics = make_train_step(family, optimizers, Ema(0.9))(start(family, optimizers), toy.batch([0.0]), (), KEY)
    assert metrics["finite"] == 0


def test_nan_is_flagged():
    family, optimizers = toy.family(), {"model": optax.sgd(0.1)}
    state = start(family, optimizers)
    _, metrics = make_train_step(family, optimizers, Ema(0.9))(state, toy.batch([np.nan]), (), KEY)
    assert metrics["finite"] == 0


def sqrt_loss(params, inputs):
    """A loss of 0 whose gradient is infinite there."""
    return LossOutputs({"loss": same(jnp.sum(jnp.sqrt(params["w"])))}, {}, inputs.extra)


def extra_loss(params, inputs):
    """A loss that leaves infinity beside the parameters."""
    return LossOutputs({"loss": same(jnp.sum(params["w"]))}, {}, inputs.extra + jnp.inf)


BAD = {
    "loss": (None, 0.1, np.nan, finite.LOSS | finite.GRADIENT | finite.UPDATE | finite.BATCH),
    "gradient": (sqrt_loss, 0.1, 1.0, finite.GRADIENT | finite.UPDATE),
    "update": (None, 3e38, 1e3, finite.UPDATE),
    "extra": (extra_loss, 0.1, 1.0, finite.EXTRA),
}
"""What becomes infinite or NaN -> loss, learning rate, value of the images, bits of the fault."""


@pytest.mark.parametrize("kind", BAD)
def test_an_update_that_is_not_finite_is_not_kept(kind):
    loss, rate, value, bits = BAD[kind]
    family, optimizers = toy.family(), {"model": optax.sgd(rate, momentum=0.9)}
    if loss:
        family = family._replace(players=(Player("model", loss),))
    state = start(family, optimizers)
    state = state._replace(extra=jnp.float32(0))
    if kind == "gradient":
        state = state._replace(params={"model": {"w": jnp.zeros(3)}})
    new, metrics = make_train_step(family, optimizers, Ema(0.9))(state, toy.batch([value]), (), KEY)
    assert metrics["finite"] == 0 and int(metrics["model/fault"]) == bits
    assert int(new.step) == 1
    for field in ("params", "opt_state", "extra"):
        chex.assert_trees_all_equal(getattr(new, field), getattr(state, field))


def test_one_player_that_fails_does_not_stop_the_other():
    family = toy.family(("first", "second"))
    family = family._replace(players=(family.players[0], Player("second", extra_loss)))
    optimizers = {name: optax.sgd(0.1) for name in ("first", "second")}
    state = start(family, optimizers)._replace(extra=jnp.float32(0))
    new, metrics = make_train_step(family, optimizers, Ema(0.0))(state, toy.batch([1.0]), (), KEY)
    assert (metrics["finite"], metrics["first/fault"], metrics["second/fault"]) == (0, 0, finite.EXTRA)
    assert (new.params["first"]["w"] != state.params["first"]["w"]).all()
    chex.assert_trees_all_equal(new.params["second"], state.params["second"])


def test_a_player_of_every_second_step_has_the_learning_rate_of_the_run():
    """From 0.1 to 0.001 over 100 steps: in step 98 it is 0.1 (1 - .98 x .99), after 49 own updates."""
    family = toy.family(("first", "second"), every=2)
    settings = common.adam(0.1, name="sgd", schedule="linear", end_factor=0.01).to_dict()
    optimizers = {name: optim.make_optimizer(settings, 100) for name in ("first", "second")}
    state = start(family, optimizers, keep_ema=False)._replace(step=jnp.int32(98))
    new, _ = make_train_step(family, optimizers, Ema(0.0))(state, toy.batch([1.0]), (), KEY)
    rate = 0.1 * (1 - 0.98 * 0.99)
    for name in ("first", "second"):
        w = state.params[name]["w"]
        np.testing.assert_allclose(new.params[name]["w"], w - rate * 2 * (w - 1.0) / 3, rtol=1e-5)


def test_the_average_takes_in_the_new_parameters_at_the_warm_up_of_the_step_done():
    family, optimizers = toy.family(), {"model": optax.sgd(0.1)}
    state = start(family, optimizers)._replace(step=jnp.int32(5), ema={"model": {"w": jnp.full(3, 7.0)}})
    new, _ = make_train_step(family, optimizers, Ema(0.999))(state, toy.batch([1.0]), (), KEY)
    decay = (1 + 5) / (10 + 5)
    np.testing.assert_allclose(new.ema["model"]["w"], decay * 7 + (1 - decay) * new.params["model"]["w"], rtol=1e-5)


def test_keys_depend_on_step_and_player_alone():
    seen = []

    def loss(params, inputs):
        seen.append(jax.random.key_data(inputs.key))
        return LossOutputs({"loss": same(jnp.sum(params["w"] ** 2))}, {}, inputs.extra)

    family, optimizers = toy.family(), {"model": optax.sgd(0.1)}
    family = Family(family.init, (Player("model", loss),), family.evaluate, ())
    state, step = start(family, optimizers), make_train_step(family, optimizers, Ema(0.9))
    for state_now in (state, state, state._replace(step=jnp.int32(1))):
        step(state_now, toy.batch([1.0]), (), KEY)
    concrete = [np.asarray(jax.core.get_aval(s).val if isinstance(s, jax.core.Tracer) else s) for s in seen]
    assert (concrete[0] == concrete[1]).all() and (concrete[0] != concrete[2]).any()


def test_one_compilation_for_all_seeds_and_steps():
    family, optimizers = toy.family(), {"model": optax.adam(0.1)}
    chex.clear_trace_counter()
    step = jax.jit(chex.assert_max_traces(make_train_step(family, optimizers, Ema(0.9)), n=1))
    state = start(family, optimizers)
    for seed in range(3):
        state, _ = step(state, toy.batch([1.0]), (), jax.random.key(seed))


@pytest.mark.parametrize(("step", "expected"), [(0, 0.1), (10, 11 / 20), (10**6, 0.999)])
def test_ema_warms_up(step, expected):
    assert ema_decay(Ema(0.999), jnp.int32(step)) == pytest.approx(expected, rel=1e-5)
    assert ema_decay(Ema(0.999, warmup=False), jnp.int32(step)) == pytest.approx(0.999)
