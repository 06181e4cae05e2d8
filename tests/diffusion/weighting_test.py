"""Weightings on the squared x0 error, against the papers' own statements."""

import jax.numpy as jnp
import numpy as np
import pytest

from genjax.diffusion import parameterization, schedules, weighting

T = jnp.array([0.0, 3.0, 50.0, 400.0, 999.0])


def test_formulas():
    level = schedules.linear_beta()(T)
    snr = np.asarray(level.alpha, np.float64) ** 2 / np.asarray(level.sigma, np.float64) ** 2
    s2, d = 1 / snr, 0.6
    wanted = {
        "simple": snr,
        "snr": snr,
        "x0": np.ones(5),
        "v": snr + 1,
        "truncated_snr": np.maximum(snr, 1),
        "min_snr": np.minimum(snr, 5),
        "p2": snr / (1 + snr),
    }
    for name, value in wanted.items():
        np.testing.assert_allclose(weighting.make(name)(level), value, rtol=1e-5)
    np.testing.assert_allclose(weighting.min_snr(gamma=2.0)(level), np.minimum(snr, 2), rtol=1e-5)
    np.testing.assert_allclose(weighting.p2(k=0.5, gamma=2.0)(level), snr / (0.5 + snr) ** 2, rtol=1e-5)
    np.testing.assert_allclose(weighting.edm(d)(level), (s2 + d**2) / (np.sqrt(s2) * d) ** 2, rtol=1e-5)


@pytest.mark.parametrize("pair", [("simple", "eps"), ("x0", "x0"), ("v", "v"), ("edm", "edm"), ("flow", "flow")])
@pytest.mark.parametrize("schedule", ["linear_beta", "cosine"])
def test_natural_weight_of_each_parameterization_is_one_on_its_output(pair, schedule):
    level = schedules.make(schedule)(T)
    c_out = parameterization.make(pair[1])(level).c_out
    np.testing.assert_allclose(weighting.make(pair[0])(level) * c_out**2, 1, rtol=1e-3)


def test_unknown_name():
    with pytest.raises(ValueError, match="known: .*min_snr"):
        weighting.make("max_snr")
