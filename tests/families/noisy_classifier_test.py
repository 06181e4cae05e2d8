"""The classifier of noisy images: its loss, its accuracy by noise, and the gradient that guides."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from configs import classifier_digits
from genjax.diffusion import schedules
from genjax.families import noisy_classifier, registry
from genjax.families.base import LossInputs, NoisyClassifier, Weights
from genjax.typing import DataSpec

SPEC = DataSpec((8, 8, 1), num_classes=10)
KEY = jax.random.key(0)


def build(spec=SPEC, **model):
    config = classifier_digits.get_config("tiny")
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
    inputs = LossInputs({}, (), {}, batch(256), KEY, jnp.int32(0))
    value, outputs = jax.jit(family.players[0].loss)(fresh["model"], inputs)
    assert value == pytest.approx(np.log(10), abs=0.1)
    assert 0 <= outputs.metrics["accuracy"] <= 0.3 and outputs.extra == ()


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
    alone = gradient(x_t[2:3], weights, t[2:3], label[2:3])
    scale = float(jnp.abs(together[2]).max())
    assert scale > 1e-4
    np.testing.assert_allclose(together[2:3], alone, atol=1e-5 * scale)
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


class Clock:
    """In place of a network: it says in which quarter of 1000 steps it was asked."""

    def apply(self, variables, x, t):
        return 100 * jax.nn.one_hot((t // 250).astype(int), 10)


def test_quarters_are_of_the_schedule():
    model = noisy_classifier.Model(SPEC, Clock(), schedules.cosine())
    values = noisy_classifier.evaluate(
        model, Weights({"model": {}}, (), {}), {**batch(16), "label": jnp.full(16, 2)}, KEY
    )
    for quarter in (1, 2, 3, 4):
        np.testing.assert_array_equal(values[f"accuracy_q{quarter}"], quarter == 3)
    np.testing.assert_array_equal(values["accuracy"], 0.25)


def test_it_is_no_sampler(family, weights):
    with pytest.raises(ValueError, match="draws no pictures.*--guide=classifier"):
        family.sample(weights, {"index": jnp.arange(2)}, KEY)
    assert isinstance(family.interface, NoisyClassifier)


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
