"""DALL-E's dVAE: the relaxation, the objective and its schedules, codes, refusals, and the published size."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from genjax import generate
from genjax.configs import dvae_dalle, dvae_digits
from genjax.core.tree import count_params
from genjax.families import dvae, registry
from genjax.families.interfaces import Tokenizer
from genjax.families.terms import code_shares, summarize_shares
from genjax.typing import DataSpec
from tests.families import perturbed

SPEC = DataSpec((8, 8, 1), num_classes=10)
KEY = jax.random.key(0)
IMAGES = jax.random.uniform(KEY, (4, 8, 8, 1), minval=-1, maxval=1)


def build(spec=SPEC, **model):
    config = dvae_digits.get_config("tiny")
    config.model.update(model)
    return registry.build(config.family, config.model.to_dict(), {}, spec)


@pytest.fixture(scope="module")
def family():
    return build()


@pytest.fixture(scope="module")
def weights(family):
    return perturbed.weights(family, {"image": IMAGES})


def test_published_size():
    config = dvae_dalle.get_config()
    family = registry.build(config.family, config.model.to_dict(), {}, DataSpec((256, 256, 3)))
    params = jax.eval_shape(family.init, KEY, {"image": jnp.zeros((1, 256, 256, 3))})[0]["model"]
    assert count_params(params["encoder"]) == 53_786_240
    assert count_params(params["decoder"]) == 43_829_766
    assert family.interface.grids == ((32, 32),) and family.interface.num_codes == 8192


def test_schedules_of_the_paper():
    config = dvae_dalle.get_config()
    settings = dvae.Settings(**config.model.to_dict())
    for step, temperature, weight in ((0, 1, 0), (2_500, None, 3.3), (5_000, None, 6.6), (75_000, 17 / 32, 6.6)):
        values = dvae.schedules(settings, jnp.int32(step))
        assert values[1] == pytest.approx(weight, rel=1e-5)
        assert temperature is None or values[0] == pytest.approx(temperature, rel=1e-5)
    assert dvae.schedules(settings, jnp.int32(400_000))[0] == pytest.approx(1 / 16)


def test_relaxed_draws_are_on_the_simplex_and_categorical_in_the_limit():
    logits = jnp.broadcast_to(jnp.log(jnp.asarray([0.5, 0.3, 0.2])), (1, 100, 100, 3))
    for temperature in (1.0, 1e-3):
        y = dvae.relax(logits, jnp.float32(temperature), KEY)
        np.testing.assert_allclose(y.sum(-1), 1.0, rtol=1e-5)
    assert (y.max(-1) > 0.999).mean() > 0.98
    np.testing.assert_allclose(y.mean((0, 1, 2)), [0.5, 0.3, 0.2], atol=0.015)
    # Gumbel noise of the same key keeps its order, whatever the temperature.
    soft = dvae.relax(logits, jnp.float32(1.0), KEY)
    np.testing.assert_array_equal(soft.argmax(-1), y.argmax(-1))


def test_usage_and_perplexity():
    def metrics(codes):
        return summarize_shares({"shares": code_shares(jnp.asarray(codes).reshape(1, 2, -1), 8).mean})

    even, one = metrics([0, 1, 2, 3] * 2), metrics([5] * 8)
    assert even["usage"] == 0.5 and even["perplexity"] == pytest.approx(4.0)
    assert one["usage"] == 1 / 8 and one["perplexity"] == pytest.approx(1.0)


def test_codes_and_back(family, weights):
    tokenizer = family.interface
    assert isinstance(tokenizer, Tokenizer) and tokenizer.grids == ((4, 4),)
    (codes,) = jax.jit(tokenizer.encode)(weights, IMAGES)
    assert codes.shape == (4, 4, 4) and codes.dtype == jnp.int32
    assert 0 <= codes.min() and codes.max() < tokenizer.num_codes == 16
    images = jax.jit(tokenizer.decode)(weights, (codes,))
    assert images.shape == IMAGES.shape and jnp.abs(images).max() <= 1
    np.testing.assert_allclose(jax.jit(family.reconstruct)(weights, IMAGES, KEY), images, atol=1e-6)
    other = jax.jit(tokenizer.decode)(weights, ((codes + 1) % 16,))
    assert jnp.abs(other - images).max() > 1e-4, "codes matter"


def test_evaluation(family, weights):
    values = jax.jit(family.evaluate)(weights, {"image": IMAGES}, KEY)
    assert set(values) == {"elbo_nats", "bits_per_dim", "kl", "psnr"}
    assert all(value.shape == (4,) for value in values.values())
    expected = -(values["elbo_nats"] / 64 + np.log(0.8 / 255)) / np.log(2)
    np.testing.assert_allclose(values["bits_per_dim"], expected, rtol=1e-5)


def test_it_is_no_sampler(family, weights):
    with pytest.raises(ValueError, match="draws no images.*code_prior"):
        generate.require_sampler(family.interface, "dvae")


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"spec": DataSpec((7, 8, 1))}, "7x8 can't be coded at 1/2"),
        ({"temperature": {"start": 1.0, "end": 0.0, "num_steps": 1}}, "temperature.end must be above 0, not 0.0"),
        ({"colour": "red"}, r"dvae family: unknown \['colour'\]"),
    ],
)
def test_refusals(changes, words):
    with pytest.raises(ValueError, match=words):
        build(**changes)
