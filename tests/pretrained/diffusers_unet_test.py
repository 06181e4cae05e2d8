"""Layers of diffusers' U-Net as the joint ones of ours."""

import jax.numpy as jnp
import numpy as np
import pytest

from genjax.nn.layers.attention import split_heads
from genjax.nn.unet import UNet
from genjax.pretrained import diffusers_unet


@pytest.mark.parametrize("new_order", [False, True])
@pytest.mark.parametrize("heads", [{"num_heads": 2}, {"num_heads": 1, "head_channels": 3}])
def test_queries_keys_and_values_of_each_head_are_those_of_their_own_layers(new_order, heads):
    draw = np.random.default_rng(0)
    layers = [{"kernel": draw.normal(size=(6, 6)), "bias": draw.normal(size=6)} for _ in range(3)]
    network = UNet(out_channels=1, width=6, num_groups=3, new_attention_order=new_order, **heads)
    joint, x = diffusers_unet._joined(layers, network), draw.normal(size=(2, 5, 6))
    together = jnp.asarray(x @ joint["kernel"] + joint["bias"])
    for part, layer in zip(split_heads(together, 2, new_order), layers, strict=True):
        own = (x @ layer["kernel"] + layer["bias"]).reshape(2, 5, 2, 3)
        np.testing.assert_allclose(part, own, rtol=1e-5, atol=1e-5)
