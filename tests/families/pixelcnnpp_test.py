"""The family of PixelCNN++: its loss is bits/dim, and its sampler draws what the network says, pixel by pixel."""

import importlib

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from genjax.core import tree
from genjax.families import registry
from genjax.families.interfaces import Conditions, ImageSampler, Weights
from genjax.losses import mixture_logistics
from genjax.nn.pixelcnnpp import PixelCNNpp
from genjax.typing import DataSpec
from tests.families import losses

KEY = jax.random.key(0)
SHAPE = (4, 6, 3)


def build(shape=SHAPE, num_classes=3, **model):
    config = importlib.import_module("configs.pixelcnnpp_digits").get_config("tiny")
    config.model.update({"conditional": True, "num_components": 2} | model)
    spec = DataSpec(shape, num_classes=num_classes)
    return registry.build(config.family, config.model.to_dict(), config.sampling.to_dict(), spec)


def batch(shape=SHAPE, count=8):
    image = jnp.round(jax.random.uniform(KEY, (count, *shape)) * 255) / 127.5 - 1
    return {"image": image, "label": jnp.arange(count) % 3}


@pytest.fixture(scope="module")
def family():
    return build()


@pytest.fixture(scope="module")
def weights(family):
    """Random, around gains of 1: nothing is zero, so everything matters."""
    noise = np.random.default_rng(0)
    shapes = jax.eval_shape(family.init, KEY, batch())[0]
    params = tree.map_with_path(
        lambda name, leaf: 0.2 * noise.standard_normal(leaf.shape, np.float32) + name.endswith("gain"), shapes
    )
    return Weights(params, (), {})


@pytest.fixture(scope="module")
def sample(family):
    return jax.jit(family.interface.sample)


@pytest.fixture(scope="module")
def evaluate(family):
    return jax.jit(family.evaluate)


@pytest.fixture(scope="module")
def drawn(sample, weights):
    conditions = (Conditions(label=jnp.array([0, 1, 2, 0])), jnp.arange(4))
    return np.asarray(sample(weights, *conditions, KEY).images)


def naive_samples(params, label, index):
    """By a whole pass of the network for each pixel."""
    height, width, channels = SHAPE
    out = mixture_logistics.num_params(channels, 2)
    network = PixelCNNpp(out, width=8, num_res_blocks=1, num_levels=2, num_classes=3, dropout=0.5)
    keys = jax.vmap(lambda i: jax.random.fold_in(KEY, i))(index)

    def draw_pixel(images, place):
        row, column = place // width, place % width
        raw = network.apply({"params": params["model"]}, images, label)[:, row, column][:, None, None]
        own = jax.vmap(lambda key: jax.random.fold_in(key, place))(keys)
        return images.at[:, row, column].set(mixture_logistics.sample(raw, channels, own)[:, 0, 0]), None

    blank = jnp.zeros((len(index), *SHAPE))
    return jax.jit(lambda: jax.lax.scan(draw_pixel, blank, jnp.arange(height * width))[0])()


def test_cached_sampling_equals_naive_sampling(weights, drawn):
    naive = naive_samples(weights.params, jnp.array([0, 1, 2, 0]), jnp.arange(4))
    np.testing.assert_array_equal(drawn, naive)
    assert drawn.std() > 0.1 and (drawn[0] != drawn[3]).any(), "each index has its own noise"


def test_samples_do_not_depend_on_the_batch(sample, weights, drawn):
    others = sample(weights, Conditions(label=jnp.array([2, 2, 1, 1])), jnp.array([2, 9, 30, 7]), KEY).images
    np.testing.assert_array_equal(others[:1], drawn[2:3])


def test_evaluation_is_the_exact_bits_per_dim(evaluate, weights):
    data = batch()
    values = evaluate(weights, data, KEY)
    np.testing.assert_allclose(values["bits_per_dim"], values["nll_nats"] / np.log(2) / np.prod(SHAPE), rtol=1e-5)
    other = evaluate(weights, {**data, "label": (data["label"] + 1) % 3}, KEY)
    assert jnp.abs(other["nll_nats"] - values["nll_nats"]).max() > 1e-2, "the label matters"


def test_loss_is_bits_per_dim_with_dropout(evaluate, weights):
    data = batch()
    exact = evaluate(weights, data, KEY)["bits_per_dim"].mean()
    for rate in (0.0, 0.5):
        family = build(network={"width": 8, "num_res_blocks": 1, "num_levels": 2, "dropout": rate})
        found = losses.jitted(family, weights.params, data, KEY)
        assert (found.extra, found.metrics) == ((), {})
        assert (found.value == pytest.approx(float(exact), rel=1e-5)) is (rate == 0.0)


def test_interface():
    family = build(conditional=False, num_classes=0)
    assert isinstance(family.interface, ImageSampler)
    assert family.interface.num_classes == 0 and family.interface.image_shape == SHAPE
    assert build().interface.num_classes == 3


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"num_classes": 0}, "conditional=True needs data with class labels"),
        ({"shape": (4, 4, 2)}, "1 or 3 channels, and the images have 2"),
        ({"colour": "red"}, r"pixelcnnpp family: unknown \['colour'\]"),
    ],
)
def test_refusals(changes, words):
    with pytest.raises(ValueError, match=words):
        build(**changes)


@pytest.mark.parametrize(
    ("name", "other"), [("pixelcnnpp_digits", "unconditional"), ("pixelcnnpp_cifar10", "conditional")]
)
def test_configs(name, other):
    module = importlib.import_module(f"configs.{name}")
    assert module.get_config(other).model.conditional is (other == "conditional")
    assert module.get_config().model.conditional is (other != "conditional")
    assert module.get_config("tiny").training.num_steps == 20
