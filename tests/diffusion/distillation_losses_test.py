"""Losses and walks of distillation by hand, with student, target and teacher that can be told from each other."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from genjax.diffusion import distillation, grids, process, samplers, schedules
from genjax.diffusion.denoisers import Prediction

KEY = jax.random.key(0)
X0 = np.random.default_rng(0).normal(size=(200, 3))


@pytest.fixture(autouse=True)
def float64():
    """Closed forms are compared in float64."""
    with jax.enable_x64(True):
        yield


class Affine:
    """A denoiser whose estimate is slope x + offset, that keeps what it is requested."""

    def __init__(self, slope, offset):
        self.slope, self.offset, self.calls = slope, offset, []

    def x0(self, x):
        return self.slope * x + self.offset

    def __call__(self, x, level, key):
        if not isinstance(x, jax.core.Tracer):
            self.calls.append((np.asarray(x), level))
        return Prediction(self.x0(x), process.eps_from_x0(x, self.x0(x), level))


def cast():
    """(student, target, teacher)"""
    return Affine(0.5, -0.2), Affine(0.3, 0.4), Affine(-0.1, 0.7)


def step(x, x0, cur, nxt):
    """DDIM's, by the (alpha, sigma) [b, 1] of both levels."""
    return nxt[0] * x0 + nxt[1] * (x - cur[0] * x0) / cur[1]


def of(level):
    return np.asarray(level.alpha)[:, None], np.asarray(level.sigma)[:, None]


def test_progressive_loss_is_weighted_by_the_noisier_level_of_each_of_the_students_steps():
    """A student of 2 steps on a grid of 8 starts at the levels 0 and 4, and its teacher's steps are of 2 levels."""
    schedule = schedules.cosine(50)
    weight = {"name": "edm", "sigma_data": 0.7}
    learned = distillation.make("progressive", schedule, 8, num_steps=2, weight=weight)
    student, target, teacher = cast()
    found = learned.loss(student, target, teacher, jnp.asarray(X0), KEY)
    levels = grids.make(schedule, 8)
    ((x, level),) = student.calls
    at = np.array([int(np.flatnonzero(levels.t == t)[0]) for t in level.t])
    assert set(at) == {0, 4} and 60 < (at == 0).sum() < 140 and not target.calls
    cur, mid, nxt = (of(levels.at(jnp.asarray(at + by))) for by in (0, 2, 4))
    noise = (x - cur[0] * X0) / cur[1]
    np.testing.assert_allclose([noise.mean(), noise.std()], [0, 1], atol=0.1)
    landed = step(x, teacher.x0(x), cur, mid)
    landed = step(landed, teacher.x0(landed), mid, nxt)
    decay = nxt[1] / cur[1]
    wanted = (landed - decay * x) / (nxt[0] - decay * cur[0])
    weighed = (cur[0] / cur[1])[:, 0] ** 2 + 1 / 0.7**2
    np.testing.assert_allclose(found, weighed * np.square(student.x0(x) - wanted).mean(axis=1), rtol=1e-9)


@pytest.mark.parametrize("solver", ["none", "ddim"])
def test_consistency_compares_student_and_target_at_neighbours_by_the_metric(solver):
    schedule = schedules.edm(0.1, 3.0)
    learned = distillation.make(
        "consistency", schedule, 6, sigma_data=0.6, metric="l1", solver=solver, target_decay=0.9
    )
    assert learned.target_decay == 0.9
    student, target, teacher = cast()
    found = learned.loss(student, target, teacher, jnp.asarray(X0), KEY)
    ((x_c, level_c),), ((x_n, level_n),) = student.calls, target.calls
    levels = grids.make(schedule, 6)
    at = np.argmin(np.abs(np.asarray(levels.sigma)[:, None] - np.asarray(level_c.sigma)), axis=0)
    assert set(at) == set(range(5)), "the last pair is of the two least levels with noise"
    np.testing.assert_allclose(level_n.sigma, levels.sigma[at + 1], rtol=1e-9)
    cur, nxt = of(level_c), of(level_n)
    noise = (x_c - X0) / cur[1]
    np.testing.assert_allclose([noise.mean(), noise.std()], [0, 1], atol=0.1)
    wanted = X0 + nxt[1] * noise if solver == "none" else step(x_c, teacher.x0(x_c), cur, nxt)
    np.testing.assert_allclose(x_n, wanted, atol=1e-9)

    def estimate(net, x, s):
        share, least = 1 - 0.1 / s, 0.1
        c_skip = 0.36 / ((s - least) ** 2 + 0.36)
        return (c_skip - share * 0.36 / (s**2 + 0.36)) * x + share * net.x0(x)

    distance = np.abs(estimate(student, x_c, cur[1]) - estimate(target, x_n, nxt[1])).mean(axis=1)
    np.testing.assert_allclose(found, distance, rtol=1e-9)


def test_consistency_samples_from_levels_spread_over_the_grid_with_the_noise_between():
    """An estimate at the least noise s_min becomes one at s by sqrt(s^2 - s_min^2) more of it."""
    learned = distillation.make("consistency", schedules.edm(0.5, 3.0), 9, sigma_data=0.6)
    sampler, walk = learned.walk(4)
    levels = grids.make(schedules.edm(0.5, 3.0), 9)
    np.testing.assert_allclose(walk.sigma, [*np.asarray(levels.sigma)[[0, 2, 4, 6]], 0.0])
    flat = lambda x, level, key: Prediction(0 * x + 0.3, x)  # noqa: E731
    x, _ = sampler.step(flat, jnp.zeros((20000, 1)), (), walk.at(0), walk.at(1), KEY)
    np.testing.assert_allclose([x.mean(), x.std()], [0.3, np.sqrt(walk.sigma[1] ** 2 - 0.25)], atol=0.03)
    x, _ = sampler.step(flat, jnp.zeros((5, 1)), (), walk.at(3), walk.at(4), KEY)
    np.testing.assert_allclose(x, 0.3)


@pytest.mark.parametrize("name", ["variance_exploding", "flow"])
def test_reflow_joins_the_teachers_samples_with_their_own_noise(name):
    """Noise of unit deviation, whatever that of the level where the teacher starts."""
    schedule = schedules.make(name)
    learned = distillation.make("reflow", schedule, "uniform12")
    student, target, teacher = cast()
    found = learned.loss(student, target, teacher, jnp.asarray(X0), KEY)
    ((x_t, level),) = student.calls
    x_T = process.sample_prior(process.fold(KEY, 0), X0.shape, grids.make(schedule, "uniform12"))
    top = grids.make(schedule, "uniform12").at(0)
    eps = np.asarray(x_T) / np.hypot(top.alpha, top.sigma)
    np.testing.assert_allclose(eps.std(), 1, atol=0.1)
    alpha, sigma = of(level)
    drawn = (x_t - sigma * eps) / alpha
    # Whatever it started from, the teacher ends where it maps its end to: all its draws lie on one line of the noise.
    slope, offset = np.polyfit(eps.ravel(), drawn.ravel(), 1)
    np.testing.assert_allclose(drawn, slope * eps + offset, atol=1e-6)
    own = (x_t - alpha * student.x0(x_t)) / sigma
    wanted = np.square((own - student.x0(x_t)) - (eps - drawn)).mean(axis=1)
    np.testing.assert_allclose(found, wanted, rtol=1e-6)
    assert not target.calls and len(set(np.asarray(level.t))) == 200, "each at a time of its own"
    sampler, walk = learned.walk(3)
    np.testing.assert_allclose(walk.t, grids.uniform(schedule, 3).t)
    cur, nxt = walk.at(0), walk.at(1)
    counting = Affine(0.5, -0.2)
    x, _ = sampler.step(counting, jnp.asarray(X0), sampler.init(jnp.asarray(X0), walk), cur, nxt, KEY)
    plain, _ = samplers.ddim().step(counting, jnp.asarray(X0), (), cur, nxt, KEY)
    np.testing.assert_allclose(x, plain, rtol=1e-9)
    assert len(counting.calls) == 2, "one call a step"


def test_reflow_draws_with_the_teacher(monkeypatch):
    """By Heun's steps down the teacher's own grid."""
    requested = []

    def record(denoise, sampler, levels, x_T, key):
        requested.append((denoise, levels))
        return jnp.full_like(x_T, 0.25)

    monkeypatch.setattr(distillation, "sample", record)
    schedule = schedules.flow()
    student, target, teacher = cast()
    distillation.make("reflow", schedule, "uniform12").loss(student, target, teacher, jnp.asarray(X0), KEY)
    assert requested[0][0] is teacher
    np.testing.assert_array_equal(requested[0][1].t, grids.make(schedule, "uniform12").t)
