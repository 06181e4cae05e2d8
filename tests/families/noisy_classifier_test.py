"""The classifier of noisy images: its loss, its accuracy by noise, and the gradient that guides."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from genjax import generate
from genjax.configs import classifier_digits
from genjax.families import noisy_classifier, registry
from genjax.families.interfaces import NoisyClassifier, Weights
from genjax.typing import DataSpec
from tests.families import losses
from tests.families.recorder import ALPHA, SCHEDULE, SIGMA, STEPS, each, keys_equal, normal, stream, uniform
from tests.families.recorder import unrolled as unrolled

SPEC = DataSpec((8, 8, 1), num_classes=10)
KEY = jax.random.key(0)


def build(spec=SPEC, **model):
    config = classifier_digits.get_config("tiny")
    config.model.network.update(channel_mult=(1,), attention_resolutions=())
    config.model.update(model)
    return registry.build(config.family, config.model.to_dict(), {}, spec)


def batch(count=8):
    image = jax.random.uniform(KEY, (count, 8, 8, 1), minval=-1, maxval=1)
    return {"image": image, "label": jnp.arange(count) % 10}


@pytest.fixture(scope="module")
def family():
    return build()


@pytest.fixture(scope="module")
def fresh(family):
    return jax.jit(family.init)(KEY, batch(1))[0]


@pytest.fixture(scope="module")
def weights(fresh):
    """Parameters with nothing left at zero, so that every input matters."""
    noise = np.random.default_rng(0)
    noisy = jax.tree.map(lambda leaf: leaf + 0.2 * noise.standard_normal(leaf.shape, np.float32), fresh)
    return Weights(noisy, (), {})


@pytest.fixture(scope="module")
def gradient(family):
    """Gradient of the summed log-probability by x_t."""

    def total(x_t, weights, t, label):
        return jnp.sum(family.interface.log_prob(weights, x_t, t, label))

    return jax.jit(jax.grad(total))


def test_untrained_loss_is_log_k(family, fresh):
    found = losses.jitted(family, fresh, batch(256), KEY)
    assert found.value == pytest.approx(np.log(10), abs=0.1)
    assert 0 <= found.metrics["accuracy"] <= 0.3 and found.extra == ()


def test_log_probs_are_a_distribution_over_labels(family, weights):
    x_t, t = batch(10)["image"], jnp.linspace(0.0, 999.0, 10)
    log_prob = jax.jit(family.interface.log_prob)
    chances = jnp.exp(jnp.stack([log_prob(weights, x_t, t, jnp.full(10, label)) for label in range(10)]))
    np.testing.assert_allclose(chances.sum(0), 1.0, rtol=1e-5)
    assert chances.std(0).min() > 1e-3, "the label matters"
    later = jnp.exp(log_prob(weights, x_t, t + 50, jnp.arange(10)))
    assert jnp.abs(later - jnp.diagonal(chances)).max() > 1e-4, "the time matters"


def test_gradient_does_not_depend_on_the_batch(gradient, weights):
    x_t, t, label = batch(6)["image"], jnp.linspace(0.0, 999.0, 6), jnp.arange(6)
    together = gradient(x_t, weights, t, label)
    among_others = gradient(x_t.at[3:].multiply(-1), weights, t.at[3:].add(7.0), label.at[3:].add(1))
    scale = float(jnp.abs(together[2]).max())
    assert scale > 1e-4
    np.testing.assert_allclose(together[2], among_others[2], atol=1e-5 * scale)
    assert jnp.abs(together[3:] - among_others[3:]).max() > 1e-2 * scale
    other = gradient(x_t, weights, t, label.at[2].set(9))
    assert jnp.abs(other[2] - together[2]).max() > 1e-2 * scale
    np.testing.assert_allclose(other[3], together[3], atol=1e-5 * scale)


def test_evaluation_has_one_time_in_each_quarter(family, weights):
    values = jax.jit(family.evaluate)(weights, batch(16), KEY)
    assert set(values) == {"loss", "accuracy", *(f"accuracy_q{i}" for i in (1, 2, 3, 4))}
    assert all(value.shape == (16,) for value in values.values())
    quarters = sum(values[f"accuracy_q{i}"] for i in (1, 2, 3, 4))
    np.testing.assert_allclose(quarters / 4, values["accuracy"])
    assert (values["loss"] > 0).all()


class Recorder:
    """In place of a network: keeps what it is called with; its logits are known."""

    calls: list = []

    def __init__(self, **fields):
        self.fields = fields

    def apply(self, variables, x, t, train=False, rngs=None):
        self.calls.append((np.asarray(variables["params"]["gain"]), np.asarray(x), np.asarray(t), train, rngs))
        return logits_of(variables["params"]["gain"], x, t)


def logits_of(gain, x, t):
    """Each class likes another pixel, and time the first classes."""
    return gain * x.reshape(len(x), -1)[:, :10] - 0.002 * t[:, None] * np.arange(10)


def log_probs(gain, x, t):
    logits = np.float64(logits_of(gain, x, t))
    return logits - np.log(np.exp(logits).sum(axis=1, keepdims=True))


@pytest.fixture
def recorded(monkeypatch):
    """(a family of a network that remembers, its weights, its calls)."""
    monkeypatch.setitem(noisy_classifier.NETWORKS, "recorder", Recorder)
    monkeypatch.setattr(Recorder, "calls", [])
    model = {"schedule": SCHEDULE, "network": {"name": "recorder", "width": 3}, "dtype": "bfloat16"}
    family = registry.build("noisy_classifier", model, {}, SPEC)
    made = family.evaluate.__self__.network
    assert made.fields == {"out_channels": 10, "dtype": "bfloat16", "width": 3}
    return family, Weights({"model": {"gain": jnp.float32(2.0)}}, (), {}), Recorder.calls


def test_it_learns_from_noisy_images_and_is_told_how_noisy(recorded):
    """Near the end of the schedule, where alpha is 0, nothing of the image is left."""
    family, weights, calls = recorded
    examples = batch(64)
    found = losses.compute(family, weights.params, examples, KEY)
    (_, x, t, train, rngs), label = calls[0], np.asarray(examples["label"])
    steps = np.floor(uniform(stream(KEY, "time"), 64) * STEPS).astype(int)
    x0 = np.float64(examples["image"])
    np.testing.assert_array_equal(t, steps)
    noisy = each(ALPHA[steps], x0) * x0 + each(SIGMA[steps], x0) * normal(stream(KEY, "noise"), x0)
    np.testing.assert_allclose(x, noisy, atol=1e-5)
    assert train and keys_equal(rngs["dropout"], stream(KEY, "dropout"))
    nats = log_probs(2.0, noisy, steps)
    np.testing.assert_allclose(found.value, -nats[np.arange(64), label].mean(), rtol=1e-5)
    np.testing.assert_allclose(found.metrics["accuracy"], (nats.argmax(axis=1) == label).mean())


def test_it_says_how_likely_a_label_is_at_a_time(recorded):
    family, weights, calls = recorded
    x, t, label = batch(8)["image"], jnp.linspace(3.0, 33.0, 8), jnp.arange(8)[::-1]
    found = family.interface.log_prob(weights, x, t, label)
    np.testing.assert_allclose(found, log_probs(2.0, np.asarray(x), np.asarray(t))[np.arange(8), label], rtol=1e-4)
    np.testing.assert_array_equal(calls[0][2], t)
    assert not calls[0][3] and family.interface.schedule.num_steps == STEPS


@pytest.mark.usefixtures("unrolled")
def test_evaluation_scores_each_quarter_of_the_schedule_under_noise_of_its_own(recorded):
    family, weights, calls = recorded
    examples = batch(64)
    found = family.evaluate(weights, examples, KEY)
    x0, label, scores = np.float64(examples["image"]), np.asarray(examples["label"]), []
    noises = []
    for quarter, (_, x, t, train, rngs) in enumerate(calls):
        steps = t.astype(int)
        assert (steps // (STEPS // 4) == quarter).all() and len(set(steps)) == STEPS // 4 and not train and rngs is None
        noises.append(((x - each(ALPHA[steps], x) * x0) / each(SIGMA[steps], x)).ravel())
        scores.append(log_probs(2.0, x, t))
    np.testing.assert_allclose(np.std(noises, axis=1), 1, atol=0.05)
    assert np.abs(np.corrcoef(noises) - np.eye(4)).max() < 0.1
    correct = [score.argmax(axis=1) == label for score in scores]
    for quarter in range(4):
        np.testing.assert_array_equal(found[f"accuracy_q{quarter + 1}"], correct[quarter])
    np.testing.assert_allclose(found["accuracy"], np.mean(correct, axis=0))
    nats = [-score[np.arange(64), label] for score in scores]
    np.testing.assert_allclose(found["loss"], np.mean(nats, axis=0), rtol=1e-4)
    # Of the steps of a quarter each has one example: padding takes no part of the range.
    count = STEPS // 4
    family.evaluate(weights, {**examples, "present": jnp.arange(64) < count}, KEY)
    assert all(len(set(t[:count].astype(int))) == count for _, _, t, *_ in calls[4:])


def test_it_is_no_sampler(family, weights):
    with pytest.raises(ValueError, match="draws no images.*--guide=classifier"):
        generate.require_sampler(family.interface, "noisy_classifier")
    assert isinstance(family.interface, NoisyClassifier)
    assert family.interface.image_shape == (8, 8, 1) and family.interface.num_classes == 10


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"spec": DataSpec((8, 8, 1))}, "needs data with class labels"),
        ({"network": {"name": "perceptron"}}, "unknown network 'perceptron'"),
        ({"colour": "red"}, r"noisy_classifier family: unknown \['colour'\]"),
    ],
)
def test_refusals(changes, words):
    with pytest.raises(ValueError, match=words):
        build(**changes)
