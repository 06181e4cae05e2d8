"""Weights of CLIP as OpenAI released them, or in the format of transformers' `CLIPModel`.

The release's names: `visual.` before those of the image tower, `transformer.resblocks.N` in both towers, joint queries,
keys and values in `attn.in_proj_weight`. transformers has layers of their own for these, under `vision_model` and
`text_model`; its files are first renamed to the release's. Those of the residual networks are only of the release.

`image_size`, vocabulary and length follow from the checkpoint: the family has to be built for data of the same.
"""

import re
from collections.abc import Mapping

import numpy as np

from genjax.nn.clip_resnet import ClipResNet
from genjax.nn.clip_text import TextTower
from genjax.nn.vit import VisionTransformer
from genjax.pretrained.state_dict import Layer, StateDict
from genjax.typing import Params

_NUMBERS = ("input_resolution", "context_length", "vocab_size")
"""Entries of the release's archives that are settings."""

_TOWERS = {"vision_model.": "visual.", "text_model.": ""}
_NAMES = {
    "embeddings.class_embedding": "class_embedding",
    "embeddings.patch_embedding": "conv1",
    "embeddings.position_embedding.weight": "positional_embedding",
    "embeddings.token_embedding": "token_embedding",
    "pre_layrnorm": "ln_pre",
    "post_layernorm": "ln_post",
    "final_layer_norm": "ln_final",
    "encoder.layers": "transformer.resblocks",
    "self_attn.out_proj": "attn.out_proj",
    "layer_norm1": "ln_1",
    "layer_norm2": "ln_2",
    "mlp.fc1": "mlp.c_fc",
    "mlp.fc2": "mlp.c_proj",
}
"""Parts of names in transformers -> in the release."""


def clip_params(
    arrays: Mapping[str, np.ndarray], image: VisionTransformer | ClipResNet, text: TextTower
) -> tuple[Params, Params]:
    """(parameters, batch statistics) of the clip family from a state dict of the release or of `CLIPModel`.

    Args:
        arrays: name -> array.
        image, text: the towers, with the fields that the checkpoint was trained with; CLIP's of their time.

    Returns:
        `{"image", "text", "logit_scale"}`, the player "model" of `genjax.families.clip`, and its `extra`, which is
        empty of a vision transformer; as numpy arrays.

    Raises:
        ValueError: if entries are missing or left over: then the towers have other fields.
    """
    if any(name.startswith("vision_model.") for name in arrays):
        arrays = _as_released(arrays)
    state = StateDict({name: array for name, array in arrays.items() if name not in _NUMBERS})
    if isinstance(image, ClipResNet):
        tower, stats = _resnet(state, image)
    else:
        tower, stats = _vit(state, image), {}
    params = {"image": tower, "text": _text(state, text), "logit_scale": state.read("logit_scale").reshape(())}
    return state.finish((params, stats))


def _as_released(arrays: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    """The entries of a `CLIPModel` under the release's names."""
    renamed: dict[str, np.ndarray] = {}
    for name, array in arrays.items():
        if name.endswith("position_ids"):
            continue
        for theirs, ours in (_TOWERS | _NAMES).items():
            name = name.replace(theirs, ours)
        renamed[name] = array
    renamed["visual.proj"] = renamed.pop("visual_projection.weight").T
    renamed["text_projection"] = renamed.pop("text_projection.weight").T
    for name in [name for name in renamed if ".self_attn.q_proj." in name]:
        parts = [renamed.pop(name.replace("q_proj", part)) for part in ("q_proj", "k_proj", "v_proj")]
        renamed[re.sub(r"self_attn\.q_proj\.", "attn.in_proj_", name)] = np.concatenate(parts)
    return renamed


def _block(state: StateDict, prefix: str) -> Params:
    return {
        "norm_attention": state.norm(f"{prefix}.ln_1"),
        "qkv": {
            "kernel": state.read(f"{prefix}.attn.in_proj_weight").T,
            "bias": state.read(f"{prefix}.attn.in_proj_bias"),
        },
        "proj_out": state.dense(f"{prefix}.attn.out_proj"),
        "norm_mlp": state.norm(f"{prefix}.ln_2"),
        "mlp_in": state.dense(f"{prefix}.mlp.c_fc"),
        "mlp_out": state.dense(f"{prefix}.mlp.c_proj"),
    }


def _trunk(state: StateDict, prefix: str, depth: int, last_norm: str) -> Params:
    blocks = {f"block_{i}": _block(state, f"{prefix}.{i}") for i in range(depth)}
    return {**blocks, "norm_out": state.norm(last_norm)}


def _vit(state: StateDict, network: VisionTransformer) -> Params:
    patches = state.conv("visual.conv1")["kernel"]
    return {
        "patches": {"kernel": patches.reshape(-1, patches.shape[-1])},
        "class_token": state.read("visual.class_embedding"),
        "positions": state.read("visual.positional_embedding"),
        "norm_in": state.norm("visual.ln_pre"),
        "trunk": _trunk(state, "visual.transformer.resblocks", network.depth, "visual.ln_post"),
        "proj": {"kernel": state.read("visual.proj")},
    }


def _text(state: StateDict, network: TextTower) -> Params:
    return {
        "embed": state.embedding("token_embedding"),
        "positions": state.read("positional_embedding"),
        "trunk": _trunk(state, "transformer.resblocks", network.depth, "ln_final"),
        "proj": {"kernel": state.read("text_projection")},
    }


def _resnet(state: StateDict, network: ClipResNet) -> tuple[Params, Params]:
    params, stats = {"pool": _pool(state, "visual.attnpool")}, {}
    for i in range(3):
        params[f"stem_{i}"] = state.conv(f"visual.conv{i + 1}")
        params[f"norm_stem_{i}"], stats[f"norm_stem_{i}"] = _batch_norm(state, f"visual.bn{i + 1}")
    for level, depth in enumerate(network.depths):
        for i in range(depth):
            name = f"level_{level}_{i}"
            params[name], stats[name] = _bottleneck(state, f"visual.layer{level + 1}.{i}")
    return params, stats


def _bottleneck(state: StateDict, prefix: str) -> tuple[Params, Params]:
    layers = {"in": ("conv1", "bn1"), "middle": ("conv2", "bn2"), "out": ("conv3", "bn3")}
    params, stats = {}, {}
    if f"{prefix}.downsample.0.weight" in state:
        layers["skip"] = ("downsample.0", "downsample.1")
    for place, (conv, norm) in layers.items():
        params["skip" if place == "skip" else f"conv_{place}"] = state.conv(f"{prefix}.{conv}")
        params[f"norm_{place}"], stats[f"norm_{place}"] = _batch_norm(state, f"{prefix}.{norm}")
    return params, stats


def _batch_norm(state: StateDict, prefix: str) -> tuple[Layer, Layer]:
    """(gain and shift, running averages); the count of batches, where there is one, says nothing."""
    if f"{prefix}.num_batches_tracked" in state:
        state.read(f"{prefix}.num_batches_tracked")
    averages = {"mean": state.read(f"{prefix}.running_mean"), "var": state.read(f"{prefix}.running_var")}
    return state.norm(prefix), averages


def _pool(state: StateDict, prefix: str) -> Params:
    layers = [state.dense(f"{prefix}.{part}_proj") for part in ("q", "k", "v")]
    qkv = {name: np.concatenate([layer[name] for layer in layers], axis=-1) for name in ("kernel", "bias")}
    return {
        "positions": state.read(f"{prefix}.positional_embedding"),
        "qkv": qkv,
        "proj_out": state.dense(f"{prefix}.c_proj"),
    }
