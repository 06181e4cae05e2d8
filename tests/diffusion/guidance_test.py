"""Guidance: what each form does to a prediction."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from genjax.diffusion import (
    denoisers,
    grids,
    guidance,
    parameterization,
    process,
    samplers,
    schedules,
    thresholding,
)
from genjax.diffusion.denoisers import make_denoiser

KEY = jax.random.key(0)
LEVEL = schedules.cosine()(400.0)
X = jax.random.normal(jax.random.key(1), (3, 4, 4, 2))


def paired_net(calls=None):
    """A network on 2b examples whose halves differ, with variance channels that differ too."""

    def net(x, c_noise):
        if calls is not None:
            calls.append(x.shape)
        half = x.shape[0] // 2
        sign = jnp.where(jnp.arange(2 * half) < half, 1.0, -0.5)[:, None, None, None]
        return jnp.concatenate([sign * jnp.sin(x), 0.3 * sign * jnp.ones_like(x)], axis=-1)

    return net


def halves():
    """(conditional, unconditional) network outputs eps on X."""
    return jnp.sin(X), -0.5 * jnp.sin(X)


@pytest.mark.parametrize("scale", [0.0, 1.0, 2.5])
def test_formula_in_one_forward_pass(scale):
    calls = []
    paired = make_denoiser(paired_net(calls), parameterization.eps(), learned_variance=True)
    found = guidance.classifier_free(scale)(paired)(X, LEVEL, KEY)
    assert calls == [(6, 4, 4, 2)]
    cond, uncond = halves()
    eps = uncond + scale * (cond - uncond)
    np.testing.assert_allclose(found.eps, eps, atol=1e-5)
    np.testing.assert_allclose(found.x0, (X - LEVEL.sigma * eps) / LEVEL.alpha, atol=1e-5)


def test_ho_and_salimans_weight_is_scale_minus_one():
    paired = make_denoiser(paired_net(), parameterization.eps(), learned_variance=True)
    cond, uncond = halves()
    w = 0.3
    found = guidance.classifier_free(1 + w)(paired)(X, LEVEL, KEY)
    np.testing.assert_allclose(found.eps, (1 + w) * cond - w * uncond, atol=1e-5)


def test_variance_stays_the_conditional_halfs():
    paired = make_denoiser(paired_net(), parameterization.eps(), learned_variance=True)
    for scale in (0.0, 1.0, 7.0):
        found = guidance.classifier_free(scale)(paired)(X, LEVEL, KEY)
        np.testing.assert_allclose(found.var_frac, (0.3 + 1) / 2, rtol=1e-6)


def test_one_scale_an_example_and_levels_an_example():
    paired = make_denoiser(paired_net(), parameterization.eps(), learned_variance=True)
    scales, level = jnp.array([1.0, 2.0, 3.0]), schedules.cosine()(jnp.array([100.0, 400.0, 800.0]))
    found = guidance.classifier_free(scales)(paired)(X, level, KEY)
    for i in range(3):
        one = guidance.classifier_free(scales[i])(paired)(X[i : i + 1], level.at(slice(i, i + 1)), KEY)
        np.testing.assert_allclose(found.x0[i], one.x0[0], atol=1e-5)


def test_interval_in_sigma_over_alpha():
    paired = make_denoiser(paired_net(), parameterization.eps(), learned_variance=True)
    ratio = float(LEVEL.ratio)
    full = guidance.classifier_free(4.0)(paired)(X, LEVEL, KEY)
    plain = guidance.classifier_free(1.0)(paired)(X, LEVEL, KEY)
    inside = guidance.classifier_free(4.0, interval=(ratio / 2, ratio * 2))(paired)(X, LEVEL, KEY)
    above = guidance.classifier_free(4.0, interval=(0.0, ratio / 2))(paired)(X, LEVEL, KEY)
    below = guidance.classifier_free(4.0, interval=(ratio * 2, 1e9))(paired)(X, LEVEL, KEY)
    np.testing.assert_array_equal(inside.x0, full.x0)
    np.testing.assert_array_equal(above.x0, plain.x0)
    np.testing.assert_array_equal(below.x0, plain.x0)


def test_rescale_restores_the_deviation_of_each_example():
    paired = make_denoiser(paired_net(), parameterization.eps(), learned_variance=True)
    cond = guidance.classifier_free(1.0)(paired)(X, LEVEL, KEY).x0
    guided = guidance.classifier_free(6.0)(paired)(X, LEVEL, KEY).x0
    dims = (1, 2, 3)
    for phi in (0.0, 0.7, 1.0):
        found = guidance.classifier_free(6.0, rescale=phi)(paired)(X, LEVEL, KEY)
        wanted = phi * cond.std(axis=dims) / guided.std(axis=dims) + (1 - phi)
        np.testing.assert_allclose(found.x0, guided * wanted[:, None, None, None], rtol=1e-4, atol=1e-5)
        np.testing.assert_allclose(LEVEL.alpha * found.x0 + LEVEL.sigma * found.eps, X, atol=1e-5)


def log_prob(x, level):
    """A classifier that also looks at the level it is given."""
    assert level.t.shape == x.shape[:1]
    return -jnp.sum((x - 0.2) ** 2, axis=(1, 2, 3)) * level.alpha


def test_classifier_by_mean_and_by_score():
    base = denoisers.gaussian(0.1, 0.5)
    plain = base(X, LEVEL, KEY)
    grad = -2 * (X - 0.2) * LEVEL.alpha
    by_mean = guidance.classifier(log_prob, scale=3.0, mode="mean")(base)(X, LEVEL, KEY)
    np.testing.assert_array_equal(by_mean.x0, plain.x0)
    np.testing.assert_allclose(by_mean.mean_grad, 3 * grad, rtol=1e-5)
    by_score = guidance.classifier(log_prob, scale=3.0, mode="score")(base)(X, LEVEL, KEY)
    eps = plain.eps - LEVEL.sigma * 3 * grad
    np.testing.assert_allclose(by_score.eps, eps, rtol=1e-5)
    np.testing.assert_allclose(by_score.x0, (X - LEVEL.sigma * eps) / LEVEL.alpha, rtol=1e-4, atol=1e-5)


def test_guides_compose_and_their_gradients_add():
    base = denoisers.gaussian(0.1, 0.5)
    once = guidance.classifier(log_prob, scale=2.0, mode="mean")
    twice = once(once(base))(X, LEVEL, KEY)
    np.testing.assert_allclose(twice.mean_grad, 2 * once(base)(X, LEVEL, KEY).mean_grad, rtol=1e-6)


@pytest.mark.parametrize("mode", guidance.MODES)
def test_side_by_side_guides_pull_at_the_plain_denoiser_in_any_order(mode):
    """An energy after a classifier would differentiate through it; side by side it doesn't see it."""
    base = denoisers.gaussian(0.1, 0.5)
    by_class = guidance.classifier(lambda x, level: -jnp.sum(x**4, axis=(1, 2, 3)), 0.3, mode)
    by_energy = guidance.energy(lambda x0, x_t, level, key: jnp.sum(x0**2, axis=(1, 2, 3)), 2.0, mode)
    plain = base(X, LEVEL, KEY)
    alone = [guide(base)(X, LEVEL, KEY) for guide in (by_class, by_energy)]
    added, swapped = (
        guidance.together(guides)(base)(X, LEVEL, KEY) for guides in ((by_class, by_energy), (by_energy, by_class))
    )
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-5), added, swapped)
    if mode == "mean":
        np.testing.assert_allclose(added.mean_grad, alone[0].mean_grad + alone[1].mean_grad, rtol=1e-5)
        np.testing.assert_array_equal(added.x0, plain.x0)
    else:
        np.testing.assert_allclose(added.eps, alone[0].eps + alone[1].eps - plain.eps, rtol=1e-4, atol=1e-5)
        np.testing.assert_allclose(added.x0, (X - LEVEL.sigma * added.eps) / LEVEL.alpha, rtol=1e-4, atol=1e-4)
        nested = by_energy(by_class(base))(X, LEVEL, KEY)
        assert jnp.abs(nested.eps - added.eps).max() > 0.01
    assert guidance.together([by_class]) is by_class


def test_thresholding_first_is_the_published_order():
    """x0 clipped, then shifted by the score and not clipped again; the mean's gradient passes a later
    clip."""
    base = denoisers.gaussian(0.1, 5.0)
    score = guidance.classifier(log_prob, scale=3.0, mode="score")
    published = score(thresholding.static()(base))(X, LEVEL, KEY)
    assert float(jnp.max(jnp.abs(published.x0))) > 1
    assert float(jnp.max(jnp.abs(thresholding.static()(score(base))(X, LEVEL, KEY).x0))) <= 1
    mean = guidance.classifier(log_prob, scale=3.0, mode="mean")
    clipped = thresholding.static()(mean(base))(X, LEVEL, KEY)
    np.testing.assert_array_equal(clipped.mean_grad, mean(base)(X, LEVEL, KEY).mean_grad)


def test_ancestral_shifts_the_mean_by_variance_times_gradient():
    cur, nxt = schedules.cosine()(400.0), schedules.cosine()(399.0)
    base = denoisers.gaussian(0.1, 0.5)
    guided = guidance.classifier(log_prob, scale=3.0, mode="mean")(base)
    for variance in ("fixed_small", "fixed_large"):
        sampler = samplers.ancestral(variance)
        plain, _ = sampler.step(base, X, jnp.ones(()), cur, nxt, KEY)
        moved, _ = sampler.step(guided, X, jnp.ones(()), cur, nxt, KEY)
        beta = 1 - (cur.alpha / nxt.alpha) ** 2
        scale = beta if variance == "fixed_large" else beta * (nxt.sigma / cur.sigma) ** 2
        np.testing.assert_allclose(moved - plain, scale * guided(X, cur, KEY).mean_grad, rtol=1e-2, atol=1e-6)


@pytest.mark.parametrize("variance", ["fixed_small", "fixed_large", "learned_range"])
def test_shift_on_the_step_to_clean_data_is_the_published_one(variance):
    """By beta tilde, 0, for fixed_small; with the floor, beta tilde of the step before, in its place for others."""
    levels = grids.respace(schedules.cosine(), "10")
    base = lambda x, level, key: denoisers.gaussian(0.1, 0.5)(x, level, key)._replace(var_frac=0 * x)  # noqa: E731
    guided = guidance.classifier(log_prob, scale=3.0, mode="mean")(base)
    sampler = samplers.ancestral(variance)
    cur, nxt = levels.at(-2), levels.at(-1)
    found, _ = sampler.step(guided, X, sampler.init(X, levels), cur, nxt, KEY)
    weight = 0.0 if variance == "fixed_small" else process.posterior_variance(levels.at(-3), cur)
    wanted = base(X, cur, KEY).x0 + weight * guided(X, cur, KEY).mean_grad
    np.testing.assert_allclose(found, wanted, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("name", ["ddim", "euler", "heun", "dpmpp_2m", "dpmpp_sde"])
def test_other_samplers_refuse_a_gradient_of_the_mean(name):
    guided = guidance.classifier(log_prob, mode="mean")(denoisers.gaussian(0.0, 1.0))
    sampler = samplers.make(name)
    levels = schedules.stack([schedules.cosine()(t) for t in (400.0, 200.0, -1.0)])
    with pytest.raises(ValueError, match="mode='score'"):
        sampler.step(guided, X, sampler.init(X, levels), levels.at(0), levels.at(1), KEY)


def test_energy_differentiates_through_the_denoiser():
    base = denoisers.gaussian(0.1, 0.5)

    def squared(x0, x_t, level, key):
        return jnp.sum(x0**2, axis=(1, 2, 3))

    found = guidance.energy(squared, scale=2.0, mode="mean")(base)(X, LEVEL, KEY)
    slope = 0.5 * LEVEL.alpha / (LEVEL.alpha**2 * 0.5 + LEVEL.sigma**2)
    np.testing.assert_allclose(found.mean_grad, -2 * 2 * base(X, LEVEL, KEY).x0 * slope, rtol=1e-4, atol=1e-6)


def test_unknown_mode():
    for make in (guidance.classifier, guidance.energy):
        with pytest.raises(ValueError, match="'mean' goes with the ancestral"):
            make(log_prob, mode="median")
