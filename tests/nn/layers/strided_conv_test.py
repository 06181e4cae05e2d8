"""Convolutions of stride 2, down and up, equal lax's dilated ones, with their gradients of first and second order."""

from functools import partial

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from genjax.nn.layers import strided_conv
from genjax.nn.layers.strided_conv import DownConv, UpConv, conv4x4_down, conv4x4_up

NHWC = ("NHWC", "HWIO", "NHWC")


def plain_down(x, kernel):
    return jax.lax.conv_general_dilated(x, kernel, (2, 2), ((1, 1), (1, 1)), dimension_numbers=NHWC)


def plain_up(x, kernel):
    return jax.lax.conv_transpose(x, kernel, (2, 2), "SAME", dimension_numbers=NHWC)


def arguments(shape=(3, 4, 6, 5)):
    rng = np.random.default_rng(0)
    return jnp.asarray(rng.normal(size=shape)), jnp.asarray(rng.normal(size=(4, 4, shape[-1], 7)))


@pytest.mark.parametrize(("ours", "theirs"), [(conv4x4_down, plain_down), (conv4x4_up, plain_up)])
def test_values_and_derivatives_equal_lax(ours, theirs):
    with jax.enable_x64(True):
        x, kernel = arguments()
        along = (x + 1, jnp.cos(kernel))
        forward = [jax.jvp(function, (x, kernel), along)[1] for function in (ours, theirs)]
        np.testing.assert_allclose(*forward, rtol=1e-12, atol=1e-12)
        mine, my_vjp = jax.vjp(ours, x, kernel)
        other, other_vjp = jax.vjp(theirs, x, kernel)
        np.testing.assert_allclose(mine, other, rtol=1e-12, atol=1e-12)
        dy = jnp.cos(other)
        for gradient, expected in zip(my_vjp(dy), other_vjp(dy), strict=True):
            np.testing.assert_allclose(gradient, expected, rtol=1e-12, atol=1e-12)


def test_second_reverse_derivative_equals_lax():
    """As gradient penalties take it: of the norm of the gradient by the image."""
    with jax.enable_x64(True):
        x, kernel = arguments((2, 4, 4, 3))

        def penalty(convolve):
            def of_kernel(kernel):
                return jnp.square(jax.grad(lambda x: jnp.sin(convolve(x, kernel)).sum())(x)).sum()

            return jax.grad(of_kernel)(kernel)

        np.testing.assert_allclose(penalty(conv4x4_down), penalty(plain_down), rtol=1e-9, atol=1e-9)


def test_other_platforms_get_the_same_gradient():
    with jax.enable_x64(True):
        x = arguments()[0]
        kernel = jnp.sin(jnp.arange(2 * 2 * 5 * 2.0)).reshape(2, 2, 5, 2)

        def lax(x, kernel):
            return jax.lax.conv_general_dilated(x, kernel, (1, 1), "VALID", dimension_numbers=NHWC)

        (ours, our_vjp), (theirs, their_vjp) = (
            jax.vjp(partial(function, x), kernel) for function in (strided_conv.along_kernel, lax)
        )
        np.testing.assert_allclose(ours, theirs, rtol=1e-12, atol=1e-12)
        np.testing.assert_allclose(our_vjp(jnp.cos(ours))[0], their_vjp(jnp.cos(ours))[0], rtol=1e-12, atol=1e-12)


def test_layers_equal_flax():
    x = arguments()[0].astype(jnp.float32)
    down = nn.Conv(7, (4, 4), strides=(2, 2), padding=1)
    up = nn.ConvTranspose(7, (4, 4), strides=(2, 2), padding="SAME")
    for ours, theirs in ((DownConv(7), down), (UpConv(7), up)):
        params = theirs.init(jax.random.key(0), x)
        assert jax.tree.map(jnp.shape, params) == jax.tree.map(jnp.shape, ours.init(jax.random.key(0), x))
        np.testing.assert_allclose(ours.apply(params, x), theirs.apply(params, x), atol=1e-5)
    assert UpConv(7, dtype="bfloat16").apply(params, x).dtype == jnp.bfloat16
    assert set(DownConv(7, use_bias=False).init(jax.random.key(0), x)["params"]) == {"kernel"}


def test_up_keeps_the_variance():
    x = jax.random.normal(jax.random.key(1), (4, 16, 16, 32))
    y, _ = UpConv(32).init_with_output(jax.random.key(0), x)
    assert jnp.std(y[:, 2:-2, 2:-2]) == pytest.approx(1.0, abs=0.05)


def test_odd_sizes_are_refused():
    with pytest.raises(ValueError, match="images of 4x5 can't be halved"):
        conv4x4_down(jnp.ones((1, 4, 5, 1)), jnp.ones((4, 4, 1, 1)))
