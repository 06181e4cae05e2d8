"""unCLIP's diffusion prior against float64 by hand, by a network that remembers what it is called with."""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from genjax.core import moments
from genjax.families import clip_prior, registry
from genjax.families.clip_prior import Whitening
from genjax.families.interfaces import Conditions, Weights
from tests.families import losses, toy_clip
from tests.families.recorder import ALPHA, SCHEDULE, SIGMA, STEPS, keys_equal, normal, stream, uniform
from tests.families.recorder import unrolled as unrolled
from tests.families.toy_clip import CLIP, DIM, FROZEN, SPEC, TABLE

KEY = jax.random.key(8)
PARAMS = {"model": {"gain": jnp.float32(0.8)}}
MODEL = {"schedule": SCHEDULE, "network": {"width": 6, "depth": 2}, "text_dropout": 0.4, "scale": 2.0}
SAMPLING = {"sampler": {"name": "ddim"}, "num_steps": "4", "threshold": {"name": "static", "low": -0.9, "high": 0.8}}


class Call(NamedTuple):
    gain: Any
    x: Any
    t: Any
    states: Any
    mask: Any
    embed: Any


class Recorder:
    """In place of the transformer: keeps what it is called with, and answers with a known function of all of it."""

    def __init__(self, dim, **fields):
        self.fields, self._calls = {"dim": dim, **fields}, []

    @property
    def calls(self):
        jax.effects_barrier()
        return self._calls

    def init(self, key, *inputs):
        self.started = inputs
        return {"params": dict(PARAMS["model"])}

    def apply(self, variables, *inputs, train=False, rngs=None):
        call = Call(variables["params"]["gain"], *inputs)
        keys = {name: jax.random.key_data(key) for name, key in (rngs or {}).items()}

        def keep(call, keys):
            self._calls.append((*jax.tree.map(np.asarray, (call,)), train, jax.tree.map(np.asarray, keys)))

        jax.debug.callback(keep, call, keys, ordered=True)
        return answer(call)


def answer(call):
    told = 0.5 * (call.states * call.mask[..., None]).mean(axis=(1, 2)) + 0.01 * call.t
    return call.gain * call.x + told[:, None] + 0.7 * call.embed


@pytest.fixture
def build(monkeypatch):
    monkeypatch.setattr(clip_prior, "PriorTransformer", Recorder)

    def build(draw=(), **changes):
        settings = {**SAMPLING, "candidates": 3, **dict(draw)}
        family = registry.build("clip_prior", {**MODEL, **changes}, settings, SPEC, {"clip": CLIP})
        return family, family.evaluate.__self__.network

    return build


def embeddings(examples):
    colour = np.asarray(examples["image"], np.float64).mean(axis=(1, 2))
    return colour / np.linalg.norm(colour, axis=1, keepdims=True)


def caption(tokens, dropped):
    """(states, mask, embedding) that should be told; of empty captions as little as of those that are dropped."""
    tokens = np.asarray(tokens)
    kept = ~dropped & (tokens != 0).any(axis=1)
    first = TABLE[tokens[:, 0]]
    embed = first / np.linalg.norm(first, axis=1, keepdims=True) * kept[:, None]
    return TABLE[tokens], (tokens != 0) & kept[:, None], embed


def unmeasured(family):
    return family.init(KEY, toy_clip.batch(1))[1]


def fresh(keys, *folds):
    """Noise of each key, after these folds."""
    for fold in folds:
        keys = [jax.random.fold_in(key, fold) for key in keys]
    return np.stack([np.asarray(jax.random.normal(key, (DIM,)), np.float64) for key in keys])


def test_it_learns_the_scaled_embedding_under_noise_for_captions_of_which_a_share_is_left_out(build):
    family, network = build(dtype="bfloat16")
    assert network.fields == {"dim": DIM, "width": 6, "depth": 2, "dtype": "bfloat16"}
    examples = toy_clip.batch(2000)
    examples["tokens"] = examples["tokens"].at[3].set(0)
    extra = unmeasured(family)
    found = losses.jitted(family, PARAMS, examples, KEY, extra=extra, frozen=FROZEN)
    call, train, rngs = network.calls[0]
    t = np.floor(uniform(stream(KEY, "time"), 2000) * STEPS).astype(int)
    np.testing.assert_array_equal(call.t, t)
    x0 = 2.0 * embeddings(examples)
    noisy = ALPHA[t, None] * x0 + SIGMA[t, None] * normal(stream(KEY, "noise"), x0)
    np.testing.assert_allclose(call.x, noisy, atol=1e-5)
    dropped = uniform(stream(KEY, "text"), 2000) < 0.4
    assert dropped.mean() == pytest.approx(0.4, abs=0.04)
    for one, wanted in zip(call[3:], caption(examples["tokens"], dropped), strict=True):
        np.testing.assert_allclose(one, wanted, atol=1e-6)
    assert train and keys_equal(rngs["dropout"], stream(KEY, "dropout"))
    wanted = np.square(np.float64(answer(call)) - x0).mean()
    np.testing.assert_allclose(found.value, wanted, rtol=1e-4)
    assert found.metrics == {} and all(jax.tree.leaves(jax.tree.map(jnp.array_equal, found.extra, extra)))


def test_nothing_is_learned_while_embeddings_are_measured_and_all_are_whitened_after(build):
    """The last of the first batches fits mean and deviation; what comes later changes neither."""
    family, network = build(fit_steps=2)
    extra, seen, found = unmeasured(family), [], None
    for step in range(4):
        examples = toy_clip.batch(16, seed=step)
        if step < 2:
            seen.append(embeddings(examples))
        before = extra
        found = losses.jitted(family, PARAMS, examples, KEY, extra=extra, frozen=FROZEN, step=step)
        extra, call = found.extra, network.calls[-1][0]
        t = np.floor(uniform(stream(KEY, "time"), 16) * STEPS).astype(int)
        x0 = (embeddings(examples) - np.asarray(before.mean)) / np.asarray(before.std)
        np.testing.assert_allclose(
            call.x, ALPHA[t, None] * x0 + SIGMA[t, None] * normal(stream(KEY, "noise"), x0), atol=1e-4
        )
        assert (float(found.value) == 0) == (step < 2)
        whole = np.concatenate(seen)
        np.testing.assert_allclose(extra.moments.mean, whole.mean(axis=0), atol=1e-5)
        wanted = (np.zeros(DIM), np.full(DIM, 0.5)) if step == 0 else (whole.mean(axis=0), whole.std(axis=0))
        np.testing.assert_allclose(extra.mean, wanted[0], atol=1e-5)
        np.testing.assert_allclose(extra.std, wanted[1], rtol=1e-4)
    assert extra.moments.count == 32
    np.testing.assert_allclose(found.value, np.square(np.float64(answer(call)) - x0).mean(), rtol=1e-4)


WHITENING = Whitening(jnp.array([0.1, -0.2, 0.3, 0.0]), jnp.array([0.5, 0.4, 0.8, 1.5]), moments.empty(DIM))
WEIGHTS = Weights({"model": {"gain": jnp.float32(0.6)}}, WHITENING, FROZEN)


def test_evaluation_is_of_whole_captions_at_spread_times(build):
    family, network = build(text_dropout=1.0)
    examples = toy_clip.batch(8)
    evaluate = jax.jit(family.evaluate)
    found = evaluate(WEIGHTS, examples, KEY)
    call, train, rngs = network.calls[0]
    first = float(jax.random.uniform(stream(KEY, "time"), ()))
    t = np.floor((first + np.arange(8) / 8) % 1.0 * STEPS).astype(int)
    z = embeddings(examples)
    x0 = (z - np.asarray(WHITENING.mean)) / np.asarray(WHITENING.std)
    np.testing.assert_array_equal(call.t, t)
    np.testing.assert_allclose(
        call.x, ALPHA[t, None] * x0 + SIGMA[t, None] * normal(stream(KEY, "noise"), x0), atol=1e-5
    )
    for one, wanted in zip(call[3:], caption(examples["tokens"], np.zeros(8, bool)), strict=True):
        np.testing.assert_allclose(one, wanted, atol=1e-6)
    assert call.gain == np.float32(0.6) and not train and not rngs
    guess = np.float64(answer(call))
    np.testing.assert_allclose(found["loss"], np.square(guess - x0).mean(axis=1), rtol=1e-4)
    guess = guess * WHITENING.std + WHITENING.mean
    np.testing.assert_allclose(found["cosine"], (guess * z).sum(axis=1) / np.linalg.norm(guess, axis=1), rtol=1e-4)
    evaluate(WEIGHTS, {**examples, "present": jnp.arange(8) < 5}, KEY)
    spread = np.floor((first + np.arange(5) / 5) % 1.0 * STEPS)
    np.testing.assert_array_equal(network.calls[1][0].t[:5], spread, "padding takes no part of the range")


@pytest.mark.usefixtures("unrolled")
@pytest.mark.parametrize("scale", [pytest.param(None, marks=pytest.mark.slow), 2.5])
def test_the_best_of_several_guided_thresholded_draws_is_given_at_length_1(build, scale):
    family, network = build({"sampler": {"name": "ddim", "eta": 0.6}})
    tokens, index = toy_clip.batch(5)["tokens"].at[4].set(0), jnp.array([7, 2, 0, 11, 4])
    options = {} if scale is None else {"guidance_scale": jnp.float32(scale)}
    requested = Conditions(tokens=tokens, options=options)
    found = jax.jit(family.interface.sample_embeddings)(WEIGHTS, requested, index, KEY)
    told, nothing = caption(tokens, np.zeros(5, bool)), caption(tokens, np.ones(5, bool))
    for call, train, _ in network.calls:
        pairs = zip(call[3:], told, nothing, strict=True)
        for one, cond, null in pairs:
            np.testing.assert_allclose(one, cond if scale is None else np.concatenate([cond, null]), atol=1e-6)
        assert not train
    assert len(network.calls) == 12
    drawn = []
    for number in range(3):
        keys = [jax.random.fold_in(jax.random.fold_in(KEY, i), number) for i in index]
        x = fresh(keys, 0)
        for step, (cur, nxt) in enumerate(((39, 26), (26, 13), (13, 0), (0, None))):
            cond, null = (
                np.float64(answer(Call(np.float32(0.6), x, np.full(5, cur), *one))) for one in (told, nothing)
            )
            x0 = np.clip(cond if scale is None else null + scale * (cond - null), -0.9, 0.8)
            alpha, sigma = (1.0, 0.0) if nxt is None else (ALPHA[nxt], SIGMA[nxt])
            drawn_anew = 0.6 * sigma * np.sqrt(1 - (ALPHA[cur] * sigma / alpha / SIGMA[cur]) ** 2)
            eps = (x - ALPHA[cur] * x0) / SIGMA[cur]
            x = alpha * x0 + np.sqrt(sigma**2 - drawn_anew**2) * eps + drawn_anew * fresh(keys, 1, step, 1)
        x = x * WHITENING.std + WHITENING.mean
        drawn.append(x / np.linalg.norm(x, axis=1, keepdims=True))
    best = np.argmax((np.stack(drawn) * told[2]).sum(axis=2), axis=0)
    assert len(set(best[:4])) > 1
    np.testing.assert_allclose(found, np.stack(drawn)[best, np.arange(5)], atol=1e-4)
    assert family.interface.dim == DIM and dict(family.interface.options) == {"guidance_scale": 1.0}
