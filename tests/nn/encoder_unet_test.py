"""The half U-Net: its parts are the U-Net's, and its logits depend on each example alone."""

import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from genjax.core.tree import param_paths
from genjax.nn.encoder_unet import LOGICAL_AXES, EncoderUNet
from genjax.nn.unet import UNet

FIELDS = {
    "out_channels": 7,
    "width": 8,
    "num_groups": 4,
    "channel_mult": (1, 2),
    "num_res_blocks": 1,
    "attention_resolutions": (4,),
    "head_channels": 8,
    "adaptive_norm": True,
    "resblock_updown": True,
}
NETWORK = EncoderUNet(**FIELDS)
X = jax.random.normal(jax.random.key(5), (3, 8, 8, 2))
T = jnp.array([0.0, 400.0, 999.0])


@pytest.fixture(scope="module")
def variables():
    """Weights without the zeros of a fresh network, whose blocks are their skips, whatever the time."""
    noise = np.random.default_rng(0)
    shapes = jax.eval_shape(NETWORK.init, jax.random.key(0), X, T)
    return jax.tree.map(lambda leaf: 0.3 * noise.standard_normal(leaf.shape, np.float32), shapes)


def test_its_parameters_are_those_of_the_way_down(variables):
    u_net = jax.eval_shape(UNet(**FIELDS).init, jax.random.key(0), X, T)["params"]
    ours = jax.tree.map(jnp.shape, variables["params"])
    assert ours.keys() - u_net.keys() == {"pool"}
    assert u_net.keys() - ours.keys() == {"conv_out"} | {name for name in u_net if name.startswith("up_")}
    for name in ours.keys() & u_net.keys() - {"norm_out"}:
        assert ours[name] == jax.tree.map(jnp.shape, u_net[name]), name


def test_examples_don_t_see_each_other_and_time_matters(variables):
    apply = jax.jit(NETWORK.apply)
    logits = apply(variables, X, T)
    assert logits.shape == (3, 7) and logits.dtype == jnp.float32
    other = apply(variables, X.at[1].set(2.0), T + jnp.array([0.0, 0.0, 1.0]))
    np.testing.assert_array_equal(logits[0], other[0])
    assert float(jnp.abs(logits - other)[1:].max(1).min()) > 1e-4


def test_logical_axes_name_every_matrix(variables):
    params = variables["params"]
    for path, leaf in zip(param_paths(params), jax.tree.leaves(params), strict=True):
        ranks = [len(axes) for pattern, axes in LOGICAL_AXES if re.search(pattern, path)]
        assert leaf.ndim in ranks or leaf.ndim == 1, path


def test_errors_say_what_is_wrong():
    with pytest.raises(ValueError, match="9x9.*divisible by 2"):
        jax.eval_shape(NETWORK.init, jax.random.key(0), jnp.zeros((1, 9, 9, 2)), jnp.zeros(1))
    with pytest.raises(ValueError, match="attention_resolutions has"):
        jax.eval_shape(NETWORK.init, jax.random.key(0), jnp.zeros((1, 12, 12, 2)), jnp.zeros(1))
