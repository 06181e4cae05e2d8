"""Weights of Improved DDPM and ADM: github.com/openai/{improved-diffusion, guided-diffusion}.

Their `UNetModel` numbers its blocks in the order of computation and doesn't name levels:

    input_blocks.0.0                the first convolution
    input_blocks.N.0, .1            a residual block and its attention, or a change of resolution
    middle_block.0, .1, .2          residual block, attention, residual block
    output_blocks.N.0, .1, .2       a residual block, attention, a change of resolution: what there is
    out.0, out.2                    the last norm and convolution

Which number belongs to which level follows from `num_res_blocks` and the number of levels. Their
`EncoderUNetModel`, the classifier of noisy images, has no output blocks, and `out.2` is its attention pool.

The released files, e.g. `256x256_diffusion.pt` and `256x256_classifier.pt`, are such state dicts; the networks of
the configs `iddpm_*`, `adm_*` and `adm_classifier_*` take them. `tests/parity/guided_diffusion_test.py` proves equal
outputs for each kind of block.
"""

from collections.abc import Mapping

import numpy as np

from genjax.nn.encoder_unet import EncoderUNet
from genjax.nn.unet import UNet
from genjax.nn.unet_trunk import Trunk
from genjax.pretrained.state_dict import StateDict
from genjax.typing import Params


def unet_params(arrays: Mapping[str, np.ndarray], network: UNet) -> Params:
    """The parameters of `network` from a state dict of the releases.

    Args:
        arrays: name -> array.
        network: with the fields that the checkpoint was trained with; `channel_mult` and `num_res_blocks`
            decide on the names.

    Returns:
        What `network.apply({"params": ...}, ...)` takes, as numpy arrays.

    Raises:
        ValueError: if entries are missing or left over: then `network` has other fields.
    """
    state = StateDict(arrays)
    return state.finish(read_unet(state, network))


def read_unet(state: StateDict, network: UNet) -> Params:
    """The parameters of `network` from the entries of a state dict that belong to it."""
    params = {
        **_trunk(state, network),
        **_way_up(state, len(network.channel_mult), network.num_res_blocks),
        "norm_out": state.norm("out.0"),
        "conv_out": state.conv("out.2"),
    }
    if "label_emb.weight" in state:
        params["label_embed"] = state.embedding("label_emb")
    return params


def encoder_params(arrays: Mapping[str, np.ndarray], network: EncoderUNet) -> Params:
    """The parameters of `network` from the state dict of a released classifier.

    Arguments, result and errors as of `unet_params`.
    """
    state = StateDict(arrays)
    pool = {
        "positions": state.read("out.2.positional_embedding").T,
        "qkv": state.dense("out.2.qkv_proj"),
        "proj_out": state.dense("out.2.c_proj"),
    }
    params = {**_trunk(state, network), "norm_out": state.norm("out.0"), "pool": pool}
    return state.finish(params)


def _trunk(state: StateDict, network: Trunk) -> Params:
    """What both kinds of network have: the way down and the middle."""
    return {
        "conv_in": state.conv("input_blocks.0.0"),
        "time_embed": {"dense_in": state.dense("time_embed.0"), "dense_out": state.dense("time_embed.2")},
        "middle_0": _res_block(state, "middle_block.0"),
        "middle_attention": _attention(state, "middle_block.1"),
        "middle_1": _res_block(state, "middle_block.2"),
        **_way_down(state, len(network.channel_mult), network.num_res_blocks),
    }


def _way_down(state: StateDict, num_levels: int, num_res_blocks: int) -> Params:
    params = {}
    for level in range(num_levels):
        first = 1 + level * (num_res_blocks + 1)
        for i in range(num_res_blocks):
            theirs, ours = f"input_blocks.{first + i}", f"down_{level}_{i}"
            params[ours] = _res_block(state, f"{theirs}.0")
            if f"{theirs}.1.qkv.weight" in state:
                params[f"{ours}_attention"] = _attention(state, f"{theirs}.1")
        if level < num_levels - 1:
            theirs = f"input_blocks.{first + num_res_blocks}.0"
            params[f"down_{level}_resample"] = _resample(state, theirs, "op")
    return params


def _way_up(state: StateDict, num_levels: int, num_res_blocks: int) -> Params:
    params = {}
    for level in range(num_levels):
        first = (num_levels - 1 - level) * (num_res_blocks + 1)
        for i in range(num_res_blocks + 1):
            theirs, ours, position = f"output_blocks.{first + i}", f"up_{level}_{i}", 1
            params[ours] = _res_block(state, f"{theirs}.0")
            if f"{theirs}.1.qkv.weight" in state:
                params[f"{ours}_attention"] = _attention(state, f"{theirs}.1")
                position = 2
        if level > 0:
            params[f"up_{level}_resample"] = _resample(state, f"{theirs}.{position}", "conv")
    return params


def _res_block(state: StateDict, prefix: str) -> Params:
    params = {
        "norm_in": state.norm(f"{prefix}.in_layers.0"),
        "conv_in": state.conv(f"{prefix}.in_layers.2"),
        "embed": state.dense(f"{prefix}.emb_layers.1"),
        "norm_out": state.norm(f"{prefix}.out_layers.0"),
        "conv_out": state.conv(f"{prefix}.out_layers.3"),
    }
    if f"{prefix}.skip_connection.weight" in state:
        params["skip"] = state.dense(f"{prefix}.skip_connection")
    return params


def _attention(state: StateDict, prefix: str) -> Params:
    text = f"{prefix}.encoder_kv"
    return {
        "norm": state.norm(f"{prefix}.norm"),
        "qkv": state.dense(f"{prefix}.qkv"),
        "proj_out": state.dense(f"{prefix}.proj_out"),
        **({"encoder_kv": state.dense(text)} if f"{text}.weight" in state else {}),
    }


def _resample(state: StateDict, prefix: str, conv: str) -> Params:
    """A change of resolution: a convolution, or a residual block (`resblock_updown`)."""
    if f"{prefix}.{conv}.weight" in state:
        return {"conv": state.conv(f"{prefix}.{conv}")}
    return _res_block(state, prefix)
