"""Grids: published respacings to the step, EDM's spacing, clean ends."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from genjax.diffusion import grids, schedules

SECTIONS_27 = [
    0, 22, 44, 66, 88, 111, 133, 155, 177, 199,
    200, 222, 244, 266, 288, 311, 333, 355, 377, 399,
    400, 500, 599, 600, 799, 800, 999,
]  # fmt: skip


def test_published_respacings():
    assert grids.timesteps(1000, "ddim25") == list(range(0, 1000, 40))
    assert grids.timesteps(1000, "ddim50") == list(range(0, 1000, 20))
    every_fourth = grids.timesteps(1000, "250")
    assert every_fourth[:3] == [0, 4, 8] and every_fourth[-2:] == [995, 999] and len(every_fourth) == 250
    assert grids.timesteps(1000, "10,10,3,2,2") == SECTIONS_27
    assert grids.timesteps(1000, "fast27") == [*SECTIONS_27[:-1], 997]
    assert grids.timesteps(1000, 25)[:3] == [0, 42, 83] and grids.timesteps(1000, "25")[-1] == 999
    assert grids.timesteps(1000, 1000) == list(range(1000))
    assert grids.timesteps(300, "10,15,20")[:3] == [0, 11, 22]
    assert grids.timesteps(4000, "1,1,1,1") == [0, 1000, 2000, 3000]
    assert grids.timesteps(10, "0,3") == [5, 7, 9]


@pytest.mark.parametrize("spec", ["25", "250", "10,10,3,2,2", "7,11,13", "999", "3"])
@pytest.mark.parametrize("num_steps", [1000, 1003, 4000])
def test_sections_follow_the_published_rule(spec, num_steps):
    """The rule written out again: so many steps from each section, a running sum rounded half to even."""
    counts = [int(c) for c in spec.split(",")]
    wanted, start = [], 0
    for i, count in enumerate(counts):
        size = num_steps // len(counts) + (1 if i < num_steps % len(counts) else 0)
        at = 0.0
        for _ in range(count):
            wanted.append(start + round(at))
            at += (size - 1) / (count - 1)
        start += size
    assert grids.timesteps(num_steps, spec) == sorted(set(wanted))


def test_levels_descend_to_clean_at_original_timesteps():
    schedule = schedules.cosine()
    levels = grids.respace(schedule, "ddim25")
    np.testing.assert_array_equal(levels.t, [*range(960, -1, -40), -1])
    np.testing.assert_array_equal(levels.alpha[:-1], schedule(levels.t[:-1]).alpha)
    assert float(levels.alpha[-1]) == 1 and float(levels.sigma[-1]) == 0


def test_respaced_betas():
    """1 - alpha_bar_i / alpha_bar_previous, from level pairs."""
    from genjax.diffusion import process

    bars = np.cumprod(1 - np.linspace(1e-4, 0.02, 1000))
    kept = np.array(grids.timesteps(1000, "25"))
    betas = 1 - bars[kept] / np.append(1.0, bars[kept[:-1]])
    levels = grids.respace(schedules.linear_beta(), "25")
    found = process.transition_variance(levels.at(slice(None, -1)), levels.at(slice(1, None)))
    np.testing.assert_allclose(found[::-1], betas, rtol=2e-5)


def test_uniform():
    np.testing.assert_array_equal(grids.uniform(schedules.cosine(), 4).t, [999, 749, 499, 249, -1])
    np.testing.assert_array_equal(grids.uniform(schedules.cosine(), 1).t, [999, -1])
    np.testing.assert_allclose(grids.uniform(schedules.flow(), 4).t, [1, 0.75, 0.5, 0.25, 0])


def test_karras_is_edm_equation_5():
    levels = grids.karras(schedules.edm(), 18)
    i = np.arange(18)
    wanted = (80 ** (1 / 7) + i / 17 * (0.002 ** (1 / 7) - 80 ** (1 / 7))) ** 7
    np.testing.assert_allclose(levels.sigma[:-1], wanted, rtol=1e-4)
    assert float(levels.sigma[-1]) == 0


@pytest.mark.parametrize("name", ["linear_beta", "cosine", "continuous_cosine", "flow", "variance_exploding"])
def test_karras_meets_any_schedule(name):
    levels = grids.karras(schedules.make(name), 12, sigma_min=0.05, sigma_max=20.0)
    i = np.arange(12)
    wanted = (20 ** (1 / 7) + i / 11 * (0.05 ** (1 / 7) - 20 ** (1 / 7))) ** 7
    np.testing.assert_allclose(levels.ratio[:-1], wanted, rtol=1e-3)


@pytest.mark.parametrize("name", ["linear_beta", "cosine", "continuous_cosine", "flow", "variance_exploding", "edm"])
@pytest.mark.parametrize("spec", ["8", 8, "karras8", "uniform8"])
def test_make_suits_every_schedule(name, spec):
    levels = grids.make(schedules.make(name), spec)
    assert levels.alpha.shape == (9,)
    ratio = np.asarray(levels.ratio)
    assert (np.diff(ratio) < 0).all() and ratio[-1] == 0


def test_make_of_edm_is_karras():
    np.testing.assert_array_equal(grids.make(schedules.edm(), 8).sigma, grids.karras(schedules.edm(), 8).sigma)


@pytest.mark.parametrize(
    "call, words",
    [
        (lambda: grids.timesteps(1000, "ddim999"), "no whole stride"),
        (lambda: grids.timesteps(1000, "1"), "1 steps"),
        (lambda: grids.timesteps(1000, "0"), "0 steps"),
        (lambda: grids.timesteps(10, "11"), "11 of the 10"),
        (lambda: grids.timesteps(1000, "quick"), "'quick'"),
        (lambda: grids.respace(schedules.flow(), "25"), "Flow"),
        (lambda: grids.make(schedules.flow(), "ddim25"), "Flow"),
        (lambda: grids.uniform(schedules.cosine(10), 11), "11 of 10"),
        (lambda: grids.karras(schedules.edm(), 0), "at least one"),
        (
            lambda: grids.karras(schedules.linear_beta(1000), 50, sigma_min=0.002, sigma_max=80),
            "sigma_min=0.002 .*0.01",
        ),
        (lambda: grids.karras(schedules.linear_beta(1000), 50, sigma_max=200), "sigma_max=200 .*157"),
        (
            lambda: grids.karras(schedules.edm(), 5, sigma_min=2.0, sigma_max=1.0),
            "sigma_min=2.0 .* less than sigma_max",
        ),
        (lambda: grids.karras(schedules.edm(), 5, sigma_min=float("nan")), "sigma_min=nan"),
        (lambda: grids.karras(schedules.edm(), 5, sigma_max=float("inf")), "sigma_max=inf"),
        (lambda: grids.karras(schedules.edm(), 5, sigma_min=-1.0), "sigma_min=-1"),
        (lambda: grids.karras(schedules.edm(), 5, rho=0.0), "rho=0"),
        (lambda: grids.karras(schedules.edm(), 5, rho=float("nan")), "rho=nan"),
    ],
)
def test_errors_say_what_and_how(call, words):
    with pytest.raises(ValueError, match=words):
        call()


def test_bounds_at_the_ends_of_the_schedule_are_within_it():
    schedule = schedules.linear_beta(1000)
    ends = [float(schedule(t).ratio) for t in (schedule.t_min, schedule.t_max)]
    levels = grids.karras(schedule, 50, sigma_min=ends[0], sigma_max=ends[1])
    assert (np.diff(np.asarray(levels.ratio)) < 0).all()
    np.testing.assert_allclose(levels.ratio[jnp.array([0, -2])], ends[::-1], rtol=1e-3)


def test_bounds_may_be_traced():
    found = jax.jit(lambda low: grids.karras(schedules.edm(), 5, sigma_min=low).sigma)(0.01)
    np.testing.assert_allclose(found, grids.karras(schedules.edm(), 5, sigma_min=0.01).sigma, rtol=1e-6)
