"""The configs of the papers build families with exactly the published numbers of parameters."""

import importlib

import jax
import jax.numpy as jnp
import pytest

from genjax.core.tree import count_params
from genjax.families import registry
from genjax.typing import DataSpec

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
    "adm_lsun256": 552_814_086,
    "adm_upsample_imagenet256": 311_795_910,
    "adm_upsample_imagenet512": 308_835_270,
    "iddpm_upsample_imagenet256": 279_792_390,
    "adm_classifier_imagenet64": 65_438_568,
    "adm_classifier_imagenet128": 42_568_040,
    "adm_classifier_imagenet256": 54_096_360,
    "adm_classifier_imagenet512": 54_448_360,
}


def count(config, num_classes: int) -> int:
    """Parameters of the family that a config describes; nothing is computed."""
    shape = (config.data.image_size, config.data.image_size, config.data.channels)
    family = registry.build(
        config.family, config.model.to_dict(), config.sampling.to_dict(), DataSpec(shape, num_classes)
    )
    batch = {"image": jnp.zeros((1, *shape)), "label": jnp.zeros((1,), jnp.int32)}
    return count_params(jax.eval_shape(family.init, jax.random.key(0), batch)[0])


OF_EACH_KIND = (
    "ddpm_cifar10",
    "iddpm_cifar10",
    "iddpm_imagenet64_cond",
    "adm_imagenet64",
    "adm_upsample_imagenet256",
    "adm_classifier_imagenet64",
)
"""Counted by default."""
NAMES = [pytest.param(name, marks=[] if name in OF_EACH_KIND else pytest.mark.slow) for name in PUBLISHED]


@pytest.mark.parametrize("name", NAMES)
def test_published_count(name):
    config = importlib.import_module(f"configs.{name}").get_config()
    assert count(config, num_classes=1000) == PUBLISHED[name]


@pytest.mark.parametrize("name", NAMES)
def test_tiny_is_small_and_of_the_same_kind(name):
    module = importlib.import_module(f"configs.{name}")
    config, tiny = module.get_config(), module.get_config("tiny")
    assert tiny.data.name == "digits" and count(tiny, num_classes=10) < 300_000
    kept = ("adaptive_norm", "resblock_updown", "new_attention_order", "variant", "dropout", "time_scale")
    for field in kept:
        assert tiny.model.network[field] == config.model.network[field]
    assert tiny.model.schedule == config.model.schedule
    assert tiny.sampling.get("sampler") == config.sampling.get("sampler")
