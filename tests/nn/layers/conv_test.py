"""The 3x3 convolution equals Flax's, and its gradients, on this platform and by the way of others."""

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from genjax.nn.layers.conv import Conv3x3, along_kernel, conv3x3


def arguments(dtype, shape=(3, 4, 6, 5), features=7):
    rng = np.random.default_rng(0)
    shapes = (shape, (3, 3, shape[-1], features), (*shape[:3], features))
    return tuple(jnp.asarray(rng.normal(size=s), dtype) for s in shapes)


def plain(x, kernel):
    return jax.lax.conv_general_dilated(x, kernel, (1, 1), "SAME", dimension_numbers=("NHWC", "HWIO", "NHWC"))


@pytest.mark.parametrize("shape", [(3, 4, 6, 5), (1, 1, 1, 2), (2, 1, 9, 3)])
def test_values_and_derivatives_equal_lax(shape):
    with jax.enable_x64(True):
        x, kernel, dy = arguments(jnp.float64, shape)
        for along in ((x + 1, kernel * 2), (x + 1, 0 * kernel), (0 * x, kernel * 2)):
            ours, theirs = (jax.jvp(function, (x, kernel), along)[1] for function in (conv3x3, plain))
            np.testing.assert_allclose(ours, theirs, rtol=1e-12, atol=1e-12)
        by_x = jax.jvp(lambda x: conv3x3(x, kernel), (x,), (x + 1,))[1]
        np.testing.assert_allclose(by_x, plain(x + 1, kernel), rtol=1e-12, atol=1e-12)
        ours, our_vjp = jax.vjp(conv3x3, x, kernel)
        theirs, their_vjp = jax.vjp(plain, x, kernel)
        np.testing.assert_allclose(ours, theirs, rtol=1e-12, atol=1e-12)
        for mine, other in zip(our_vjp(dy), their_vjp(dy), strict=True):
            np.testing.assert_allclose(mine, other, rtol=1e-12, atol=1e-12)


def kernel_gradient(x, dy, function=along_kernel):
    kernel = jnp.zeros((3, 3, x.shape[-1], dy.shape[-1]), x.dtype)
    return jax.vjp(lambda kernel: function(x, kernel), kernel)[1](dy)[0]


def test_other_platforms_get_the_same_gradient():
    with jax.enable_x64(True):
        x, kernel, dy = arguments(jnp.float64)
        np.testing.assert_allclose(along_kernel(x, kernel), plain(x, kernel), rtol=1e-12, atol=1e-12)
        ours, theirs = kernel_gradient(x, dy), kernel_gradient(x, dy, plain)
        np.testing.assert_allclose(ours, theirs, rtol=1e-12, atol=1e-12)


def test_lowers_for_other_platforms():
    x, kernel, dy = arguments(jnp.float32)
    lowered = jax.jit(lambda *a: jax.vjp(conv3x3, *a[:2])[1](a[2])).trace(x, kernel, dy)
    for platform in ("cpu", "cuda", "tpu"):
        text = lowered.lower(lowering_platforms=(platform,)).as_text()
        assert text.count("stablehlo.convolution") == (1 if platform == "cpu" else 2)


def test_second_reverse_derivative_equals_lax():
    with jax.enable_x64(True):
        x, kernel, _ = arguments(jnp.float64)

        def slope(function):
            def of_kernel(kernel):
                return (jax.grad(lambda k: jnp.sin(function(x, k)).sum())(kernel) ** 2).sum()

            return jax.grad(of_kernel)(kernel)

        np.testing.assert_allclose(slope(conv3x3), slope(plain), rtol=1e-9, atol=1e-9)


def test_sums_of_bfloat16_are_float32():
    x, _, dy = arguments(jnp.bfloat16, (8, 16, 16, 4), 4)
    low = kernel_gradient(x, dy)
    exact = kernel_gradient(x.astype(jnp.float32), dy.astype(jnp.float32))
    assert low.dtype == jnp.bfloat16
    np.testing.assert_allclose(low.astype(jnp.float32), exact, rtol=2**-8, atol=1e-3)


def test_layer_equals_flax():
    x = arguments(jnp.float32)[0]
    params = nn.Conv(7, (3, 3)).init(jax.random.key(0), x)
    assert jax.tree.map(jnp.shape, params) == jax.tree.map(jnp.shape, Conv3x3(7).init(jax.random.key(0), x))
    np.testing.assert_allclose(Conv3x3(7).apply(params, x), nn.Conv(7, (3, 3)).apply(params, x), atol=1e-5)
    assert Conv3x3(7, dtype="bfloat16").apply(params, x).dtype == jnp.bfloat16
