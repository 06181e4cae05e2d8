"""Diffusion models that upsample: what their loss and their samples depend on."""

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from genjax.configs import cascade_digits_pipeline as cascade_digits
from genjax.families import registry
from genjax.families.interfaces import Conditions, Weights
from genjax.typing import DataSpec
from tests.families import losses, perturbed
from tests.families.requested import changed, conditions_of

SPEC = DataSpec((8, 8, 1), num_classes=10)
KEY = jax.random.key(0)


def tiny():
    """The config of a network of one level without attention."""
    config = cascade_digits.upsampler(16, "tiny")
    config.model.network.update(channel_mult=(1,), middle_attention=False)
    return config


def build(low_res=(), sampling=(), spec=SPEC, **model):
    config = tiny()
    config.model.update(model)
    config.model.low_res.update({"size": 4, "crop_fraction": 1.0, **dict(low_res)})
    config.sampling.update({"aug_level": 0.0, "num_steps": "2", **dict(sampling)})
    return registry.build(config.family, config.model.to_dict(), config.sampling.to_dict(), spec)


def batch(count=4, key=KEY):
    image = jax.random.uniform(key, (count, 8, 8, 1), minval=-1, maxval=1)
    return {"image": image, "label": jnp.arange(count) % 10}


def weights(family):
    """Parameters with nothing left at zero, so that every input matters."""
    return perturbed.noise(family, batch(1), scale=0.2)


def conditions(count=3, **others):
    low_res = jax.random.uniform(jax.random.key(1), (count, 4, 4, 1), minval=-1, maxval=1)
    return conditions_of(low_res=low_res, **others), jnp.arange(count)


@pytest.fixture(scope="module")
def plain():
    """(a family, its weights, its sampling compiled)."""
    family = build()
    return family, weights(family), jax.jit(family.interface.sample)


def test_the_interface_says_what_is_upsampled():
    interface = build().interface
    assert interface.low_res_shape == (4, 4, 1) and interface.image_shape == (8, 8, 1)
    assert interface.num_classes == 0 and set(interface.options) == {"guidance_scale", "aug_level"}
    assert set(build({"max_aug_level": 0.0}).interface.options) == {"guidance_scale"}


def test_parameters_are_those_of_the_plain_network_but_for_the_first_convolution_and_the_level():
    def shapes(family):
        return jax.tree.map(jnp.shape, jax.eval_shape(family.init, KEY, batch(1))[0]["model"])

    level, none = shapes(build()), shapes(build({"max_aug_level": 0.0}))
    plain = tiny()
    plain.sampling.aug_level = 0.0
    plain.model.low_res = {}
    plain = shapes(registry.build("diffusion", plain.model.to_dict(), plain.sampling.to_dict(), SPEC))
    assert set(level) - set(none) == {"aug_level_embed"}
    assert none["conv_in"]["kernel"] == (3, 3, 2, 8) and plain["conv_in"]["kernel"] == (3, 3, 1, 8)
    for tree in (level, none, plain):
        tree.pop("conv_in"), tree.pop("aug_level_embed", None)
    assert level == none == plain


def test_samples_depend_on_the_small_image_on_the_level_and_on_the_index_alone(plain):
    _, parts, sample = plain
    given = conditions()
    many = sample(parts, *given, KEY).images
    other = sample(parts, changed(given[0], low_res=given[0].low_res.at[1].add(0.5)), given[1], KEY).images
    np.testing.assert_array_equal(other[::2], many[::2])
    assert float(jnp.abs(other[1] - many[1]).max()) > 1e-3
    elsewhere, index = given[0]._replace(low_res=given[0].low_res[::-1].at[1:].add(0.5)), jnp.array([2, 9, 7])
    one = sample(parts, elsewhere, index, KEY).images
    np.testing.assert_allclose(one[0], many[2], atol=1e-4)
    levels = [sample(parts, *conditions(aug_level=jnp.float32(x)), KEY).images for x in (0.0, 0.3)]
    np.testing.assert_array_equal(levels[0], many)
    assert float(jnp.abs(levels[1] - many).max()) > 1e-3
    one = sample(parts, changed(elsewhere, aug_level=jnp.float32(0.3)), index, KEY).images
    np.testing.assert_allclose(one[0], levels[1][2], atol=1e-4)


def test_levels_and_small_images_do_not_recompile(plain):
    family = build({"dropout": 0.2})
    _, parts, unguided = plain
    chex.clear_trace_counter()
    sample = jax.jit(chex.assert_max_traces(lambda *inputs: family.interface.sample(*inputs), n=1))
    found = []
    for level, scale in ((0.1, 2.0), (0.4, 1.0)):
        scalars = {"aug_level": jnp.float32(level), "guidance_scale": jnp.float32(scale)}
        found.append(sample(parts, *conditions(**scalars), KEY).images)
    expected = unguided(parts, *conditions(aug_level=jnp.float32(0.4)), KEY).images
    np.testing.assert_allclose(found[1], expected, atol=1e-4)


@pytest.mark.slow
def test_training_on_crops_gives_gradients_to_everything():
    family = build({"crop_fraction": 0.5})
    parts = weights(family)
    gradient = losses.gradient(family, parts.params, batch(), KEY, extra=parts.extra)
    assert all(float(jnp.abs(leaf).max()) > 0 for leaf in jax.tree.leaves(gradient["conv_in"]))
    assert all(float(jnp.abs(leaf).max()) > 0 for leaf in jax.tree.leaves(gradient["aug_level_embed"]))


def test_reconstruction_is_the_small_image_upsampled(plain):
    family, parts, sample = plain
    images = batch(3)["image"]
    small = images.reshape(3, 4, 2, 4, 2, 1).mean((2, 4))
    expected = sample(parts, Conditions(low_res=small), jnp.arange(3), KEY).images
    np.testing.assert_allclose(jax.jit(family.reconstruct)(parts, images, KEY), expected, atol=1e-5)
    assert set(jax.eval_shape(family.evaluate, parts, batch(), KEY)) == {"loss"}


def test_what_cannot_be_upsampled_is_told():
    family = build({"max_aug_level": 0.0})
    for given, words in (
        (
            (Conditions(), jnp.arange(2)),
            "upsamples images of .4, 4, 1., and was given none.*low_res of its conditions.*cascade",
        ),
        ((Conditions(low_res=jnp.zeros((2, 8, 8, 1))), jnp.arange(2)), r"given \(8, 8, 1\)"),
        (conditions(aug_level=0.1), "max_aug_level > 0"),
    ):
        with pytest.raises(ValueError, match=words):
            family.interface.sample(Weights({"model": {}}, (), {}), *given, KEY)
    with pytest.raises(ValueError, match="aug_level=0.9 is none of the levels"):
        build(sampling={"aug_level": 0.9})
    with pytest.raises(ValueError, match=r"unknown \['colour'\]"):
        build({"colour": "red"})
    with pytest.raises(ValueError, match="the network dit has no field"):
        build(network={"name": "dit"})
