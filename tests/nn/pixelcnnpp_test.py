"""PixelCNN++: what each pixel knows, exactly; the same step by step; its size; its initialisation by data."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from genjax.core import tree
from genjax.nn.layers.shifted_conv import At, FirstConv, Pointwise, ShiftedConv, ShiftedUpsize, empty_cache
from genjax.nn.pixelcnnpp import PixelCNNpp

KEY = jax.random.key(0)
SIZE = 8
FIELDS = {"width": 4, "num_res_blocks": 1, "num_levels": 3, "dropout": 0.0}


@pytest.fixture(scope="module")
def network():
    return PixelCNNpp(out_channels=6, num_classes=3, **FIELDS)


@pytest.fixture(scope="module")
def images():
    return jax.random.uniform(KEY, (2, SIZE, SIZE, 1), minval=-1, maxval=1)


@pytest.fixture(scope="module")
def params(network, images):
    """Random, around gains of 1: nothing is zero, so everything matters."""
    noise = np.random.default_rng(0)
    shapes = jax.eval_shape(network.init, KEY, images, jnp.array([0, 2]))["params"]
    return tree.map_with_path(
        lambda name, leaf: 0.3 * noise.standard_normal(leaf.shape, np.float32) + name.endswith("gain"), shapes
    )


def test_each_pixel_knows_every_earlier_one_and_no_other(network, params, images):
    """No blind spot, at any position: the Jacobian is zero exactly where it has to be.

    The one limit of reach in these images: at odd rows the lower resolutions know neither the row above nor the row
    itself, and the convolutions of full resolution, of one block, go 6 columns to either side.
    """
    project = jax.random.normal(KEY, (6,))

    def outputs(image):
        return (network.apply({"params": params}, image[None], jnp.array([1]))[0] @ project).ravel()

    jacobian = np.asarray(jax.jit(jax.jacrev(outputs))(images[0])).reshape(SIZE**2, SIZE**2)
    known = np.tril(np.ones((SIZE**2, SIZE**2), bool), -1)
    assert (jacobian[~known] == 0).all(), "neither itself nor later ones"
    row, column = np.divmod(np.arange(SIZE**2), SIZE)
    down, right = row[:, None] - row, column[:, None] - column
    beyond = (row[:, None] % 2 == 1) & (((down == 1) & (right == -7)) | ((down == 0) & (right == 7)))
    np.testing.assert_array_equal(jacobian[known] != 0, ~beyond[known], "all before within reach")


def test_step_by_step_is_the_same_whatever_later_pixels_hold(network, params, images):
    label = jnp.array([2, 1])
    expected = jax.jit(network.apply)({"params": params}, images, label)
    cache, order = empty_cache(network, params, images, label), jnp.arange(SIZE**2).reshape(1, SIZE, SIZE, 1)

    @jax.jit
    def decode_row(cache, row):
        known = jnp.where(order < row * SIZE, images, 7.0)
        variables = {"params": params, "cache": cache}
        above, new = network.apply(variables, known, label, row, method="decode_row", mutable=["cache"])

        def decode_pixel(cache, column):
            known = jnp.where(order < row * SIZE + column, images, 7.0)
            variables, args = {"params": params, "cache": cache}, (known, label, above, row, column)
            raw, new = network.apply(variables, *args, method="decode_pixel", mutable=["cache"])
            return new["cache"], raw

        cache, raw = jax.lax.scan(decode_pixel, new["cache"], jnp.arange(SIZE))
        return cache, raw.swapaxes(0, 1)

    for row in range(SIZE):
        cache, raw = decode_row(cache, row)
        np.testing.assert_allclose(raw, expected[:, row], rtol=1e-4, atol=1e-5 * np.abs(expected).max())


def test_the_cache_is_a_few_rows(network, params, images):
    cache = empty_cache(network, params, images, jnp.array([0, 1]))
    assert {leaf.shape[1] for leaf in jax.tree.leaves(cache)} == {1, 2}, "rows, whatever the height"


@pytest.mark.slow
def test_label_dropout_and_remat(network, params, images):
    apply = jax.jit(network.apply)
    one, other = (apply({"params": params}, images, jnp.full(2, label)) for label in (0, 1))
    assert jnp.abs(one - other).max() > 1e-3
    frugal = PixelCNNpp(out_channels=6, num_classes=3, **FIELDS | {"remat": True, "dropout": 0.5})
    np.testing.assert_allclose(
        jax.jit(frugal.apply)({"params": params}, images, jnp.full(2, 0)), one, rtol=1e-5, atol=1e-6
    )
    noisy = jax.jit(functools.partial(frugal.apply, train=True))(
        {"params": params}, images, jnp.full(2, 0), rngs={"dropout": KEY}
    )
    assert jnp.abs(noisy - one).max() > 1e-3


def test_half_precision_inside_single_outside(params, images):
    network = PixelCNNpp(out_channels=6, num_classes=3, dtype="bfloat16", **FIELDS)
    low = jax.jit(network.apply)({"params": params}, images, jnp.zeros(2, int))
    full = jax.jit(network.clone(dtype=None).apply)({"params": params}, images, jnp.zeros(2, int))
    assert low.dtype == jnp.float32
    assert 0 < jnp.abs(low - full).max() < 0.1 * jnp.abs(full).max()


def test_published_count():
    """5 blocks of 160 features, 3 levels, 10 mixtures of RGB: pclucas14/pixel-cnn-pp."""
    network = PixelCNNpp(out_channels=100)
    shapes = jax.eval_shape(network.init, KEY, jax.ShapeDtypeStruct((1, 32, 32, 3), jnp.float32))
    assert tree.count_params(shapes["params"]) == 53_659_080


@pytest.mark.parametrize(
    "layer",
    [
        ShiftedConv(5, 0.1, kernel_size=(2, 3)),
        ShiftedConv(5, kernel_size=(2, 2), right=True, stride=2),
        ShiftedUpsize(5),
        ShiftedUpsize(5, 0.5, right=True),
        Pointwise(5),
    ],
    ids=lambda layer: type(layer).__name__,
)
def test_the_first_batch_sets_gain_and_bias(layer):
    x = 3 + 2 * jax.random.normal(KEY, (8, 8, 8, 4))
    y = jax.jit(lambda x: layer.apply({"params": layer.init(KEY, x)["params"]}, x))(x)
    np.testing.assert_allclose(y.mean((0, 1, 2)), 0, atol=1e-5)
    np.testing.assert_allclose(y.std((0, 1, 2)), layer.init_scale, rtol=1e-4)


def test_moved_images():
    """Kernels of ones count what they see."""
    x = jnp.arange(1.0, 13).reshape(1, 3, 4, 1)

    @functools.partial(jax.jit, static_argnums=0)
    def ones(layer):
        params = layer.init(KEY, x)["params"]
        norm = jnp.sqrt(params["kernel"].size)
        params = {"kernel": jnp.ones_like(params["kernel"]), "gain": norm[None], "bias": jnp.full(1, 0.5)}
        return layer.apply({"params": params}, x)[0, ..., 0]

    above = ones(FirstConv(1, kernel_size=(1, 3), shift="down"))
    np.testing.assert_allclose(above, [[0, 0, 0, 0], [3.5, 6.5, 9.5, 7.5], [11.5, 18.5, 21.5, 15.5]], rtol=1e-6)
    left = ones(FirstConv(1, kernel_size=(2, 1), shift="right"))
    np.testing.assert_allclose(left, [[0, 1.5, 2.5, 3.5], [0, 6.5, 8.5, 10.5], [0, 14.5, 16.5, 18.5]], rtol=1e-6)


def test_refusals(network, images):
    with pytest.raises(ValueError, match="6x8 pixels.*divisible by 4"):
        jax.eval_shape(network.init, KEY, images[:, :6], jnp.zeros(2, int))
    layer = ShiftedConv(2)
    with pytest.raises(ValueError, match="needs whole rows"):
        layer.apply({}, images[:, :1, :1], At(jnp.int32(0), jnp.int32(0)))
