"""The classifier of clean images: its loss, from scratch and from a pretrained network, and refusals."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from genjax import generate
from genjax.configs import beit_finetune_imagenet
from genjax.core.tree import count_params
from genjax.families import registry
from genjax.families.interfaces import ImageClassifier, Weights
from genjax.typing import DataSpec
from tests.families import losses

SPEC = DataSpec((8, 8, 1), num_classes=10)
KEY = jax.random.key(0)


def build(spec=SPEC, **model):
    config = beit_finetune_imagenet.get_config("tiny")
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
    noise = np.random.default_rng(0)
    noisy = jax.tree.map(lambda leaf: leaf + 0.3 * noise.standard_normal(leaf.shape, np.float32), fresh)
    return Weights(noisy, (), {})


def test_untrained_loss_is_log_k(family, fresh):
    found = losses.jitted(family, fresh, batch(), KEY)
    assert found.value == pytest.approx(np.log(10), abs=1e-2) and found.extra == ()


def test_logits_and_evaluation_are_of_each_example(family, weights):
    assert isinstance(family.interface, ImageClassifier) and family.interface.num_classes == 10
    logits = jax.jit(family.interface.logits)(weights, batch()["image"])
    values = jax.jit(family.evaluate)(weights, batch(), KEY)
    assert set(values) == {"nats", "accuracy"} and logits.shape == (8, 10)
    np.testing.assert_array_equal(values["accuracy"], logits.argmax(-1) == batch()["label"])


def test_it_starts_from_a_beit_with_its_own_head(family, fresh):
    blocks = {name: value for name, value in fresh["model"]["trunk"].items()}
    shared = {"table": jnp.ones_like(blocks["block_0"]["position_bias"]["table"])}
    other = {name: jax.tree.map(lambda leaf: leaf + 1, value) for name, value in blocks.items()}
    for name in ("block_0", "block_1"):
        other[name] = {field: value for field, value in other[name].items() if field != "position_bias"}
    other |= {"position_bias": shared, "mask_token": jnp.ones((1, 16))}
    adopted = family.adopt(fresh, {"model": {"trunk": other, "norm_out": {}, "head": {}}})
    assert jax.tree.map(jnp.shape, adopted) == jax.tree.map(jnp.shape, fresh)
    np.testing.assert_array_equal(adopted["model"]["trunk"]["block_1"]["position_bias"]["table"], shared["table"])
    np.testing.assert_array_equal(adopted["model"]["head"]["kernel"], fresh["model"]["head"]["kernel"])
    with pytest.raises(ValueError, match="a run of the family beit or image_classifier"):
        family.adopt(fresh, {"generator": {}})


def test_the_papers_network():
    config = beit_finetune_imagenet.get_config()
    family = registry.build(config.family, config.model.to_dict(), {}, DataSpec((224, 224, 3), num_classes=1000))
    params = jax.eval_shape(family.init, KEY, {"image": jnp.zeros((1, 224, 224, 3))})[0]
    assert count_params(params) == 86_530_984


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"spec": DataSpec((8, 8, 1))}, "needs data with class labels"),
        ({"spec": DataSpec((9, 9, 1), num_classes=2)}, "patches of 2 pixels don't divide images of 9x9"),
        ({"colour": "red"}, r"image_classifier family: unknown \['colour'\]"),
    ],
)
def test_refusals(changes, words):
    with pytest.raises(ValueError, match=words):
        build(**changes)


def test_it_draws_no_images(family, weights):
    with pytest.raises(ValueError, match="draws no images"):
        generate.require_sampler(family.interface, "image_classifier")
