"""Weights of DDPM in the format of diffusers' `UNet2DModel`, such as `google/ddpm-cifar10-32` on its hub.

Of that class, this covers what DDPM uses: `DownBlock2D`, `AttnDownBlock2D` and their like, sinusoidal times
and classes; the network for it is `UNet(variant="ddpm", ...)` if `freq_shift=1`, `flip_sin_to_cos=False`,
`norm_eps=1e-6` and `downsample_padding=0`, as DDPM's config has them. Levels are numbered from the outside on
the way down, and from the inside on the way up. Queries, keys and values are layers of their own there, one
joint layer here.
"""

from collections.abc import Mapping

import numpy as np

from genjax.nn.unet import UNet
from genjax.pretrained.state_dict import Layer, StateDict
from genjax.typing import Params

_OLD_NAMES = {"query": "to_q", "key": "to_k", "value": "to_v", "proj_attn": "to_out.0"}
"""Names of the attention's layers in files older than 2023."""


def unet_params(arrays: Mapping[str, np.ndarray], network: UNet) -> Params:
    """The parameters of `network` from a state dict of `UNet2DModel`.

    Args:
        arrays: name -> array, of a file `diffusion_pytorch_model.safetensors` or `.bin`, old names or new.
        network: with the fields that the checkpoint was trained with.

    Returns:
        What `network.apply({"params": ...}, ...)` takes, as numpy arrays.

    Raises:
        ValueError: if entries are missing or left over: then `network` has other fields.
    """
    state = StateDict({_renamed(name): array for name, array in arrays.items()})
    last = len(network.channel_mult) - 1
    params = {
        "conv_in": state.conv("conv_in"),
        "time_embed": {
            "dense_in": state.dense("time_embedding.linear_1"),
            "dense_out": state.dense("time_embedding.linear_2"),
        },
        "middle_0": _res_block(state, "mid_block.resnets.0"),
        "middle_attention": _attention(state, "mid_block.attentions.0", network),
        "middle_1": _res_block(state, "mid_block.resnets.1"),
        "norm_out": state.norm("conv_norm_out"),
        "conv_out": state.conv("conv_out"),
    }
    if "class_embedding.weight" in state:
        params["label_embed"] = state.embedding("class_embedding")
    for level in range(last + 1):
        down, up = f"down_blocks.{level}", f"up_blocks.{last - level}"
        params |= _level(state, down, f"down_{level}", network.num_res_blocks, network)
        params |= _level(state, up, f"up_{level}", network.num_res_blocks + 1, network)
        if level < last:
            params[f"down_{level}_resample"] = {"conv": state.conv(f"{down}.downsamplers.0.conv")}
        if level > 0:
            params[f"up_{level}_resample"] = {"conv": state.conv(f"{up}.upsamplers.0.conv")}
    return state.finish(params)


def _renamed(name: str) -> str:
    """The name in today's spelling."""
    path = name.split(".")
    if "attentions" in path:
        path[-2] = _OLD_NAMES.get(path[-2], path[-2])
    return ".".join(path)


def _level(state: StateDict, theirs: str, ours: str, num_blocks: int, network: UNet) -> Params:
    params = {}
    for i in range(num_blocks):
        params[f"{ours}_{i}"] = _res_block(state, f"{theirs}.resnets.{i}")
        if f"{theirs}.attentions.{i}.to_q.weight" in state:
            params[f"{ours}_{i}_attention"] = _attention(state, f"{theirs}.attentions.{i}", network)
    return params


def _res_block(state: StateDict, prefix: str) -> Params:
    params = {
        "norm_in": state.norm(f"{prefix}.norm1"),
        "conv_in": state.conv(f"{prefix}.conv1"),
        "embed": state.dense(f"{prefix}.time_emb_proj"),
        "norm_out": state.norm(f"{prefix}.norm2"),
        "conv_out": state.conv(f"{prefix}.conv2"),
    }
    if f"{prefix}.conv_shortcut.weight" in state:
        params["skip"] = state.dense(f"{prefix}.conv_shortcut")
    return params


def _attention(state: StateDict, prefix: str, network: UNet) -> Params:
    layers = [state.dense(f"{prefix}.{name}") for name in ("to_q", "to_k", "to_v")]
    return {
        "norm": state.norm(f"{prefix}.group_norm"),
        "qkv": _joined(layers, network),
        "proj_out": state.dense(f"{prefix}.to_out.0"),
    }


def _joined(layers: list[Layer], network: UNet) -> Layer:
    """The joint projection, its channels in the order of the network's attention (`genjax.nn.layers.attention`)."""
    channels = layers[0]["bias"].size
    heads = channels // network.head_channels if network.head_channels else network.num_heads
    groups = 1 if network.new_attention_order else heads

    def join(name):
        parts = [layer[name].reshape(*layer[name].shape[:-1], groups, -1) for layer in layers]
        return np.concatenate(parts, axis=-1).reshape(*parts[0].shape[:-2], -1)

    return {"kernel": join("kernel"), "bias": join("bias")}
