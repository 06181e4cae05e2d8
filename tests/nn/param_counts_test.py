"""The configs of the papers have exactly the published numbers of parameters, and their tiny variants run."""

import importlib

import jax
import jax.numpy as jnp
import pytest

from genjax.core.tree import count_params
from genjax.nn.unet import UNet

PUBLISHED = {
    "ddpm_cifar10": 35_746_307,
    "ddpm_lsun256": 113_673_219,
    "iddpm_cifar10": 52_546_438,
    "iddpm_imagenet64": 121_063_942,
    "iddpm_imagenet64_cond": 273_049_350,
    "adm_imagenet64": 295_904_454,
    "adm_imagenet128": 421_529_606,
    "adm_imagenet256": 553_838_086,
    "adm_imagenet512": 558_997_638,
}
NUM_CLASSES = 1000


def unet_of(config) -> UNet:
    """The network that a config describes."""
    fields = {**config.model.network}
    assert fields.pop("name") == "unet"
    return UNet(
        out_channels=config.data.channels * (2 if config.model.learned_variance else 1),
        num_classes=NUM_CLASSES if config.model.conditional else 0,
        dtype=config.model.dtype,
        **fields,
    )


def inputs_of(config) -> tuple:
    """x, t and, where the model is conditional, label, for one picture of the config."""
    size = config.data.image_size
    label = (jnp.zeros((1,), jnp.int32),) if config.model.conditional else ()
    return jnp.zeros((1, size, size, config.data.channels)), jnp.zeros((1,)), *label


@pytest.mark.parametrize("name", PUBLISHED)
def test_published_count(name):
    config = importlib.import_module(f"configs.{name}").get_config()
    shapes = jax.eval_shape(unet_of(config).init, jax.random.key(0), *inputs_of(config))
    assert count_params(shapes) == PUBLISHED[name]


@pytest.mark.parametrize("name", PUBLISHED)
def test_tiny_is_small_and_of_the_same_kind(name):
    module = importlib.import_module(f"configs.{name}")
    config, tiny = module.get_config(), module.get_config("tiny")
    shapes = jax.eval_shape(unet_of(tiny).init, jax.random.key(0), *inputs_of(tiny))
    # The label table of 1000 rows is most of a tiny conditional model.
    assert count_params(shapes) < 300_000
    kept = ("adaptive_norm", "resblock_updown", "new_attention_order", "variant", "dropout", "time_scale")
    for field in kept:
        assert tiny.model.network[field] == config.model.network[field]
    assert tiny.model.schedule == config.model.schedule
    assert tiny.data.name == "digits"


def test_unknown_variant_is_refused():
    with pytest.raises(ValueError, match="'huge'.*tiny"):
        importlib.import_module("configs.ddpm_cifar10").get_config("huge")
