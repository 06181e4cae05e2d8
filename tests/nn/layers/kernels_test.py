"""Kernels of attention: equal to the plain formula, taken where they fit, and refused by name where they don't.

No TPU or GPU is needed: splash attention is interpreted, cuDNN's padding and masks are computed by XLA, and
`tests/training/kernels_test.py` lowers whole steps for both.
"""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from genjax import sharding
from genjax.nn.layers import kernels
from genjax.nn.layers.attention import attend
from genjax.nn.layers.kernels import kernel
from genjax.nn.layers.sparse_attention import Sees


def inputs(queries, keys, size, batch=2, heads=2, dtype=jnp.float32):
    """(q, k, v, weights of the result in a loss)."""
    rng, shape = np.random.default_rng(0), (heads, size)
    return tuple(jnp.asarray(rng.normal(size=(batch, n, *shape)), dtype) for n in (queries, keys, keys, queries))


def padding(keys, batch=2):
    """Some keys of each example are seen, the first among them."""
    seen = np.random.default_rng(1).random((batch, 1, 1, keys)) < 0.7
    seen[..., 0] = True
    return jnp.asarray(seen)


def results(values, how, **changes):
    """(what is gathered, gradients of q, k, v), in a context."""
    *qkv, weights = values

    @jax.jit
    @how
    def both(*qkv):
        result, pull = jax.vjp(lambda *qkv: attend(*qkv, **changes), *qkv)
        return result, *pull(weights)

    return both(*qkv)


def check_equal(values, how, tolerance=2e-5, **changes):
    expected = results(values, kernel("xla"), **changes)
    for found, one in zip(results(values, how, **changes), expected, strict=True):
        np.testing.assert_allclose(np.float32(found), np.float32(one), atol=tolerance, rtol=tolerance)


SLOW = pytest.mark.slow


@pytest.mark.parametrize(
    ("queries", "keys", "size", "changes"),
    [
        pytest.param(63, 63, 40, {}, id="short"),
        pytest.param(256, 337, 64, {"mask": padding(337)}, id="padding"),
        pytest.param(300, 300, 128, {"causal": True, "scale": 0.1}, id="causal", marks=SLOW),
        pytest.param(300, 300, 64, {"causal": True, "mask": padding(300)}, id="causal_padding"),
        pytest.param(273, 273, 72, {"mask": Sees("row", 17, 16, 5)}, id="row"),
        pytest.param(1280, 1280, 64, {"mask": Sees("row", 257, 32, 11)}, id="row_1280", marks=SLOW),
        pytest.param(1280, 1280, 64, {"mask": Sees("column", 257, 32, 11)}, id="column_1280", marks=SLOW),
        pytest.param(1300, 1300, 128, {"mask": Sees("conv", 276, 32, 11)}, id="conv_1300", marks=SLOW),
        pytest.param(1024, 1024, 80, {"mask": Sees("dense", 1, 32, 11), "causal": True}, id="dense_1024", marks=SLOW),
        pytest.param(1024, 1153, 48, {"mask": padding(1153)}, id="padding_1153", marks=SLOW),
    ],
)
def test_splash_is_the_plain_formula(queries, keys, size, changes):
    check_equal(inputs(queries, keys, size), kernel("splash", interpret=True), **changes)


@SLOW
def test_splash_in_bfloat16_is_as_near_to_float32_as_the_formula():
    wide = inputs(300, 300, 64)
    low = tuple(value.astype(jnp.bfloat16) for value in wide)
    exact = results(tuple(value.astype(jnp.float32) for value in low), kernel("xla"), causal=True)

    def error(how):
        found = results(low, how, causal=True)
        return max(float(jnp.abs(one - right).max()) for one, right in zip(found, exact, strict=True))

    assert error(kernel("splash", interpret=True)) < 1.5 * error(kernel("xla")) < 0.1


@pytest.mark.parametrize("batch", [4, pytest.param(3, marks=SLOW)])
def test_splash_is_cut_over_devices(batch):
    """Examples and heads, where the mesh divides them; else every device computes all."""
    heads = 2 if batch == 4 else 3
    mesh = sharding.make_mesh(2, 2, 2)
    values = inputs(130, 130, 8, batch, heads)
    check_equal(values, kernel("splash", mesh, interpret=True), mask=padding(130, batch))
    lowered = jax.jit(kernel("splash", mesh, "tpu")(attend)).trace(*values[:3]).lower(lowering_platforms=("tpu",))
    local = "1x1x256x8" if batch == 4 else "3x3x256x8"
    assert f"tensor<{local}xf32>" in lowered.as_text()


@pytest.mark.parametrize(
    ("queries", "keys", "changes"),
    [
        (64, 64, {"causal": True}),
        (63, 77, {}),
        (77, 77, {"causal": True, "scale": 1.0}),
        (63, 77, {"mask": padding(77)}),
        (77, 77, {"mask": Sees("row", 13, 8, 3)}),
        (77, 77, {"mask": jnp.tri(77, dtype=bool)}),
        (77, 77, {"mask": padding(77), "causal": True}),
    ],
    ids=["whole", "odd", "causal", "padding", "pattern", "square", "both"],
)
def test_lengths_for_cudnn_are_padded_and_masked(queries, keys, changes, monkeypatch):
    """What it is given, computed by XLA instead, cut to what was there."""
    given, original = [], jax.nn.dot_product_attention

    def by_xla(q, k, v, implementation, **settings):
        given.append((implementation, q.shape[1] % 64, k.shape[1] % 64))
        exact = (part.astype(jnp.float32) for part in (q, k, v))
        return original(*exact, **settings).astype(q.dtype)

    monkeypatch.setattr(jax.nn, "dot_product_attention", by_xla)
    values = inputs(queries, keys, 16, dtype=jnp.bfloat16)
    check_equal(values, kernel("cudnn", platform="gpu"), tolerance=0.06, **changes)
    assert given == [("cudnn", 0, 0)]


FITS = {"queries": 256, "keys": 300, "size": 64, "dtype": jnp.bfloat16}


@pytest.mark.parametrize(
    ("platform", "changes", "expected"),
    [
        ("tpu", {}, "splash"),
        ("tpu", {"dtype": jnp.float32}, "splash"),
        ("tpu", {"mask": padding(300)}, "splash"),
        ("tpu", {"mask": Sees("row", 4, 4, 3)}, "splash"),
        ("tpu", {"queries": 255}, "xla"),
        ("tpu", {"size": 192}, "xla"),
        ("tpu", {"size": 36}, "xla"),
        ("tpu", {"mask": jnp.ones((2, 1, 256, 300), bool)}, "xla"),
        ("tpu", {"bias": jnp.zeros((1, 2, 256, 300))}, "xla"),
        ("gpu", {}, "cudnn"),
        ("gpu", {"mask": jnp.ones((2, 1, 256, 300), bool)}, "cudnn"),
        ("gpu", {"dtype": jnp.float32}, "xla"),
        ("gpu", {"queries": 63}, "xla"),
        ("gpu", {"size": 160}, "xla"),
        ("gpu", {"bias": jnp.zeros((1, 2, 256, 300))}, "xla"),
        ("cpu", {}, "xla"),
    ],
)
def test_auto_takes_a_kernel_where_it_fits_and_one_by_name_is_refused_elsewhere(platform, changes, expected):
    settings = FITS | {"mask": None, "bias": None} | changes
    of_all = {name: settings.pop(name) for name in ("mask", "bias")}
    q, k, v, _ = inputs(**settings)
    with kernel("auto", platform=platform):
        assert _name(kernels.choose(q, k, v, **of_all)) == expected
        with kernel("xla", platform=platform):
            assert kernels.choose(q, k, v, **of_all) is None, "the innermost holds"
        assert _name(kernels.choose(q, k, v, **of_all)) == expected
    assert kernels.choose(q, k, v, **of_all) is None, "outside of all it is the plain formula"


def _name(function):
    return (
        "xla" if function is None else "cudnn" if function is kernels.cudnn else function.func.__module__.split(".")[-1]
    )


@pytest.mark.parametrize(
    ("name", "platform", "changes", "words"),
    [
        ("splash", "cpu", {}, "'splash' can't be used here: it is for TPUs, .*; 'auto' and 'xla' can"),
        ("cudnn", "tpu", {}, "'cudnn' can't be used here: it is for NVIDIA GPUs from compute capability 8.0"),
        ("cudnn", "gpu", {"dtype": jnp.float32}, "takes bfloat16 or float16, not float32"),
        ("splash", "tpu", {"dtype": jnp.float16}, "takes bfloat16 or float32, not float16"),
        ("splash", "tpu", {"size": 136}, "heads of up to 128 features in multiples of 8, .* not 136"),
        ("splash", "tpu", {"bias": jnp.zeros((1, 2, 256, 300))}, "adds no bias"),
        ("splash", "tpu", {"mask": jnp.ones((256, 300), bool)}, "its masks are of keys, or functions of positions"),
        ("flash", "tpu", {}, "unknown attention='flash'; it is one of .*'splash'"),
    ],
)
def test_a_kernel_that_cannot_be_used_is_refused_by_name(name, platform, changes, words):
    settings = FITS | {"mask": None, "bias": None} | changes
    of_all = {name: settings.pop(name) for name in ("mask", "bias")}
    with pytest.raises(ValueError, match=words), kernel(name, platform=platform):
        attend(*inputs(**settings)[:3], **of_all)


def test_old_gpus_and_those_of_others_have_no_flash_attention():
    class Device:
        platform = "gpu"

    mesh = sharding.make_mesh(devices=jax.devices()[:1])
    assert kernels.platform_of(mesh.devices[0, 0, 0]) == "cpu"
    for capability, expected in (("9.0", "gpu"), ("8.0", "gpu"), ("12.0", "gpu"), ("7.5", "cpu"), ("gfx90a", "cpu")):
        device = Device()
        device.compute_capability = capability
        assert kernels.platform_of(device) == expected
