"""Editing with a known answer: conditionals of a correlated Gaussian, and the flow that inversion must retrace."""

import functools

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from genjax.diffusion import editing, grids, guidance, process, samplers, schedules, thresholding
from genjax.diffusion.denoisers import Prediction
from genjax.diffusion.sample import sample
from tests.laws.oracles import MEAN, VARIANCE, gaussian, mixture, normal_points

MU = np.array([0.3, -0.2])
COVARIANCE = np.array([[1.0, 0.54], [0.54, 0.36]])  # correlation .9
KNOWN = 1.1
SLOPE = COVARIANCE[0, 1] / COVARIANCE[0, 0]
WANTED_MEAN = MU[1] + SLOPE * (KNOWN - MU[0])
WANTED_VARIANCE = COVARIANCE[1, 1] - SLOPE * COVARIANCE[0, 1]

SAMPLERS = {
    "ancestral": lambda schedule: samplers.ancestral(),
    "ddim_eta": lambda schedule: samplers.ddim(0.7),
    "heun_churn": lambda schedule: samplers.heun(churn=8.0, schedule=schedule),
    "dpmpp_2m": lambda schedule: samplers.dpmpp_2m(),
    "dpmpp_sde": lambda schedule: samplers.dpmpp_sde(),
}


def correlated(x_t, level, key):
    """The exact denoiser of N(MU, COVARIANCE), for levels of shape []."""
    total = level.alpha**2 * COVARIANCE + level.sigma**2 * jnp.eye(2)
    gain = level.alpha * COVARIANCE @ jnp.linalg.inv(total)
    residual = x_t - level.alpha * MU
    return Prediction(MU + residual @ gain.T, level.sigma * residual @ jnp.linalg.inv(total).T)


def completed(sampler, walk, n=3000):
    """The second entry, made where the first is known."""
    known, mask = jnp.full((n, 2), KNOWN), jnp.array([1.0, 0.0])
    x_T = process.sample_prior(jax.random.key(1), (n, 2), walk.levels)
    x = jax.jit(lambda: sample(correlated, editing.inpaint(sampler, known, mask), walk, x_T, jax.random.key(2)))()
    np.testing.assert_array_equal(x[:, 0], KNOWN)
    return x[:, 1]


def distance(x):
    """Wasserstein distance of a sample's Gaussian from the true conditional, in its standard deviations."""
    scale = WANTED_VARIANCE**0.5
    return float(np.hypot(x.mean() - WANTED_MEAN, x.std() - scale) / scale)


@pytest.mark.parametrize("name", ["ddim_eta", pytest.param("ancestral", marks=pytest.mark.slow)])
def test_resampling_reaches_the_conditional(name):
    """Plain replacement ends a quarter of a deviation away or more, resampling at the error of the sampler's steps."""
    levels = grids.respace(schedules.cosine(), 60)
    walks = [editing.resampling_walk(levels, jump=6, resamples=count) for count in (1, 8)]
    plain, resampled = (distance(completed(SAMPLERS[name](None), walk)) for walk in walks)
    assert resampled < 0.12 and plain > 2 * resampled, (plain, resampled)


def test_walk_of_the_release():
    """250 steps, jumps of 10, each stretch walked 10 times: 2,410 steps down, and 216 climbs back by 10."""
    levels = grids.respace(schedules.linear_beta(), 250)
    order = np.asarray(editing.resampling_walk(levels).order)
    moves = np.diff(order)
    assert ((moves == 1) | (moves == -9)).all()
    assert len(order) == 2410 and (moves == -9).sum() == 216
    assert order[0] == 0 and order[-1] == 249 and set(order) == set(range(250))
    np.testing.assert_array_equal(editing.resampling_walk(levels, resamples=1).order, np.arange(250))


@pytest.mark.parametrize(
    "name",
    [
        "ancestral",
        "heun_churn",
        "dpmpp_2m",
        *(pytest.param(n, marks=pytest.mark.slow) for n in ("ddim_eta", "dpmpp_sde")),
    ],
)
def test_known_entries_are_kept_exactly(name):
    """Bit for bit, by both methods, also from an estimate that clipping and guidance have moved."""
    schedule = schedules.cosine()
    levels = grids.respace(schedule, 8)
    known = jax.random.normal(jax.random.key(0), (5, 4))
    mask = jnp.array([1.0, 0.0, 1.0, 0.0])
    mode = "mean" if name.startswith("ancestral") else "score"
    guide = guidance.classifier(lambda x, level: -jnp.sum(x**2, axis=1), 2.0, mode)
    denoise = thresholding.static(-0.3, 0.3)(guide(gaussian()))
    x_T = process.sample_prior(jax.random.key(1), (5, 4), levels)
    sampler = SAMPLERS[name](schedule)
    walk = editing.resampling_walk(levels, jump=2, resamples=2)

    @jax.jit
    def both():
        return [
            sample(editing.replace_known(known, mask)(denoise), sampler, levels, x_T, jax.random.key(2)),
            sample(denoise, editing.inpaint(sampler, known, mask), walk, x_T, jax.random.key(2)),
        ]

    for x in both():
        assert jnp.isfinite(x).all()
        np.testing.assert_array_equal(x[:, ::2], known[:, ::2])


def test_nothing_known_is_plain_sampling():
    levels = grids.respace(schedules.cosine(), 8)
    x_T = process.sample_prior(jax.random.key(1), (5, 4), levels)
    plain = sample(gaussian(), samplers.ancestral(), levels, x_T, jax.random.key(2))
    nothing = editing.inpaint(samplers.ancestral(), jnp.ones((5, 4)), jnp.zeros(4))
    np.testing.assert_allclose(sample(gaussian(), nothing, levels, x_T, jax.random.key(2)), plain, rtol=1e-12)


def test_added_noise_is_the_forward_process():
    """Climbing from a level's marginal comes to the marginal of the noisier one."""
    for schedule in (schedules.cosine(), schedules.edm(), schedules.flow(t_max=0.99)):
        levels = grids.make(schedule, 12)
        low, high = levels.at(8), levels.at(3)
        x = process.diffuse(jnp.full((200000, 1), 0.7), jax.random.normal(jax.random.key(0), (200000, 1)), low)
        x = editing.add_noise(x, low, high, jax.random.key(1))
        np.testing.assert_allclose(x.mean(), high.alpha * 0.7, atol=4 * high.sigma / 200000**0.5)
        np.testing.assert_allclose(x.std(), high.sigma, rtol=0.01)


def test_another_image_or_mask_does_not_recompile():
    """One compilation and one scan for a guided, thresholded, resampled inpainting, whatever its values."""
    chex.clear_trace_counter()

    @jax.jit
    @chex.assert_max_traces(n=1)
    def paint(known, mask, scale, eta, key):
        levels = editing.resampling_walk(grids.respace(schedules.cosine(100), 6), jump=2, resamples=2)
        guide = guidance.classifier(lambda x, level: -jnp.sum(x**2, axis=1), scale, "score")
        denoise = thresholding.static()(guide(gaussian()))
        sampler = editing.inpaint(samplers.ddim(eta), known, mask)
        return sample(denoise, sampler, levels, jnp.ones((3, 2)), key)

    for seed in range(3):
        key = jax.random.key(seed)
        known, mask = jax.random.normal(key, (3, 2)), jnp.array([seed % 2, 1.0])
        x = paint(known, mask, float(seed), 0.3 * seed, key)
        np.testing.assert_array_equal(x[:, 1], known[:, 1])


def test_examples_do_not_depend_on_their_batch():
    """With a key an example, any subset gives the same images."""
    walk = editing.resampling_walk(grids.respace(schedules.cosine(), 6), jump=2, resamples=2)
    keys = jax.random.split(jax.random.key(0), 5)
    x_T, some = jax.random.normal(jax.random.key(1), (5, 2)), jnp.array([3, 0])

    def painted(keys, x_T):
        sampler = editing.inpaint(samplers.ancestral(), jnp.ones_like(x_T), jnp.array([1.0, 0.0]))
        return sample(gaussian(), sampler, walk, x_T, keys)

    alone, whole = jax.jit(lambda: (painted(keys[some], x_T[some]), painted(keys, x_T)[some]))()
    np.testing.assert_allclose(alone, whole, rtol=1e-12)


def test_trajectory_of_a_walk():
    walk = editing.resampling_walk(grids.respace(schedules.cosine(), 6), jump=2, resamples=2)
    inpaint = editing.inpaint(samplers.ancestral(), jnp.ones((3, 2)), jnp.array([1.0, 0.0]))
    x, path = sample(gaussian(), inpaint, walk, jnp.ones((3, 2)), jax.random.key(0), trajectory=True)
    assert path.x_t.shape == (len(walk.order), 3, 2)
    np.testing.assert_array_equal(path.x_t[-1], x)


GRIDS = {
    "cosine": lambda n: grids.uniform(schedules.continuous_cosine(-9.0, 20.0), n),
    "edm": lambda n: grids.karras(schedules.edm(), n, sigma_min=0.3 / n),
    "flow": lambda n: grids.uniform(schedules.flow(t_max=0.99), n),
}
IMAGES = jnp.array([[-1.3], [0.1], [0.45], [1.2]])


@functools.partial(jax.jit, static_argnames="refinements")
def there_and_back(levels, refinements=0):
    """Images inverted and sampled again; compiled once for all schedules."""
    latent = editing.invert(mixture(), levels, IMAGES, jax.random.key(0), refinements)
    return sample(mixture(), samplers.ddim(), levels, latent, jax.random.key(0))


@jax.jit
def latents_of_gaussian(levels):
    return editing.invert(gaussian(), levels, IMAGES, jax.random.key(0))


@pytest.mark.parametrize("name", GRIDS)
def test_inversion_and_sampling_return_the_image_at_order_one(name):
    errors = []
    for num_steps in (150, 300):
        levels = GRIDS[name](num_steps)
        back = there_and_back(levels)
        errors.append(float(jnp.max(jnp.abs(back - IMAGES))))
    np.testing.assert_allclose(np.log2(errors[0] / errors[1]), 1, atol=0.1)


@pytest.mark.parametrize("name", GRIDS)
def test_latents_of_gaussian_data_are_those_of_the_flow(name):
    """(x - alpha m) / sqrt(alpha^2 v + sigma^2) stays as it is, up to order 1."""
    errors = []
    for num_steps in (150, 300):
        levels = GRIDS[name](num_steps)
        top = levels.at(0)
        spread = jnp.sqrt(top.alpha**2 * VARIANCE + top.sigma**2)
        wanted = top.alpha * MEAN + spread * (IMAGES - MEAN) / VARIANCE**0.5
        latent = latents_of_gaussian(levels)
        errors.append(float(jnp.max(jnp.abs(latent - wanted) / spread)))
    np.testing.assert_allclose(np.log2(errors[0] / errors[1]), 1, atol=0.1)


@pytest.mark.parametrize("name", ["edm", "flow"])
def test_refined_inversion_undoes_the_steps(name):
    """In twenty steps, whose plain inversion errs by percents."""
    levels = GRIDS[name](20)
    errors = []
    for refinements in (0, 5, 40):
        back = there_and_back(levels, refinements)
        errors.append(float(jnp.max(jnp.abs(back - IMAGES))))
    assert errors[1] < errors[0] / 3 and errors[2] < 1e-4


@jax.jit
def carried(source, levels):
    x_t = editing.diffuse_source(source, levels, jax.random.key(0))
    return sample(gaussian(), samplers.ddim(), levels, x_t, jax.random.key(1))


@pytest.mark.parametrize("strength", [0.6, pytest.param(0.25, marks=pytest.mark.slow)])
def test_diffused_source_is_carried_to_the_data(strength):
    """Images of the data's distribution stay so; a foreign one is drawn in the more, the greater the strength."""
    levels = editing.tail(grids.uniform(schedules.continuous_cosine(-9.0, 20.0), 400), strength)
    first = levels.at(0)
    sources = (MEAN + VARIANCE**0.5 * jnp.asarray(normal_points(20000)))[:, None]
    foreign = jnp.full((20000, 1), 3.0)
    keep = first.alpha * VARIANCE**0.5 / jnp.sqrt(first.alpha**2 * VARIANCE + first.sigma**2)
    for source, mean, scale in (
        (sources, MEAN, VARIANCE**0.5),
        (foreign, MEAN + keep * (3.0 - MEAN), jnp.sqrt(VARIANCE * (1 - keep**2))),
    ):
        x = carried(source, levels)
        np.testing.assert_allclose(x.mean(), mean, atol=0.02)
        np.testing.assert_allclose(x.std(), scale, atol=0.02)


def test_slerp_keeps_ends_norms_and_noise():
    first, second = jax.random.normal(jax.random.key(0), (2, 50, 400))
    np.testing.assert_allclose(editing.slerp(first, second, 0.0), first, atol=1e-12)
    np.testing.assert_allclose(editing.slerp(first, second, 1.0), second, atol=1e-12)
    middle = editing.slerp(first, second, jnp.linspace(0.1, 0.9, 50))
    np.testing.assert_allclose(middle.std(), 1, atol=0.01)
    unit = [x / jnp.linalg.norm(x, axis=1, keepdims=True) for x in (first, second)]
    np.testing.assert_allclose(jnp.linalg.norm(editing.slerp(*unit, 0.3), axis=1), 1, rtol=1e-12)
    np.testing.assert_allclose(editing.slerp(first, first, 0.3), first, atol=1e-9)
    np.testing.assert_allclose(editing.slerp(first, 2 * first, 0.5), 1.5 * first, rtol=1e-6)
