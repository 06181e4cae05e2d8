"""Padding of the last batch changes nothing: five examples are valued alike by themselves and among eight places."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from genjax.configs import (
    adm_classifier_imagenet64,
    biggan_digits,
    clip_noisy_shapes,
    clip_shapes,
    dcgan_digits,
    ddpm_digits,
)
from genjax.diffusion import time_samplers
from genjax.families.interfaces import Weights
from genjax.typing import DataSpec
from tests.families import clip_prior_test, perturbed, toy_clip
from tests.families.microbatches_test import build, images

KEY = jax.random.key(0)
TEXTS = DataSpec((16, 16, 3), has_text=True, text_length=6, vocab_size=40)


def captioned(count=8):
    tokens = np.random.default_rng(2).integers(1, 40, (count, 6)).astype(np.int32)
    return images(count, (16, 16, 3)) | {"tokens": jnp.asarray(tokens)}


CHEAP = {
    "clip": lambda: (build(clip_shapes, TEXTS), captioned(), {}),
    "dcgan": lambda: (build(dcgan_digits), images(), {}),
    "diffusion": lambda: (build(ddpm_digits), images(), {}),
}
DEAR = {
    "biggan": lambda: (build(biggan_digits), images(), {}),
    "clip_noisy": lambda: (build(clip_noisy_shapes, TEXTS), captioned(), {}),
    "clip_prior": lambda: (clip_prior_test.build(), toy_clip.batch(8), toy_clip.FROZEN),
    "noisy_classifier": lambda: (build(adm_classifier_imagenet64), images(), {}),
}


def check(case):
    """Whether values of five examples are others among eight that are present; those among padding may not be."""
    family, batch, frozen = case()
    evaluate = jax.jit(family.evaluate)
    weights = perturbed.weights(family, batch, frozen=frozen)
    alone = evaluate(weights, jax.tree.map(lambda x: x[:5], batch), KEY)
    among = evaluate(weights, batch | {"present": jnp.arange(8) < 5}, KEY)
    full = evaluate(weights, batch | {"present": jnp.ones(8, bool)}, KEY)
    for name, value in alone.items():
        np.testing.assert_allclose(among[name][:5], value, rtol=2e-4, atol=1e-5, err_msg=name)
    return any(jnp.abs(full[name][:5] - value).max() > 1e-3 for name, value in alone.items())


@pytest.mark.parametrize("case", CHEAP.values(), ids=CHEAP)
def test_padding_takes_no_part(case):
    assert check(case), "three more examples would"


@pytest.mark.parametrize("name", ["clip_noisy", "clip_prior", "noisy_classifier"])
def test_times_are_spread_over_those_that_are_present(monkeypatch, name):
    """What is traced alone: the compiled values are compared above and, of larger networks, below."""
    family, batch, frozen = {**CHEAP, **DEAR}[name]()
    params, extra = jax.eval_shape(family.init, KEY, batch)
    even, spread = time_samplers.even, []

    def noted(schedule, key, there, *rows):
        spread.append(there)
        return even(schedule, key, there, *rows)

    monkeypatch.setattr(time_samplers, "even", noted)

    def evaluate(params, extra, there):
        values = family.evaluate(Weights(params, extra, frozen), batch | {"present": there}, KEY)
        assert len(spread) == 1 and spread[0] is there
        return values

    jax.eval_shape(evaluate, params, extra, jnp.arange(8) < 5)


@pytest.mark.slow
@pytest.mark.parametrize("case", DEAR.values(), ids=DEAR)
def test_padding_takes_no_part_in_larger_networks(case):
    check(case)
