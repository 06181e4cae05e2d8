"""Edits by a diffusion model, from images and between them, step by step against float64 by hand."""

import jax.numpy as jnp
import numpy as np
import pytest

from tests.families.diffusion_sampling_test import (
    IMAGES,
    KEY,
    TIMES,
    WEIGHTS,
    build,
    conditions,
    down,
    estimate,
    noise,
    plain,
    walk,
)
from tests.families.recorder import ALPHA, CHANNELS, SIGMA
from tests.families.recorder import nets as nets
from tests.families.recorder import unrolled as unrolled

pytestmark = pytest.mark.usefixtures("unrolled")


def test_a_source_is_begun_with_so_far_up_and_a_latent_is_taken_as_it_is(nets):
    family = build(conditional=True, draw={"strength": 0.5, "noise_scale": 0.3})
    found = family.interface.sample(WEIGHTS, *conditions(source=jnp.asarray(IMAGES)), KEY).images
    assert [call.c_noise[0] for call in nets.taken()] == [39, 0]
    begun = ALPHA[13] * IMAGES + SIGMA[13] * noise(0)
    np.testing.assert_allclose(found, walk(begun, plain, [13, 0]), atol=1e-4)
    found = family.interface.sample(WEIGHTS, *conditions(latent=jnp.asarray(IMAGES)), KEY).images
    np.testing.assert_allclose(found, walk(IMAGES, plain), atol=1e-4)


def up(x0, times):
    """DDIM's steps upward, each refined twice."""
    x, alpha, sigma, here = np.float64(x0), 1.0, 0.0, None
    for t in times[::-1]:
        scale = ALPHA[t] / alpha
        reach = SIGMA[t] - scale * sigma

        def eps(y, at):
            return (y - ALPHA[at] * plain(y, at)) / SIGMA[at]

        guess = eps(scale * x, t) if here is None else eps(x, here)
        for _ in range(2):
            guess = eps(scale * x + reach * guess, t)
        x, alpha, sigma, here = scale * x + reach * guess, ALPHA[t], SIGMA[t], t
    return x


def test_between_two_images_it_begins_between_their_latents(nets):
    other = IMAGES[::-1].copy()
    family = build(conditional=True, draw={"strength": 0.75, "noise_scale": 0.3})
    latent = family.interface.invert(WEIGHTS, *conditions(source=jnp.asarray(IMAGES)), KEY)
    np.testing.assert_allclose(latent, up(IMAGES, TIMES), atol=1e-3)
    given = conditions(source=jnp.asarray(IMAGES), target=jnp.asarray(other), weight=jnp.full(8, 0.3))
    found = family.interface.sample(WEIGHTS, *given, KEY).images
    first, second = up(IMAGES, TIMES[1:]), up(other, TIMES[1:])
    length = [np.sqrt((one**2).sum(axis=(1, 2, 3), keepdims=True)) for one in (first, second)]
    angle = np.arccos((first * second).sum(axis=(1, 2, 3), keepdims=True) / length[0] / length[1])
    begun = (np.sin(0.7 * angle) * first + np.sin(0.3 * angle) * second) / np.sin(angle)
    np.testing.assert_allclose(found, walk(begun, plain, TIMES[1:]), atol=1e-3)


MASK = np.zeros((8, 4, 4, 1))
MASK[:, :2] = 1
MASK[:, 3, 1] = 1


def test_a_model_that_inpaints_sees_what_is_known_and_its_estimate_is_overwritten_there(nets):
    family = build(conditional=True, inpaint={"everything": 0.5}, draw={"resamples": 3})
    known = conditions(known=jnp.asarray(IMAGES), mask=jnp.asarray(MASK, jnp.float32))
    found = family.interface.sample(WEIGHTS, *known, KEY).images
    beside = np.concatenate([IMAGES * MASK, MASK], axis=-1)
    calls = nets.taken()
    assert [call.c_noise[0] / 3 for call in calls] == TIMES, "no steps are walked twice"
    np.testing.assert_allclose(calls[2].x[..., CHANNELS:], beside)
    wanted = walk(noise(0), lambda x, t: np.where(MASK > 0.5, IMAGES, estimate(x, t, beside=beside)[0]))
    np.testing.assert_allclose(found, wanted, atol=1e-4)
    begun = build(conditional=True, inpaint={"everything": 0.5}, draw={"strength": 0.5})
    begun.interface.sample(WEIGHTS, known[0]._replace(source=jnp.asarray(IMAGES)), known[1], KEY)
    assert [call.c_noise[0] / 3 for call in nets.taken()] == [13, 0]
    family = build(conditional=True, inpaint={"everything": 0.5})
    found = family.interface.sample(WEIGHTS, *conditions(), KEY).images
    assert (nets.taken()[0].x[..., CHANNELS:] == 0).all()
    nothing = np.zeros((8, 4, 4, CHANNELS + 1))
    np.testing.assert_allclose(found, walk(noise(0), lambda x, t: estimate(x, t, beside=nothing)[0]), atol=1e-4)


def test_any_other_model_keeps_what_is_known_by_walking_stretches_again(nets):
    """What is known comes at every level under noise of its own, and each climb adds noise to the rest."""
    known = conditions(known=jnp.asarray(IMAGES), mask=jnp.asarray(MASK, jnp.float32))
    family = build(conditional=True, draw={"resamples": 2, "noise_scale": 0.7})
    found = family.interface.sample(WEIGHTS, *known, KEY).images
    visited = [39, 39, 26, 26, 13, 13, 0]
    calls = nets.taken()
    assert [round(call.c_noise[0] / 3) for call in calls] == visited
    x, here = 0.7 * noise(0), 39
    for step, (cur, nxt) in enumerate(zip(visited, [26, 26, 13, 13, 0, 0, None], strict=True)):
        if cur > here:
            scale = ALPHA[cur] / ALPHA[here]
            x = scale * x + np.sqrt(SIGMA[cur] ** 2 - (scale * SIGMA[here]) ** 2) * noise(1, step, 3)
        np.testing.assert_allclose(calls[step].x, x, atol=2e-4)
        alpha, sigma = (1.0, 0.0) if nxt is None else (ALPHA[nxt], SIGMA[nxt])
        x = np.where(MASK > 0.5, alpha * IMAGES + sigma * noise(1, step, 4), down(x, plain(x, cur), cur, nxt))
        here = nxt if nxt is not None else here
    np.testing.assert_allclose(found, x, atol=2e-4)
    once = build(conditional=True)
    once.interface.sample(WEIGHTS, *known, KEY)
    assert [round(call.c_noise[0] / 3) for call in nets.taken()] == TIMES
