"""Weights of BEiT, as released (`beit_base_patch16_224_pt22k.pth`, its entry "model") or in the format of transformers.

Three spellings are read: the release's (`blocks.0.attn.q_bias`), that of transformers from version 5 on
(`beit.layers.0.attention.q_proj.bias`), and that of the files on its hub (`beit.encoder.layer.0.attention.attention.
query.bias`). transformers keeps queries, keys and values apart; here and in the release they are one layer, whose bias
is in two pieces, without one of the keys.
"""

import re
from collections.abc import Mapping

import numpy as np

from genjax.nn.beit import BeitClassifier, MaskedBeit
from genjax.pretrained.state_dict import StateDict
from genjax.typing import Params

_RENAMES = (
    (r"^beit\.", ""),
    (r"^embeddings\.patch_embeddings\.projection", "patch_embed.proj"),
    (r"^embeddings\.", ""),
    (r"^(layers|encoder\.layer)\.", "blocks."),
    (r"^(shared_position_bias|encoder\.relative_position_bias)\.", "rel_pos_bias."),
    (r"\.attention\.(q_proj|attention\.query)\.", ".attn.query."),
    (r"\.attention\.(k_proj|attention\.key)\.", ".attn.key."),
    (r"\.attention\.(v_proj|attention\.value)\.", ".attn.value."),
    (r"\.attention\.(o_proj|output\.dense)\.", ".attn.proj."),
    (r"\.(attention\.attention\.)?relative_position_bias\.relative", ".attn.relative"),
    (r"\.layernorm_before\.", ".norm1."),
    (r"\.layernorm_after\.", ".norm2."),
    (r"\.intermediate\.dense\.", ".mlp.fc1."),
    (r"^(blocks\.\d+)\.output\.dense\.", r"\1.mlp.fc2."),
    (r"\.lambda_", ".gamma_"),
    (r"^pooler\.layernorm\.", "fc_norm."),
    (r"^layernorm\.", "norm."),
    (r"^classifier\.", "head."),
)
"""From both spellings of transformers to the release's."""


def masked_params(arrays: Mapping[str, np.ndarray], network: MaskedBeit) -> Params:
    """The parameters of a pretrained BEiT with its head.

    Args:
        arrays: name -> array, in any of the spellings.
        network: with the fields that the checkpoint was trained with.

    Returns:
        What `network.apply({"params": ...}, ...)` takes, as numpy arrays.

    Raises:
        ValueError: if entries are missing or left over: then `network` has other fields.
    """
    state = _read(arrays)
    params = {"trunk": _trunk(state, network.trunk["depth"])}
    params |= {"norm_out": state.norm("norm"), "head": state.dense("lm_head")}
    return state.finish(params)


def classifier_params(arrays: Mapping[str, np.ndarray], network: BeitClassifier) -> Params:
    """The parameters of a fine-tuned BEiT; arguments, result and errors as of `masked_params`."""
    state = _read(arrays)
    params = {"trunk": _trunk(state, network.trunk["depth"])}
    params |= {"norm_out": state.norm("fc_norm"), "head": state.dense("head")}
    return state.finish(params)


def _read(arrays: Mapping[str, np.ndarray]) -> StateDict:
    """The state dict in the release's spelling, without tables of indices."""
    return StateDict({_renamed(name): value for name, value in arrays.items() if "position_index" not in name})


def _renamed(name: str) -> str:
    for pattern, replacement in _RENAMES:
        name = re.sub(pattern, replacement, name)
    return name


def _trunk(state: StateDict, depth: int) -> Params:
    kernel = state.conv("patch_embed.proj")["kernel"]
    params = {
        "patches": {"kernel": kernel.reshape(-1, kernel.shape[-1]), "bias": state.read("patch_embed.proj.bias")},
        "class_token": state.read("cls_token").reshape(-1),
    }
    if "mask_token" in state:
        params["mask_token"] = state.read("mask_token").reshape(1, -1)
    if "rel_pos_bias.relative_position_bias_table" in state:
        params["position_bias"] = {"table": state.read("rel_pos_bias.relative_position_bias_table")}
    return params | {f"block_{i}": _block(state, f"blocks.{i}") for i in range(depth)}


def _block(state: StateDict, prefix: str) -> Params:
    params = {
        "norm_attention": state.norm(f"{prefix}.norm1"),
        **_projections(state, f"{prefix}.attn"),
        "proj_out": state.dense(f"{prefix}.attn.proj"),
        "norm_mlp": state.norm(f"{prefix}.norm2"),
        "mlp_in": state.dense(f"{prefix}.mlp.fc1"),
        "mlp_out": state.dense(f"{prefix}.mlp.fc2"),
        "gamma_1": state.read(f"{prefix}.gamma_1"),
        "gamma_2": state.read(f"{prefix}.gamma_2"),
    }
    if f"{prefix}.attn.relative_position_bias_table" in state:
        params["position_bias"] = {"table": state.read(f"{prefix}.attn.relative_position_bias_table")}
    return params


def _projections(state: StateDict, prefix: str) -> Params:
    """Queries, keys and values as one layer, and the two biases."""
    if f"{prefix}.qkv.weight" in state:
        biases = {f"{name}_bias": state.read(f"{prefix}.{name}_bias") for name in "qv"}
        return {"qkv": state.dense(f"{prefix}.qkv"), **biases}
    query, key, value = (state.dense(f"{prefix}.{name}") for name in ("query", "key", "value"))
    kernels = [layer["kernel"] for layer in (query, key, value)]
    return {"qkv": {"kernel": np.concatenate(kernels, axis=1)}, "q_bias": query["bias"], "v_bias": value["bias"]}
