"""The configs of VQ-VAE and VQ-VAE-2: grids and parameter counts at paper size, and their small sisters."""

import importlib

import jax
import jax.numpy as jnp
import pytest

from genjax.core.tree import count_params
from genjax.families import registry
from genjax.typing import DataSpec

# (config, variant) -> (grids coarse to fine, parameters without codebooks: summed up by hand, layer by layer)
PAPERS = {
    ("vqvae_imagenet128", ""): (((32, 32),), 4_439_107),
    ("vqvae_cifar10", ""): (((8, 8),), 662_723),
    ("vqvae2_imagenet256", ""): (((32, 32), (64, 64)), 1_716_803),
    ("vqvae2_imagenet256", "1024"): (((32, 32), (64, 64), (128, 128)), 3_401_859),
}


def module(name):
    return importlib.import_module(f"configs.{name}")


def family_of(config):
    spec = DataSpec((config.data.image_size, config.data.image_size, config.data.channels))
    return registry.build(config.family, config.model.to_dict(), {}, spec), spec


@pytest.mark.parametrize(("name", "variant"), PAPERS)
def test_paper_size(name, variant):
    grids, parameters = PAPERS[name, variant]
    family, spec = family_of(module(name).get_config(variant))
    assert family.interface.grids == grids and family.interface.num_codes == 512
    batch = {"image": jax.ShapeDtypeStruct((1, *spec.image_shape), jnp.float32)}
    params, extra = jax.eval_shape(family.init, jax.random.key(0), batch)
    assert count_params(params) == parameters
    books = extra if isinstance(extra[0], tuple) else (extra,)
    assert [book.vectors.shape for book in books] == [(512, 64)] * len(grids)


def test_codebook_by_loss_is_a_parameter():
    family, spec = family_of(module("vqvae_imagenet128").get_config("loss"))
    batch = {"image": jax.ShapeDtypeStruct((1, *spec.image_shape), jnp.float32)}
    params, extra = jax.eval_shape(family.init, jax.random.key(0), batch)
    assert count_params(params) == 4_439_107 + 512 * 64 and extra == ()


@pytest.mark.parametrize(
    "name", ["vqvae_digits", "vqvae2_digits", "vqvae_imagenet128", "vqvae_cifar10", "vqvae2_imagenet256"]
)
def test_tiny_is_small_and_of_the_same_kind(name):
    config, tiny = module(name).get_config(), module(name).get_config("tiny")
    family, spec = family_of(tiny)
    batch = {"image": jax.ShapeDtypeStruct((1, *spec.image_shape), jnp.float32)}
    assert count_params(jax.eval_shape(family.init, jax.random.key(0), batch)[0]) < 50_000
    assert tiny.data.name == "digits" and tiny.training.num_steps == 20
    assert len(family.interface.grids) == len(family_of(config)[0].interface.grids)
    assert tiny.model.codebook.learning == config.model.codebook.learning
