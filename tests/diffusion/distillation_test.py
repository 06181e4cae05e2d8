"""Distillation against closed forms: on Gaussian data every path of the flow is known."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from genjax.diffusion import denoisers, distillation, grids, parameterization, process, samplers, schedules
from genjax.diffusion.denoisers import Prediction
from genjax.diffusion.sample import sample

KEY = jax.random.key(0)
MEAN, VARIANCE = 0.4, 0.3
EXACT = denoisers.gaussian(MEAN, VARIANCE)
X = np.linspace(-3, 3, 7)[:, None]


@pytest.fixture(autouse=True)
def float64():
    """Closed forms are compared in float64."""
    with jax.enable_x64(True):
        yield


def flow_map(y, s_from, s_to):
    """Where the probability flow of N(MEAN, VARIANCE) carries y = x / alpha."""
    return MEAN + (y - MEAN) * np.sqrt((VARIANCE + s_to**2) / (VARIANCE + s_from**2))


def of_x0(x0, x_t, level):
    return Prediction(x0, process.eps_from_x0(x_t, x0, level))


def draws(count=512):
    return MEAN + np.sqrt(VARIANCE) * jax.random.normal(jax.random.key(7), (count, 1))


def losses(learned, student, teacher=EXACT, x0=None):
    return jax.jit(lambda x0: learned.loss(student, student, teacher, x0, KEY))(draws() if x0 is None else x0)


def progressive_optimum(teacher, levels, every):
    """The student that predicts the target of progressive distillation, at every `every`-th level but the last."""

    def denoise(x, level, key):
        i = jnp.argmin(jnp.abs(levels.sigma[:, None] - level.sigma.reshape(1, -1)), axis=0).reshape(level.sigma.shape)
        mid, nxt = levels.at(i + every // 2), levels.at(i + every)
        return of_x0(distillation.progressive_target(teacher, x, level, mid, nxt, key), x, level)

    return denoise


@pytest.mark.parametrize("name", ["cosine", "edm", "flow"])
def test_implied_x0_is_what_one_step_needs(name):
    levels = grids.make(schedules.make(name), 5)
    cur, nxt = levels.at(jnp.array([0, 1, 3, 4])), levels.at(jnp.array([2, 3, 4, 5]))
    x_c, x_n = jax.random.normal(KEY, (2, 4, 3))
    x0 = distillation.implied_x0(x_n, x_c, cur, nxt)
    step = distillation.ddim_step(lambda x, level, key: of_x0(x0, x, level), x_c, cur, nxt, KEY)
    np.testing.assert_allclose(step, x_n, rtol=1e-9)


@pytest.mark.parametrize("name", ["cosine", pytest.param("edm", marks=pytest.mark.slow)])
def test_one_step_after_all_rounds_is_the_teacher_in_all_its_steps(name):
    """Round by round, with the best student each: 8 steps become 4, 2 and 1, and nothing is lost."""
    levels = grids.make(schedules.make(name), 8)
    x_T = X * levels.ratio[0] * levels.alpha[0]
    steps, student = 8, EXACT
    wanted = jax.jit(lambda x: sample(EXACT, samplers.ddim(), levels, x, KEY))(x_T)
    while steps > 1:
        steps //= 2
        learned = distillation.make("progressive", schedules.make(name), 8, num_steps=steps, weight={"name": "x0"})
        sampler, walk = learned.walk(steps)
        assert walk.alpha.shape == (steps + 1,)
        np.testing.assert_array_equal(walk.sigma, learned.walk(2 * steps)[1].sigma[::2])
        teacher, student = student, progressive_optimum(student, levels, 8 // steps)
        if steps >= 2:
            np.testing.assert_allclose(losses(learned, student, teacher), 0, atol=1e-18)
            assert losses(learned, teacher, teacher).mean() > 1e-6
    found = jax.jit(lambda x: sample(student, sampler, walk, x, KEY))(x_T)
    np.testing.assert_allclose(found, wanted, rtol=1e-7)


def test_the_distilled_map_nears_the_flows_at_order_one():
    """One step of the last student errs as the first teacher does: by 1 / N."""
    errors = []
    for count in (32, 64, 128):
        levels = grids.karras(schedules.edm(0.002, 20.0), count)
        found = jax.jit(lambda x, levels: sample(EXACT, samplers.ddim(), levels, x, KEY))(20.0 * X, levels)
        errors.append(np.abs(found - flow_map(20.0 * X, 20.0, 0.0)).max())
    np.testing.assert_allclose(np.log2(np.divide(errors[:-1], errors[1:])), 1, atol=0.15)


@pytest.mark.parametrize("name", ["cosine", "edm", "flow"])
def test_a_consistency_function_is_the_identity_at_the_least_noise(name):
    level = grids.karras(schedules.make(name), 6).at(-2)
    estimate = distillation.consistency_function(level.ratio, 0.5)(EXACT)
    np.testing.assert_allclose(estimate(jnp.asarray(X), level, KEY).x0, X / level.alpha, rtol=1e-12)
    np.testing.assert_allclose(distillation.consistency_scalars(level, level.ratio, 0.5), (1, 0), atol=1e-12)


def test_a_consistency_function_has_the_papers_scalars():
    """c_skip y + c_out F of an EDM network, at any level of a schedule that scales the data."""
    level, least, deviation = schedules.cosine()(jnp.linspace(30.0, 800.0, 7)), 0.01, 0.6
    made = distillation.consistency_function(least, deviation)
    denoise = denoisers.make_denoiser(lambda x, c: jnp.sin(3 * x) + c[:, None], parameterization.edm(deviation))
    scalars = parameterization.edm(deviation)(level)
    output = jnp.sin(3 * scalars.c_in[:, None] * X) + scalars.c_noise[:, None]
    s = level.ratio[:, None]
    wanted = deviation**2 / ((s - least) ** 2 + deviation**2) * X / level.alpha[:, None]
    wanted += deviation * (s - least) / np.sqrt(deviation**2 + s**2) * output
    np.testing.assert_allclose(made(denoise)(jnp.asarray(X), level, KEY).x0, wanted, rtol=1e-9)


def affine(learned, levels, params):
    """A denoiser whose estimate is affine in x with a slope and an offset at each level."""

    def denoise(x, level, key):
        i = jnp.argmin(jnp.abs(levels.sigma[:, None] - level.sigma.reshape(1, -1)), axis=0).reshape(-1)
        slope, offset = params[0][i][:, None], params[1][i][:, None]
        return of_x0(slope * x / jnp.hypot(1.0, level.sigma).reshape(-1, 1) + offset, x, level)

    return denoise


@pytest.mark.parametrize(
    ("solver", "count", "error"), [("heun", 12, 0.01), pytest.param("none", 40, 0.05, marks=pytest.mark.slow)]
)
def test_trained_consistency_models_are_the_flows_map(solver, count, error):
    """The teacher's map from every level to the least, learned from nothing; of data alone its error is 1 / N."""
    schedule = schedules.edm(0.1, 3.0)
    levels = grids.karras(schedule, count, sigma_min=0.1, sigma_max=3.0)
    learned = distillation.consistency(levels, np.sqrt(VARIANCE), "l2", solver)
    optimizer = optax.adam(optax.cosine_decay_schedule(0.03, 3000))

    def loss(params, key):
        student = affine(learned, levels, params)
        held = affine(learned, levels, jax.lax.stop_gradient(params))
        x0 = MEAN + np.sqrt(VARIANCE) * jax.random.normal(jax.random.fold_in(key, 1), (256, 1))
        return jnp.mean(learned.loss(student, held, EXACT, x0, key))

    def step(carry, key):
        params, state = carry
        updates, state = optimizer.update(jax.grad(loss)(params, key), state)
        return (optax.apply_updates(params, updates), state), None

    params = (jnp.zeros(count), jnp.zeros(count))
    (params, _), _ = jax.jit(lambda keys: jax.lax.scan(step, (params, optimizer.init(params)), keys))(
        jax.random.split(KEY, 3000)
    )
    estimate = learned.estimate(affine(learned, levels, params))
    for i in (0, count // 2, count - 2):
        level = levels.at(jnp.array([i] * 7))
        y = MEAN + X * level.sigma[0] / 2
        found = estimate(y, level, KEY).x0
        np.testing.assert_allclose(found, flow_map(y, levels.sigma[i], 0.1), atol=error * float(np.abs(X).max()))


@pytest.mark.parametrize("steps", [1, 2, 4])
def test_multistep_sampling_keeps_the_distribution(steps):
    """With the exact map, any number of steps draws N(MEAN, VARIANCE + s_min^2)."""
    learned = distillation.make("consistency", schedules.edm(), "karras18", sigma_data=0.5)
    sampler, levels = learned.walk(steps)
    assert levels.alpha.shape == (steps + 1,) and levels.sigma[0] == pytest.approx(80) and levels.sigma[-1] == 0

    def exact(x, level, key):
        return of_x0(MEAN + (x - MEAN) * jnp.sqrt((VARIANCE + 0.002**2) / (VARIANCE + level.sigma**2)), x, level)

    x_T = process.sample_prior(jax.random.key(1), (40_000, 1), levels)
    drawn = jax.jit(lambda x: sample(exact, sampler, levels, x, KEY))(x_T)
    np.testing.assert_allclose([drawn.mean(), drawn.var()], [MEAN, VARIANCE], atol=0.012)


def test_reflow_makes_the_flow_straight():
    """The pairs' own straight lines leave no loss, and one Euler step along them is the flow's whole map."""
    learned = distillation.make("reflow", schedules.flow(), "uniform24")

    def straight(x, level, key):
        alpha, sigma = level.expand(x)
        eps = (x - alpha * MEAN) / (alpha * np.sqrt(VARIANCE) + sigma)
        return Prediction(MEAN + np.sqrt(VARIANCE) * eps, eps)

    assert losses(learned, straight).max() < 1e-4 < 0.1 < losses(learned, EXACT).mean()
    for student, least, greatest in ((straight, 0, 1e-12), (EXACT, 1, 2)):
        found = jax.jit(lambda x, s=student: sample(s, *learned.walk(1), x, KEY))(X)
        assert least <= np.abs(found - (MEAN + np.sqrt(VARIANCE) * X)).max() <= greatest


def test_gradients_reach_the_student_alone():
    def scaled(factor):
        return lambda x, level, key: of_x0(factor * EXACT(x, level, key).x0, x, level)

    for name, settings in (
        ("progressive", {"num_steps": 2, "weight": {"name": "x0"}}),
        ("consistency", {"sigma_data": 0.5}),
        ("reflow", {}),
    ):
        learned = distillation.make(name, schedules.flow(0.99), "karras8", **settings)

        def loss(student, target, teacher, learned=learned):
            return learned.loss(scaled(student), scaled(target), scaled(teacher), draws(64), KEY).mean()

        gradients = jax.jit(jax.grad(loss, argnums=(0, 1, 2)))(1.2, 0.9, 1.1)
        assert gradients[0] != 0 and gradients[1:] == (0, 0), name


@pytest.mark.parametrize(("metric", "wanted"), [("l1", 2.0), ("l2", 4.0), ("huber", np.sqrt(4 + 0.00054**2) - 0.00054)])
def test_metrics(metric, wanted):
    np.testing.assert_allclose(distillation.METRICS[metric](jnp.full((3, 2, 2, 1), -2.0)), wanted)


@pytest.mark.parametrize(
    ("name", "settings", "steps", "words"),
    [
        ("magic", {}, 1, "unknown distillation 'magic'; known: consistency"),
        ("progressive", {"num_steps": 3, "weight": {"name": "x0"}}, 1, "8 steps can't be walked in 6"),
        ("progressive", {"num_steps": 4, "weight": {"name": "x0"}}, 3, "8 steps can't be walked in 3"),
        ("consistency", {"sigma_data": 0.5, "metric": "l3"}, 1, "'l3'"),
        ("consistency", {"sigma_data": 0.5, "solver": "rk4"}, 1, "'rk4'"),
        ("consistency", {"sigma_data": 0.5}, 8, "1 to 7 steps"),
    ],
)
def test_refuses(name, settings, steps, words):
    with pytest.raises(ValueError, match=words):
        distillation.make(name, schedules.edm(), 8, **settings).walk(steps)
