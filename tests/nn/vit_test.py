"""The vision transformer: what its pools and times see, and what it refuses."""

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from genjax.nn.layers.embeddings import TimeEmbedding
from genjax.nn.vit import VisionTransformer

KEY = jax.random.key(0)
SMALL = {"out_channels": 5, "patch_size": 4, "width": 8, "depth": 1, "num_heads": 2}
IMAGES = jax.random.normal(jax.random.key(1), (3, 8, 12, 2))


def made(**fields):
    """(network, its parameters with nothing left at zero)."""
    network = VisionTransformer(**{**SMALL, **fields})
    times = () if network.time == "none" else (jnp.zeros(3),)
    params = jax.jit(network.init)(KEY, IMAGES, *times)["params"]
    noise = np.random.default_rng(0)
    return network, jax.tree.map(lambda leaf: leaf + 0.3 * noise.standard_normal(leaf.shape, np.float32), params)


def test_mean_pool_has_no_class_token_and_forgets_places_with_their_vectors():
    network, params = made(pool="mean", patch_bias=True, norm_in=False, activation="gelu", out_channels=0)
    assert {"class_token", "norm_in", "proj"}.isdisjoint(params) and "bias" in params["patches"]
    assert params["positions"].shape == (6, 8)
    still = {**params, "positions": jnp.zeros((6, 8))}
    apply = jax.jit(lambda params, x: network.apply({"params": params}, x))
    upside_down = jnp.concatenate([IMAGES[:, 4:], IMAGES[:, :4]], axis=1)
    np.testing.assert_allclose(apply(still, IMAGES), apply(still, upside_down), atol=1e-5)
    assert jnp.abs(apply(params, IMAGES) - apply(params, upside_down)).max() > 0.01
    assert apply(params, IMAGES).shape == (3, 8)


@pytest.mark.parametrize("time", ["table", "sinusoids"])
def test_times_are_each_images_own(time):
    network, params = made(time=time, num_times=7)
    assert ("class_token" in params) == (time == "sinusoids")
    apply = jax.jit(lambda t: network.apply({"params": params}, IMAGES, t))
    t = jnp.array([0.0, 3.0, 6.0])
    other = apply(t.at[1].set(5.0))
    changed = jnp.abs(other - apply(t)).max(1)
    assert changed[1] > 1e-2 and changed[::2].max() < 1e-6
    assert apply(t).shape == (3, 5) and jnp.isfinite(apply(t)).all()


class _Reached(Exception):
    pass


def test_time_scale_multiplies_the_time():
    """Seen where the time is embedded; nothing is computed beyond."""
    seen = []

    def record(call, args, kwargs, context):
        if isinstance(context.module, TimeEmbedding):
            seen.append(args[0])
            raise _Reached
        return call(*args, **kwargs)

    network = VisionTransformer(**SMALL, time="sinusoids", time_scale=1000.0)
    with nn.intercept_methods(record), pytest.raises(_Reached):
        network.init(KEY, IMAGES, jnp.array([0.1, 0.5, 1.0]))
    np.testing.assert_allclose(seen, [[100.0, 500.0, 1000.0]], rtol=1e-6)


@pytest.mark.parametrize(
    ("fields", "times", "words"),
    [
        ({"patch_size": 5}, None, "patches of 5 pixels don't divide images of 8x12"),
        ({"pool": "max"}, None, "unknown pool='max'"),
        ({"time": "table"}, 1.0, "needs num_times"),
        ({"time": "sinusoids", "pool": "mean"}, 1.0, 'needs pool="class"'),
        ({"time": "sinusoids"}, None, "no times were given"),
        ({}, 1.0, "times were given"),
    ],
)
def test_refusals(fields, times, words):
    network = VisionTransformer(**{**SMALL, **fields})
    with pytest.raises(ValueError, match=words):
        network.init(KEY, IMAGES, None if times is None else jnp.full(3, times))
