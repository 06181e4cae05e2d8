"""The family of RealNVP: bits/dim of dequantized images, samples by number, and what is refused."""

import importlib

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from genjax.core import images, rng
from genjax.families import registry
from genjax.families.interfaces import Conditions, ImageSampler
from genjax.nn.real_nvp import RealNVP
from genjax.typing import DataSpec
from tests.families import losses, perturbed
from tests.families.draws import draws, repeated

KEY = jax.random.key(4)
SHAPE = (4, 4, 3)


def build(shape=SHAPE, parents=None, **model):
    config = importlib.import_module("configs.real_nvp_digits").get_config("tiny")
    config.model.network.update(num_couplings=1, num_res_blocks=0)
    spec = DataSpec(shape)
    return registry.build(config.family, config.model.to_dict() | model, config.sampling.to_dict(), spec, parents or {})


@pytest.fixture(scope="module")
def family():
    return build()


@pytest.fixture(scope="module")
def weights(family):
    """Random, so that everything matters."""
    return perturbed.weights(family, batch(), scale=0.2)


def batch(count=6):
    levels = np.random.default_rng(1).integers(0, 256, (count, *SHAPE))
    return {"image": jnp.asarray(levels / 127.5 - 1, jnp.float32)}


def network():
    return RealNVP(width=4, num_res_blocks=0, num_scales=2, num_couplings=1)


def test_loss_and_evaluation_are_bits_of_dequantized_images(family, weights):
    values = jax.jit(family.evaluate)(weights, batch(), KEY)
    apply = jax.jit(network().apply)
    z, log_det = apply({"params": weights.params["model"]}, images.dequantize(batch()["image"], KEY))
    z, log_det = np.asarray(z, np.float64), np.asarray(log_det, np.float64)
    nats = -0.5 * (z**2 + np.log(2 * np.pi)).sum((1, 2, 3)) + log_det
    wanted = -nats / np.log(2) / 48 + np.log2(127.5)
    np.testing.assert_allclose(values["bits_per_dim"], wanted, rtol=1e-5)
    found = losses.jitted(family, weights.params, batch(), KEY)
    assert (found.extra, found.metrics, list(values)) == ((), {}, ["bits_per_dim"])
    assert found.value == pytest.approx(wanted.mean(), rel=1e-5)


def test_samples_go_back_to_their_noise_and_do_not_depend_on_the_batch(family, weights):
    weights = weights._replace(params=jax.tree.map(lambda leaf: 0.5 * leaf, weights.params))
    sample = jax.jit(family.interface.sample)
    drawn = sample(weights, Conditions(), jnp.arange(5), KEY).images
    assert drawn.shape == (5, *SHAPE) and jnp.abs(drawn).max() <= 1 and drawn.std() > 0.1
    among_others = sample(weights, Conditions(), jnp.array([3, 9, 30, 7, 11]), KEY).images
    np.testing.assert_allclose(among_others[0], drawn[3], atol=1e-5)
    z = rng.normal_of_samples(KEY, jnp.arange(5), SHAPE)
    variables = {"params": weights.params["model"]}
    back = jax.jit(lambda z: network().apply(variables, z, method="inverse"))(z)
    assert (jnp.abs(back) > 1).any(), "some of the noise is beyond the margins"
    np.testing.assert_allclose(drawn, jnp.clip(back, -1, 1), atol=1e-5)
    np.testing.assert_allclose(jax.jit(network().apply)(variables, back)[0], z, atol=1e-3)


def test_every_draw_has_a_key_of_its_own(family, weights):
    found = draws(lambda key: family.evaluate(weights, batch(), key), KEY)
    assert len(found) == 1 and not repeated(found)


def test_interface(family):
    assert isinstance(family.interface, ImageSampler)
    assert (family.interface.image_shape, family.interface.num_classes) == (SHAPE, 0)
    assert [player.name for player in family.players] == ["model"]


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"colour": "red"}, r"config.model of the real_nvp family: unknown \['colour'\]"),
        ({"parents": {"tokenizer": None}}, "real_nvp builds on no other stage; remove config.stages.tokenizer"),
    ],
)
def test_refusals(changes, words):
    with pytest.raises(ValueError, match=words):
        build(**changes)


def test_images_that_cannot_be_halved_are_refused_at_the_start():
    with pytest.raises(ValueError, match="images of 5x4 can't be halved 1 times"):
        jax.eval_shape(build((5, 4, 1)).init, KEY, {"image": jnp.zeros((2, 5, 4, 1))})
