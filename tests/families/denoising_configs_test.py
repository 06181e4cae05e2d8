"""Configs of EDM, flow matching and DiT: each builds its family, and every variant's loss is a number of its batch."""

import importlib

import jax
import jax.numpy as jnp
import pytest

from genjax.core.tree import count_params
from genjax.families import registry
from genjax.typing import DataSpec
from tests.families import losses

PARAMETERS = {"edm_cifar10": 61_456_899, "dit_imagenet64": 457_840_672 + 32 * 1024 + 64 * 1025}
"""EDM's own network has 56M. DiT-L/4 of 3 channels: L/2 of 4 latents without its positions, but for 32 more numbers a
patch in and 64 out."""
KEY = jax.random.key(0)


def shapes(name, variant, num_classes):
    """(config, shapes of the parameters, shape of the loss); nothing is computed."""
    config = importlib.import_module(f"configs.{name}").get_config(variant)
    shape = (config.data.image_size, config.data.image_size, config.data.channels)
    family = registry.build(
        config.family, config.model.to_dict(), config.sampling.to_dict(), DataSpec(shape, num_classes)
    )
    batch = {"image": jnp.zeros((2, *shape)), "label": jnp.zeros(2, jnp.int32)}
    params, extra = jax.eval_shape(family.init, KEY, batch)

    def loss(params, extra, batch):
        return losses.compute(family, params, batch, KEY, extra=extra).value

    return config, params, jax.eval_shape(loss, params, extra, batch).shape


@pytest.mark.parametrize("name", [pytest.param("edm_cifar10", marks=pytest.mark.slow), "dit_imagenet64"])
def test_paper_sizes(name):
    _, params, loss = shapes(name, "", 10 if name == "edm_cifar10" else 1000)
    assert count_params(params) == PARAMETERS[name] and loss == ()


@pytest.mark.parametrize(
    ("name", "variant"),
    [
        ("edm_cifar10", "tiny"), ("edm_digits", ""), ("edm_digits", "unconditional"), ("flow_digits", "uniform"),
        ("flow_digits", "tiny"), ("dit_digits", ""), ("dit_digits", "tiny"), ("dit_imagenet64", "tiny"),
    ],
)  # fmt: skip
def test_variants(name, variant):
    config, params, loss = shapes(name, variant, 10)
    assert config.data.name == "digits" and count_params(params) < 1_000_000 and loss == ()
