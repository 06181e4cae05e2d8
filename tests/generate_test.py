"""Drawing in batches against a family whose images are their own conditions: no network, nothing random."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from genjax import generate, sharding
from genjax.families.base import Family
from genjax.families.interfaces import Conditions, ImageSampler, Samples, Weights

WEIGHTS = Weights({"model": jnp.float32(0.25)}, (), {})
KEY = jax.random.key(5)


def family(seen=None, trajectory=False):
    """Image i is (index + 10 label) / 100 - 1, plus the weight, less guidance_scale / 100, and .1 for the key."""

    def sample(weights, conditions, index, key):
        if seen is not None:
            seen.append(jax.tree.map(jnp.shape, (conditions, index)))
        label = 0 if conditions.label is None else conditions.label
        value = (index + 10 * label) / 100 - 1 + weights.params["model"]
        value = value - conditions.options.get("guidance_scale", 0.0) / 100
        value = value + (jax.random.key_data(key)[-1] == 5) / 10
        images = jnp.broadcast_to(value[:, None, None, None], (len(value), 2, 2, 1))
        return Samples(images, jnp.stack([images - 0.1, images]) if trajectory else None)

    def reconstruct(weights, images, key):
        return -images + weights.params["model"]

    interface = ImageSampler(sample, (2, 2, 1), 3, {"guidance_scale": 1.0})
    return Family(None, (), None, interface, reconstruct=reconstruct)


def mesh(devices=2):
    return sharding.make_mesh(data=1, fsdp=devices, devices=jax.devices()[:devices])


def pixels(values):
    """uint8 of values in [-1, 1]."""
    return np.round((np.asarray(values) + 1) * 127.5)


def test_batch_size_bounds_what_is_drawn_at_once():
    """`sampling.batch_size` images at most, in whole shares of the devices; the last batch is filled up and cut."""
    seen, done = [], []
    conditions = Conditions(label=np.array([2, 0, 1, 1, 2, 0, 0], np.int32), options={"guidance_scale": 3.0})
    drawn = generate.make_generate(family(seen).interface, mesh())(WEIGHTS, 7, conditions, KEY, 4, done.append)
    assert seen == [(Conditions(label=(4,), options={"guidance_scale": ()}), (4,))] and done == [4, 3]
    values = (np.arange(7) + 10 * conditions.label) / 100 - 1 + 0.25 - 0.03 + 0.1
    np.testing.assert_allclose(drawn.images[:, 0, 0, 0], pixels(values), atol=1)
    assert drawn.images.shape == (7, 2, 2, 1) and drawn.trajectory is None


def test_the_way_there_is_cut_and_joined_as_the_images_are():
    drawn = generate.make_generate(family(trajectory=True).interface, mesh())(WEIGHTS, 3, Conditions(), KEY, 2)
    assert drawn.trajectory.shape == (2, 3, 2, 2, 1)
    np.testing.assert_array_equal(drawn.trajectory[1], drawn.images)
    assert (drawn.trajectory[0] < drawn.images).all() and len(np.unique(drawn.images)) == 3


@pytest.mark.parametrize(("count", "limit", "expected"), [(7, 4, 4), (3, 100, 4), (5, 5, 6), (1, 1, 2)])
def test_batches_are_whole_shares_of_all_devices(count, limit, expected):
    assert generate.fit_batch_size(count, limit, mesh()) == expected
    both = sharding.make_mesh(data=2, fsdp=2, tensor=1, devices=jax.devices()[:4])
    assert generate.fit_batch_size(count, limit, both) == -(-min(count, limit) // 4) * 4


def test_labels_take_turns():
    np.testing.assert_array_equal(generate.class_labels(7, 3), [0, 1, 2, 0, 1, 2, 0])


def test_options_are_as_requested_else_the_configs_and_neutral_ones_are_left_out():
    interface = family().interface
    assert generate.options(interface, {"guidance_scale": 2.0, "num_steps": "5"}, {}) == {"guidance_scale": 2.0}
    assert generate.options(interface, {"guidance_scale": 2.0}, {"guidance_scale": 3.0}) == {"guidance_scale": 3.0}
    assert generate.options(interface, {"guidance_scale": 2.0}, {"guidance_scale": 1.0}) == {}
    assert generate.options(interface, {}, {}) == {}
    with pytest.raises(ValueError, match="no option 'eta'; it has .'guidance_scale'."):
        generate.options(interface, {}, {"eta": 1.0})
    with pytest.raises(ValueError, match="guidance_scale=inf must be"):
        generate.options(interface, {}, {"guidance_scale": np.inf})


def test_reconstructions_keep_their_order():
    images = np.arange(5, dtype=np.uint8)[:, None, None, None] * np.full((5, 2, 2, 1), 20, np.uint8)
    made = generate.make_reconstruct(family().reconstruct, mesh())(WEIGHTS, images, KEY, 2)
    expected = np.clip(-(images / 127.5 - 1) + 0.25, -1, 1)
    np.testing.assert_allclose(made, pixels(expected), atol=1)


def test_every_batch_of_reconstructions_has_the_key_that_is_given():
    def reconstruct(weights, images, key):
        return jnp.zeros_like(images) + jax.random.uniform(key, (), minval=-1.0)

    run = generate.make_reconstruct(reconstruct, mesh())
    images = np.zeros((3, 2, 2, 1), np.uint8)
    for seed in (0, 1):
        key = jax.random.key(seed)
        expected = pixels(jax.random.uniform(key, (), minval=-1.0))
        np.testing.assert_allclose(run(WEIGHTS, images, key, 2), np.full(images.shape, expected), atol=1)
