"""DiT: published parameter counts, patches, positions, the zero start, and what the output depends on."""

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from genjax.configs.recipes import dits
from genjax.core.tree import count_params
from genjax.nn.dit import DiT, patchify, positions, unpatchify
from genjax.nn.layers.embeddings import TimeEmbedding

KEY = jax.random.key(0)
FAST_KEY = jax.random.key(0, impl="rbg")
"""Initialisation by it compiles several times as fast."""
PUBLISHED = {"S": 32_963_360, "B": 130_512_416, "L": 458_102_816, "XL": 675_129_632}
"""Table 1 gives 33M, 130M, 458M and 675M. With patches of 2 pixels of 32 x 32 x 4 latents and learned variance; the
fixed positions are counted, as there."""


def network(**changes):
    fields = {"out_channels": 2, "width": 16, "depth": 1, "num_heads": 2, "num_classes": 3}
    return DiT(**{**fields, **changes})


def inputs(size=8):
    return jax.random.normal(KEY, (2, size, size, 1)), jnp.array([3.0, 700.0]), jnp.array([0, 2])


@pytest.fixture(scope="module")
def params():
    """Nothing left at zero, so that every input matters."""
    fresh = jax.jit(network().init)(FAST_KEY, *inputs())["params"]
    noise = np.random.default_rng(0)
    return jax.tree.map(lambda leaf: leaf + 0.2 * noise.standard_normal(leaf.shape, np.float32), fresh)


@pytest.mark.parametrize("size", PUBLISHED)
def test_published_count(size):
    dit = DiT(out_channels=8, patch_size=2, num_classes=1000, null_class=True, **dits.SIZES[size])
    shapes = jax.eval_shape(dit.init, KEY, jnp.zeros((1, 32, 32, 4)), jnp.zeros(1), jnp.zeros(1, int))
    assert count_params(shapes) + 256 * dit.width == PUBLISHED[size]


def test_patches_are_blocks_of_pixels_in_raster_order():
    x = jnp.arange(2 * 4 * 6 * 3.0).reshape(2, 4, 6, 3)
    patches = patchify(x, 2)
    assert patches.shape == (2, 6, 12)
    np.testing.assert_array_equal(patches[1, 4].reshape(2, 2, 3), x[1, 2:4, 2:4])
    np.testing.assert_array_equal(unpatchify(patches, 2, 3, 2), x)


def test_positions_tell_every_place_from_every_other():
    table = positions(3, 5, 16)
    np.testing.assert_allclose(table[7, :4], np.sin(2 / 10 ** np.arange(4)), rtol=1e-12)
    np.testing.assert_allclose(table[7, 12:], np.cos(1 / 10 ** np.arange(4)), rtol=1e-12)
    distance = np.linalg.norm(table[:, None] - table[None], axis=-1)
    assert (distance + 9 * np.eye(15)).min() > 0.5


def test_starts_at_zero():
    fresh = jax.jit(network().init)(FAST_KEY, *inputs())
    np.testing.assert_array_equal(jax.jit(network().apply)(fresh, *inputs()), 0.0)


class _Reached(Exception):
    pass


def test_time_scale_multiplies_the_time():
    """Seen where the time is embedded; nothing is computed beyond."""
    x, t, label = inputs()
    seen = []

    def record(call, args, kwargs, context):
        if isinstance(context.module, TimeEmbedding):
            seen.append(args[0])
            raise _Reached
        return call(*args, **kwargs)

    with nn.intercept_methods(record), pytest.raises(_Reached):
        network(time_scale=0.25).init(KEY, x, t, label)
    np.testing.assert_allclose(seen, [0.25 * t], rtol=1e-6)


@pytest.mark.slow
def test_time_label_and_every_pixel_matter(params):
    x, t, label = inputs()
    apply = jax.jit(lambda *given: network().apply({"params": params}, *given))
    y = apply(x, t, label)
    for other in ((x, t + 9, label), (x, t, label - 1 + 2 * (label == 0)), (x.at[:, 7, 0].add(1.0), t, label)):
        changed = jnp.abs(apply(*other) - y).reshape(2, -1, 2)
        assert changed.min() > 0 and changed.max() > 1e-2
    assert jnp.isnan(apply(x, t, jnp.array([3, 0]))[0]).all(), "a label that there isn't"
    doubled = network(time_scale=2.0).apply({"params": params}, x, t, label)
    np.testing.assert_allclose(doubled, apply(x, 2 * t, label), atol=1e-5)


def test_applies_to_other_sizes(params):
    x, t, label = inputs(12)
    assert jax.eval_shape(network().apply, {"params": params}, x[:, :4], t, label).shape == (2, 4, 12, 2)


@pytest.mark.slow
def test_recomputing_changes_no_gradient(params):
    def loss(params, remat):
        return jnp.mean(jnp.square(network(remat=remat).apply({"params": params}, *inputs())))

    gradients = [jax.jit(jax.grad(loss), static_argnums=1)(params, remat) for remat in (False, True)]
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, atol=1e-5), *gradients)


def test_recomputing_is_requested():
    shapes = jax.eval_shape(network().init, KEY, *inputs())
    kept, recomputed = (jax.make_jaxpr(network(remat=remat).apply)(shapes, *inputs()) for remat in (False, True))
    names = [{equation.primitive.name for equation in program.eqns} for program in (recomputed, kept)]
    assert names[0] - names[1] == {"remat2"}


def test_computes_in_the_dtype_requested(params):
    whole, half = (jax.jit(network(dtype=dtype).apply)({"params": params}, *inputs()) for dtype in (None, "bfloat16"))
    assert half.dtype == jnp.float32
    assert 0 < jnp.abs(half - whole).max() < 0.05 * jnp.abs(whole).max()


@pytest.mark.parametrize(
    ("fields", "size", "words"),
    [({"patch_size": 3}, 8, "patches of 3 pixels"), ({"num_heads": 3}, 8, "num_heads=3"), ({"width": 6}, 8, "by 4")],
)
def test_refuses(fields, size, words):
    with pytest.raises(ValueError, match=words):
        jax.eval_shape(network(**fields).init, KEY, *inputs(size))


def test_refuses_labels_that_were_not_requested():
    with pytest.raises(ValueError, match="num_classes=0"):
        jax.eval_shape(network(num_classes=0).init, KEY, *inputs())
