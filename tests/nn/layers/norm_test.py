"""Group norm and SiLU in one function equal the plain composition in float64: values and gradients."""

import functools

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.test_util import check_grads

from genjax.nn.layers.norm import GroupNorm, group_norm


@pytest.fixture(autouse=True)
def float64():
    with jax.enable_x64(True):
        yield


def plain(x, gain, shift, num_groups, eps, silu):
    """What `group_norm` computes, from Flax's own layer with two-pass statistics."""
    layer = nn.GroupNorm(
        num_groups, epsilon=eps, use_bias=False, use_scale=False, use_fast_variance=False, param_dtype=x.dtype
    )
    z = layer.apply({}, x) * gain[:, None, None] + shift[:, None, None]
    return jax.nn.silu(z) if silu else z


jit_plain = jax.jit(plain, static_argnums=(3, 4, 5))


def arguments(shape=(3, 4, 6, 8), seed=0):
    rng = np.random.default_rng(seed)
    x = rng.normal(size=shape) * 3 + rng.normal(size=shape[-1]) * 5
    gain, shift = rng.normal(size=(2, shape[0], shape[-1]))
    return tuple(jnp.asarray(value) for value in (x, gain, shift, rng.normal(size=shape)))


@pytest.mark.parametrize("silu", [True, False])
@pytest.mark.parametrize("num_groups", [1, 4, 8])
def test_values_and_derivatives_equal_flax(num_groups, silu):
    *primals, dy = arguments()
    along = [jnp.asarray(np.cos(3 * np.asarray(value))) for value in primals]

    @functools.partial(jax.jit, static_argnums=0)
    def parts(function, *primals):
        """The value, its forward derivative, and the reverse ones."""
        f = lambda *a: function(*a, num_groups, 1e-5, silu)  # noqa: E731
        value, vjp = jax.vjp(f, *primals)
        return value, jax.jvp(f, primals, tuple(along))[1], vjp(dy)

    (ours, forward, mine), (theirs, their_forward, others) = parts(group_norm, *primals), parts(plain, *primals)
    np.testing.assert_allclose(forward, their_forward, rtol=1e-11, atol=1e-11)
    np.testing.assert_allclose(ours, theirs, rtol=1e-12, atol=1e-12)
    for own, other in zip(mine, others, strict=True):
        np.testing.assert_allclose(own, other, rtol=1e-11, atol=1e-11)


def test_gradient_equals_finite_differences():
    *primals, _ = arguments((2, 3, 2, 4))

    @jax.jit
    def function(*values):  # the check itself calls with numpy arrays
        return group_norm(*map(jnp.asarray, values), 2, 1e-5, True)

    check_grads(function, primals, order=1, modes=["fwd", "rev"])


@pytest.mark.slow
def test_second_reverse_derivative_equals_flax():
    *primals, dy = arguments((2, 3, 2, 4))

    def slope(function):
        def of_x(x):
            return (jax.grad(lambda y: jnp.sum(dy * function(y, *primals[1:], 2, 1e-5, True)))(x) ** 2).sum()

        return jax.grad(of_x)(primals[0])

    np.testing.assert_allclose(slope(group_norm), slope(plain), rtol=1e-9, atol=1e-9)


def test_large_mean_keeps_its_digits():
    """Where E[x^2] - E[x]^2 in float32 would have none: mean 1000, deviation 1."""
    x, gain, shift, _ = arguments((2, 16, 16, 8))
    x = (x - x.mean()) / x.std() + 1000.0
    exact = jit_plain(x, gain, shift, 4, 1e-5, True)
    single = group_norm(*(value.astype(jnp.float32) for value in (x, gain, shift)), 4, 1e-5, True)
    rounded = jit_plain(x.astype(jnp.float32).astype(jnp.float64), gain, shift, 4, 1e-5, True)
    assert float(jnp.abs(exact - rounded).max()) < 1e-3  # what the rounding of the input itself costs
    np.testing.assert_allclose(single, rounded, atol=2e-4)  # float32 has steps of 6e-5 at 1000


def test_one_bright_row_keeps_its_digits():
    """The centre that statistics are taken around may be far off: first row bright, the rest dark."""
    x, gain, shift, _ = arguments((2, 32, 32, 8))
    x = x.at[:, 0].add(1000.0)
    single = group_norm(*(value.astype(jnp.float32) for value in (x, gain, shift)), 4, 1e-5, True)
    np.testing.assert_allclose(single, jit_plain(x, gain, shift, 4, 1e-5, True), atol=1e-4)


def test_statistics_are_float32_under_bfloat16():
    x, gain, shift, _ = arguments((2, 16, 16, 8))
    x = (x / 8 + 4).astype(jnp.bfloat16)
    low = group_norm(x, gain.astype(jnp.float32), shift.astype(jnp.float32), 4, 1e-5, True)
    exact = jit_plain(x.astype(jnp.float64), gain, shift, 4, 1e-5, True)
    assert low.dtype == jnp.bfloat16
    # Only the result is rounded: 8 bits of mantissa.
    np.testing.assert_allclose(low.astype(jnp.float64), exact, rtol=2**-8, atol=1e-5)


def test_layer_equals_flax_on_images_and_sequences():
    rng = np.random.default_rng(1)
    for shape in [(2, 4, 4, 8), (2, 5, 8)]:
        x = jnp.asarray(rng.normal(size=shape))
        params = {"scale": jnp.asarray(rng.normal(size=8)), "bias": jnp.asarray(rng.normal(size=8))}
        layers = GroupNorm(4, 1e-6, param_dtype=jnp.float64), nn.GroupNorm(4, epsilon=1e-6, param_dtype=jnp.float64)
        ours, theirs = (jax.jit(layer.apply)({"params": params}, x) for layer in layers)
        np.testing.assert_allclose(ours, theirs, rtol=1e-10, atol=1e-10)


def test_modulation_is_the_adaptive_norm():
    x, scale, shift, _ = arguments((2, 4, 4, 8))
    layer = GroupNorm(4, silu=True, param_dtype=jnp.float64)
    params = {"scale": jnp.linspace(0.5, 2.0, 8), "bias": jnp.linspace(-1.0, 1.0, 8)}
    normed = GroupNorm(4, param_dtype=jnp.float64).apply({"params": params}, x)
    expected = jax.nn.silu(normed * (1 + scale[:, None, None]) + shift[:, None, None])
    actual = layer.apply({"params": params}, x, (scale, shift))
    np.testing.assert_allclose(actual, expected, rtol=1e-12, atol=1e-12)


def test_groups_must_divide():
    with pytest.raises(ValueError, match="6 channels.*4 groups"):
        jax.eval_shape(GroupNorm(4).init, jax.random.key(0), jnp.zeros((1, 2, 2, 6)))
