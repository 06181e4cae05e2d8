"""The Efficient U-Net: where it computes, what it hands over, what it is told."""

import functools

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from genjax.conditioning.inputs import Context
from genjax.nn import denoising
from genjax.nn.efficient_unet import EfficientUNet
from genjax.nn.text_conditioning import ReadStates, TextStates

TINY = {
    "out_channels": 3,
    "width": 8,
    "num_groups": 4,
    "channel_mult": (1, 2),
    "num_res_blocks": (1, 2),
    "attention_resolutions": (4,),
    "head_channels": 8,
    "adaptive_norm": True,
}
X = jax.random.normal(jax.random.key(5), (2, 16, 16, 3))
T = jnp.array([0.2, 0.7])
MASK = jnp.array([[True, True, False], [False, False, False]])
TOLD = Context(jax.random.normal(jax.random.key(6), (2, 3, 5)), MASK, jax.random.normal(jax.random.key(7), (2, 32)))


@functools.cache
def make(text_only=False, **fields):
    """(network applied under jit, its parameters with nothing left at zero)."""
    network = EfficientUNet(**{**TINY, "text_only": text_only, **fields})
    shapes = jax.eval_shape(network.init, jax.random.key(0), X, T, None, None, TOLD)
    draw = np.random.default_rng(0)
    leaves, tree = jax.tree.flatten(shapes)
    leaves = [jnp.asarray(0.3 * draw.standard_normal(leaf.shape, np.float32)) for leaf in leaves]
    return jax.jit(network.apply), tree.unflatten(leaves)


@pytest.mark.parametrize("text_only", [False, True])
def test_it_depends_on_tokens_that_are_seen_and_on_the_vector(text_only):
    apply, params = make(text_only)
    whole = apply(params, X, T, None, None, TOLD)
    assert whole.shape == X.shape and np.isfinite(whole).all()
    for place, changes in (((0, 2), False), ((0, 1), True), ((1, 0), False)):
        other = apply(params, X, T, None, None, TOLD._replace(states=TOLD.states.at[place].add(3.0)))
        assert bool((other[place[0]] != whole[place[0]]).any()) == changes
        np.testing.assert_array_equal(other[1 - place[0]], whole[1 - place[0]])
    other = apply(params, X, T, None, None, TOLD._replace(vector=TOLD.vector + 1))
    assert float(jnp.abs(other - whole).max()) > 1e-3


def test_only_the_first_and_the_last_convolution_see_the_full_size():
    network = EfficientUNet(**TINY)
    init = functools.partial(network.init_with_output, capture_intermediates=True, mutable=True)
    _, variables = jax.eval_shape(init, jax.random.key(0), X, T, None, None, TOLD)
    found = variables["intermediates"]
    sizes = {name: found[name]["__call__"][0].shape[1] for name in found if name.startswith(("down", "up", "conv"))}
    full = {name for name, size in sizes.items() if size == 16}
    assert full == {"conv_in", "conv_out", "up_0_resample"}
    assert sizes["down_0_0"] == sizes["up_0_0"] == 8 and sizes["down_1_1"] == sizes["up_1_0"] == 4
    channels = variables["params"]["up_0_0"]["norm_in"]["scale"].shape[0]
    assert channels == 8 + 8, "the way up takes the way down's result beside its own"
    assert variables["params"]["up_1_0"]["norm_in"]["scale"].shape == (16,), "the innermost isn't taken twice"


def test_what_the_way_down_hands_over_is_divided_by_the_root_of_two():
    """Of layers that give nothing but a number of their own."""
    numbers = {"conv_in": 3.0, "down_0_resample": 5.0, "up_1_resample": 7.0, "up_0_resample": 11.0}
    seen = {}

    def stand_in(call, args, kwargs, context):
        module = context.module
        if isinstance(module, EfficientUNet) or context.method_name != "__call__":
            return call(*args, **kwargs)
        if module.name == "time_embed":
            return jnp.zeros((2, module.out_dim))
        seen[module.name], (batch, height, width, channels) = args[0], args[0].shape
        size = {"down": 0.5, "up": 2}.get(module.name.partition("_")[0] if "resample" in module.name else "", 1)
        channels = getattr(module, "features", None) or getattr(module, "out_channels", channels)
        number = numbers.get(module.name, args[0].ravel()[0])
        return jnp.full((batch, int(size * height), int(size * width), channels), number)

    with nn.intercept_methods(stand_in):
        EfficientUNet(**TINY).init(jax.random.key(0), X, T, None, None, TOLD)
    handed = [number for name in ("up_0_0", "norm_out") for number in np.unique(seen[name])]
    np.testing.assert_allclose(sorted(handed), sorted([7.0, 5 / 2**0.5, 11.0, 3 / 2**0.5]), rtol=1e-6)


def test_what_does_not_fit_is_told():
    with pytest.raises(ValueError, match="divisible by 4"):
        jax.eval_shape(EfficientUNet(**TINY).init, jax.random.key(0), X[:, :10], T)
    with pytest.raises(ValueError, match=r"num_res_blocks=\(1,\) has to name as many levels"):
        jax.eval_shape(EfficientUNet(**{**TINY, "num_res_blocks": (1,)}).init, jax.random.key(0), X, T)
    with pytest.raises(ValueError, match="16.*sizes .8, 4."):
        jax.eval_shape(EfficientUNet(**{**TINY, "attention_resolutions": (16,)}).init, jax.random.key(0), X, T)
    with pytest.raises(ValueError, match="needs a text's tokens"):
        jax.eval_shape(EfficientUNet(**TINY, text_only=True).init, jax.random.key(0), X, T)
    assert denoising.NETWORKS["efficient_unet"] is EfficientUNet


def test_states_are_read_without_regard_to_padding_and_the_null_text_has_a_vector():
    texts = TextStates(TOLD.states, MASK)
    reader = ReadStates(width=4, vector_dim=6, num_heads=2)
    params, apply = jax.jit(reader.init)(jax.random.key(0), texts), jax.jit(reader.apply)
    told = apply(params, texts)
    assert told.states.shape == (2, 3, 4) and told.vector.shape == (2, 6)
    other = apply(params, texts._replace(states=texts.states.at[:, 2].add(9.0)))
    np.testing.assert_allclose(other.vector, told.vector, atol=1e-6)
    assert float(jnp.abs(told.vector[1]).max()) > 0
    with pytest.raises(ValueError, match="can't be cut into num_heads=3"):
        jax.eval_shape(ReadStates(width=4, vector_dim=6, num_heads=3).init, jax.random.key(0), texts)
