"""What holds of the U-Net in all its variants."""

import functools
import re

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from genjax.core.tree import param_paths
from genjax.nn.layers.conv import Conv3x3
from genjax.nn.layers.embeddings import TimeEmbedding
from genjax.nn.unet import LOGICAL_AXES, UNet

TINY = {
    "out_channels": 3,
    "width": 8,
    "num_groups": 4,
    "channel_mult": (1, 2),
    "num_res_blocks": 1,
    "attention_resolutions": (4,),
}
DDPM = {**TINY, "variant": "ddpm"}
ADM = {**TINY, "adaptive_norm": True, "resblock_updown": True, "head_channels": 8, "num_classes": 3, "null_class": True}
VARIANTS = {"ddpm": DDPM, "adm": ADM}


def inputs(fields, batch=2, height=8, width=8):
    x = jax.random.normal(jax.random.key(5), (batch, height, width, 3))
    label = (jnp.arange(batch) % 3,) if fields.get("num_classes") else ()
    return x, jnp.linspace(0.0, 999.0, batch), *label


@functools.cache
def random_params(variant):
    """Weights without the zeros of a fresh network, of variance 1 / fan_in."""
    init = UNet(**VARIANTS[variant]).init
    leaves, tree = jax.tree.flatten(jax.eval_shape(init, jax.random.key(0), *inputs(VARIANTS[variant])))
    rng = np.random.default_rng(0)
    scales = [leaf.size**-0.5 * leaf.shape[-1] ** 0.5 if leaf.ndim > 1 else 0.5 for leaf in leaves]
    return tree.unflatten(
        [jnp.asarray(scale * rng.normal(size=leaf.shape), jnp.float32) for scale, leaf in zip(scales, leaves)]
    )


@functools.cache
def apply(variant, **changes):
    network = UNet(**{**VARIANTS[variant], **changes})
    return jax.jit(network.apply, static_argnames="train")


@pytest.mark.parametrize("variant", VARIANTS)
def test_fresh_network_gives_zero(variant):
    """By its last layer, whatever the other weights are."""
    x, *rest = inputs(VARIANTS[variant])
    key = jax.random.key(0, impl="rbg")  # compiles several times as fast
    fresh = jax.jit(lambda key: UNet(**VARIANTS[variant]).init(key, x, *rest)["params"]["conv_out"])(key)
    params = random_params(variant)["params"] | {"conv_out": fresh}
    output = apply(variant)({"params": params}, x, *rest)
    assert output.shape == x.shape
    np.testing.assert_array_equal(output, 0.0)


@pytest.mark.parametrize("variant", VARIANTS)
def test_examples_don_t_see_each_other(variant):
    x, *rest = inputs(VARIANTS[variant])
    together = apply(variant)(random_params(variant), x, *rest)
    other = apply(variant)(random_params(variant), x.at[1].set(7.0), *rest)
    np.testing.assert_array_equal(together[0], other[0])
    assert float(jnp.abs(together[1] - other[1]).max()) > 1e-2


ONE = ["adm", pytest.param("ddpm", marks=pytest.mark.slow)]
"""Variants that differ in what is irrelevant to a test."""


@pytest.mark.parametrize("variant", ONE)
def test_an_example_alone_is_as_among_others(variant):
    x, *rest = inputs(VARIANTS[variant])
    together = apply(variant)(random_params(variant), x, *rest)
    alone = apply(variant)(random_params(variant), x[:1], *(value[:1] for value in rest))
    np.testing.assert_allclose(together[:1], alone, atol=2e-5)


@pytest.mark.parametrize("variant", VARIANTS)
def test_time_matters(variant):
    x, t, *label = inputs(VARIANTS[variant])
    now, later = (apply(variant)(random_params(variant), x, time, *label) for time in (t, t + 1))
    assert float(jnp.abs(now - later).max()) > 1e-4


def test_time_scale_multiplies_the_time():
    x, t, label = inputs(ADM)
    scaled = apply("adm", time_scale=0.25)(random_params("adm"), x, t, label)
    np.testing.assert_allclose(scaled, apply("adm")(random_params("adm"), x, t / 4, label), atol=1e-6)


def test_label_and_null_class_matter():
    x, t, label = inputs(ADM)
    function, params = apply("adm"), random_params("adm")
    given, other, null = (function(params, x, t, y) for y in (label, (label + 1) % 3, 0 * label + 3))
    for first, second in [(given, other), (given, null), (other, null)]:
        assert float(jnp.abs(first - second).max()) > 1e-3
    outside = function(params, x, t, 0 * label + 4)
    assert not bool(jnp.isfinite(outside).any())


def test_dropout_follows_its_key():
    x, t = inputs(DDPM)
    function = apply("ddpm", dropout=0.5)
    params = random_params("ddpm")
    first, again, other = (
        function(params, x, t, train=True, rngs={"dropout": jax.random.key(seed)}) for seed in (0, 0, 1)
    )
    np.testing.assert_array_equal(first, again)
    assert float(jnp.abs(first - other).max()) > 1e-3
    np.testing.assert_array_equal(function(params, x, t), apply("ddpm")(params, x, t))


@pytest.mark.parametrize("variant", ONE)
def test_bfloat16_is_close(variant):
    args = inputs(VARIANTS[variant])
    exact = apply(variant)(random_params(variant), *args)
    low = apply(variant, dtype="bfloat16")(random_params(variant), *args)
    assert low.dtype == jnp.float32
    error = jnp.linalg.norm(low - exact) / jnp.linalg.norm(exact)
    assert 0 < float(error) < 0.03


@pytest.mark.slow
@pytest.mark.parametrize("variant", VARIANTS)
def test_remat_changes_no_gradient(variant):
    args = inputs(VARIANTS[variant])

    def gradient(remat):
        network = UNet(**{**VARIANTS[variant], "remat": remat, "dropout": 0.1})

        def loss(params):
            output = network.apply(params, *args, train=True, rngs={"dropout": jax.random.key(0)})
            return jnp.square(output).mean()

        return jax.jit(jax.grad(loss))(random_params(variant))

    kept, recomputed = gradient(False), gradient(True)
    assert jax.tree.structure(kept) == jax.tree.structure(recomputed)
    for a, b in zip(jax.tree.leaves(kept), jax.tree.leaves(recomputed)):
        np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-6 + 1e-5 * float(jnp.abs(a).max()))


@pytest.mark.parametrize("variant", VARIANTS)
@pytest.mark.parametrize(("height", "width"), [(8, 12), (14, 8), (8, 8)])
def test_any_divisible_size(variant, height, width):
    args = inputs(VARIANTS[variant], 1, height, width)
    output = jax.eval_shape(apply(variant), random_params(variant), *args)
    assert output.shape == args[0].shape


def test_one_set_of_weights_at_another_size():
    args = inputs(DDPM, 1, 16, 16)
    output = jax.eval_shape(apply("ddpm", image_size=8), random_params("ddpm"), *args)
    assert output.shape == (1, 16, 16, 3)
    with pytest.raises(ValueError, match=r"attention_resolutions has \[4\].*\[16, 8\].*image_size"):
        apply("ddpm")(random_params("ddpm"), *args)


def test_errors_say_what_is_wrong():
    three_levels = {**DDPM, "channel_mult": (1, 1, 2)}
    key = jax.random.key(0)
    with pytest.raises(ValueError, match="10x8.*divisible by 4"):
        jax.eval_shape(UNet(**three_levels).init, key, *inputs(DDPM, 1, 10, 8))
    with pytest.raises(ValueError, match="no labels.*num_classes=3"):
        jax.eval_shape(UNet(**ADM).init, key, *inputs(DDPM))
    with pytest.raises(ValueError, match="labels were given.*num_classes=0"):
        jax.eval_shape(UNet(**DDPM).init, key, *inputs(ADM))
    with pytest.raises(ValueError, match="unknown variant 'vdm'"):
        jax.eval_shape(UNet(**{**DDPM, "variant": "vdm"}).init, key, *inputs(DDPM))
    with pytest.raises(ValueError, match="8 channels can't be cut into 3 groups"):
        jax.eval_shape(UNet(**{**DDPM, "num_groups": 3}).init, key, *inputs(DDPM))


def test_first_multiplier_may_be_a_fraction():
    fields = {**ADM, "channel_mult": (0.5, 1), "head_channels": 4}
    params = jax.eval_shape(UNet(**fields).init, jax.random.key(0), *inputs(fields))["params"]
    assert params["conv_in"]["kernel"].shape == (3, 3, 3, 4)
    assert params["time_embed"]["dense_in"]["kernel"].shape == (8, 32)


@pytest.mark.parametrize("variant", VARIANTS)
def test_logical_axes_name_every_matrix(variant):
    params = random_params(variant)["params"]
    for path, leaf in zip(param_paths(params), jax.tree.leaves(params), strict=True):
        ranks = [len(axes) for pattern, axes in LOGICAL_AXES if re.search(pattern, path)]
        assert leaf.ndim in ranks or leaf.ndim == 1, path


def test_a_level_of_noise_adds_an_embedding_and_nothing_else():
    x, t, label = inputs(ADM)
    level = jnp.linspace(0.0, 0.5, 2)

    def shapes(*given, **changes):
        params = jax.eval_shape(UNet(**ADM, **changes).init, jax.random.key(0), x, t, label, *given)["params"]
        return jax.tree.map(jnp.shape, params)

    told = shapes(level, aug_embed=True)
    assert told.pop("aug_level_embed") == told["time_embed"]
    assert told == shapes()
    with pytest.raises(ValueError, match="no aug_level was given .*aug_embed=True"):
        shapes(aug_embed=True)
    with pytest.raises(ValueError, match="an aug_level was given .*aug_embed=False"):
        shapes(level)


class _Reached(Exception):
    pass


def test_a_level_of_noise_is_embedded_as_that_share_of_a_thousand_steps():
    """And the time as `time_scale` has it; nothing is computed beyond."""
    x, t, label = inputs(ADM)
    level, seen = jnp.array([0.1, 0.5]), {}

    def record(call, args, kwargs, context):
        if isinstance(context.module, Conv3x3):
            raise _Reached
        if isinstance(context.module, TimeEmbedding):
            seen[context.module.name] = args[0]
            return jnp.zeros((2, context.module.out_dim))
        return call(*args, **kwargs)

    network = UNet(**ADM, aug_embed=True, time_scale=0.25)
    with nn.intercept_methods(record), pytest.raises(_Reached):
        network.init(jax.random.key(0), x, t, label, level)
    np.testing.assert_allclose(seen["aug_level_embed"], [100.0, 500.0], rtol=1e-6)
    np.testing.assert_allclose(seen["time_embed"], 0.25 * t, rtol=1e-6)
