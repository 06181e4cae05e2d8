"""Time samplers: their distributions, and importance sampling that leaves the loss unbiased."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from genjax.diffusion import schedules, time_samplers
from genjax.diffusion.time_samplers import LossHistory

DISCRETE = schedules.cosine(20)


@pytest.mark.parametrize("name", ["uniform", "stratified"])
def test_even_over_steps(name):
    times = time_samplers.make(name, DISCRETE)
    draws = jax.jit(jax.vmap(lambda key: times(key, 50)[0]))(jax.random.split(jax.random.key(0), 200))
    counts = np.bincount(np.asarray(draws).ravel().astype(int), minlength=20)
    assert len(counts) == 20
    np.testing.assert_allclose(counts, 500, rtol=0.2)


@pytest.mark.parametrize("name", ["uniform", "stratified"])
def test_even_over_continuous_time(name):
    times = time_samplers.make(name, schedules.flow(0.9))
    t, weight = times(jax.random.key(0), 20000)
    assert 0 < t.min() and t.max() <= 0.9
    np.testing.assert_allclose(jnp.quantile(t, jnp.array([0.25, 0.5, 0.75])), [0.225, 0.45, 0.675], atol=0.02)
    np.testing.assert_array_equal(weight, 1)


def test_stratified_covers_every_stratum_once():
    times = time_samplers.stratified(schedules.cosine(64))
    t, _ = times(jax.random.key(3), 64)
    assert sorted(np.asarray(t).astype(int)) == list(range(64))
    t, _ = time_samplers.stratified(schedules.flow())(jax.random.key(3), 10)
    np.testing.assert_allclose(np.diff(np.sort(t)), 0.1, atol=1e-5)


def test_stratified_times_of_each_example_are_even_over_batches():
    times = time_samplers.stratified(schedules.flow())
    first = jax.jit(jax.vmap(lambda seed: times(jax.random.key(seed), 4)[0][0]))(jnp.arange(100))
    np.testing.assert_allclose(np.quantile(first, [0.1, 0.5, 0.9]), [0.1, 0.5, 0.9], atol=0.12)


@pytest.mark.parametrize("name", ["edm", "continuous_cosine", "variance_exploding", "flow"])
def test_lognormal_in_any_schedules_time(name):
    schedule = schedules.make(name)
    t, _ = time_samplers.lognormal(schedule, -1.2, 1.2)(jax.random.key(0), 20000)
    logs = np.log(schedule(t).ratio)
    np.testing.assert_allclose([logs.mean(), logs.std()], [-1.2, 1.2], atol=0.04)


def test_memoryless_samplers_keep_no_history():
    times = time_samplers.uniform(DISCRETE)
    assert times.init() == () and times.update((), jnp.zeros(3), jnp.ones(3)) == ()


@pytest.mark.parametrize("batch", [1, 7, 64])
def test_history_keeps_the_last_losses_of_each_step(batch):
    """Also when a batch holds more losses of a step than are remembered."""
    times = time_samplers.loss_aware(schedules.cosine(4), history_per_step=5)
    history, rows = times.init(), [[] for _ in range(4)]
    update = jax.jit(times.update)
    for i in range(12):
        t = jax.random.randint(jax.random.key(i), (batch,), 0, 4).astype(float)
        values = jax.random.uniform(jax.random.key(100 + i), (batch,))
        history = update(history, t, values)
        for step, value in zip(t, values):
            rows[int(step)] = (rows[int(step)] + [float(value)])[-5:]
    for step, row in enumerate(rows):
        kept = np.asarray(history.losses[step])[: len(row)]
        np.testing.assert_allclose(np.sort(kept), np.sort(row), rtol=1e-6)
    assert int(history.counts.sum()) == 12 * batch


def test_uniform_until_every_step_is_known_then_by_root_mean_square():
    schedule = schedules.cosine(4)
    losses = jnp.array([[1.0, 1.0], [3.0, 1.0], [0.0, 0.0], [2.0, 2.0]])
    cold = LossHistory(losses, jnp.array([2, 2, 1, 2]))
    np.testing.assert_allclose(time_samplers.step_probs(cold, 0.001), 0.25)
    warm = LossHistory(losses, jnp.array([2, 2, 2, 9]))
    rms = np.sqrt([1.0, 5.0, 0.0, 4.0])
    wanted = 0.999 * rms / rms.sum() + 0.001 / 4
    np.testing.assert_allclose(time_samplers.step_probs(warm, 0.001), wanted, rtol=1e-5)
    t, weight = time_samplers.loss_aware(schedule, 2)(jax.random.key(0), 50000, warm)
    np.testing.assert_allclose(np.bincount(np.asarray(t).astype(int), minlength=4) / 50000, wanted, atol=0.01)
    np.testing.assert_allclose(weight, 1 / (4 * wanted[np.asarray(t).astype(int)]), rtol=1e-4)


def test_weights_leave_the_loss_unbiased():
    """Exactly: sum over steps of p * weight * loss is the uniform mean."""
    schedule = schedules.cosine(30)
    times = time_samplers.loss_aware(schedule)
    history = LossHistory(jax.random.uniform(jax.random.key(0), (30, 10)) ** 4, jnp.full((30,), 10))
    loss = jax.random.uniform(jax.random.key(1), (30,))
    t, weight = jax.jit(lambda key: times(key, 200000, history))(jax.random.key(2))
    steps = np.asarray(t).astype(int)
    probs, loss = np.asarray(time_samplers.step_probs(history, 0.001)), np.asarray(loss)
    of_step = np.zeros(30)
    of_step[steps] = weight
    assert (of_step > 0).all()
    np.testing.assert_allclose((probs * of_step * loss).sum(), loss.mean(), rtol=1e-5)
    np.testing.assert_allclose((np.asarray(weight) * loss[steps]).mean(), loss.mean(), rtol=0.02)


@pytest.mark.parametrize(
    "call, words",
    [
        (lambda: time_samplers.make("even", DISCRETE), "known: .*stratified"),
        (lambda: time_samplers.loss_aware(schedules.flow()), "Flow"),
    ],
)
def test_errors_say_what_and_how(call, words):
    with pytest.raises(ValueError, match=words):
        call()


def test_losses_that_are_not_finite_are_skipped_and_counted():
    times = time_samplers.loss_aware(schedules.cosine(2), history_per_step=3)
    steps, values = jnp.array([0.0, 1, 0, 0, 1, 1, 0]), jnp.array([1.0, 2, np.inf, 3, np.nan, 4, 5])
    history = jax.jit(times.update)(times.init(), steps, values)
    np.testing.assert_array_equal(np.sort(history.losses, axis=1), [[1, 3, 5], [0, 2, 4]])
    np.testing.assert_array_equal(history.counts, [3, 2])
    assert int(history.skipped) == 2
    history = times.update(history, jnp.array([1.0, 1, 1]), jnp.array([-np.inf, 6.0, 1e30]))
    assert int(history.skipped) == 3 and np.isfinite(time_samplers.step_probs(history, 0.001)).all()


def test_even_times_of_those_present_cover_the_range():
    """Five of eight places, four times each: one of the twenty in each twentieth of the range, one a quarter each."""
    present = jnp.asarray([True, False, True, True, False, False, True, True])
    t = time_samplers.even(schedules.flow(), jax.random.key(3), present, 4)[:, present]
    np.testing.assert_array_equal(np.sort(np.ceil(np.asarray(t).ravel() * 20 - 1e-4)), np.arange(1, 21))
    np.testing.assert_array_equal(np.ceil(np.asarray(t) * 4 - 1e-4), np.arange(1, 5)[:, None].repeat(5, 1))
