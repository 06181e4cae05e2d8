"""Weights of Karlo, the public unCLIP, in diffusers' format: its prior, `kakaobrain/karlo-v1-alpha/prior`.

Covers `PriorTransformer` with a learned query (`added_emb_type="prd"`) and no norms before its blocks, as Karlo's. The
mean and the standard deviation of the embeddings, which that file holds too, belong to the family: `statistics`.
"""

from collections.abc import Mapping

import numpy as np

from genjax.nn.prior_transformer import PriorTransformer
from genjax.pretrained.state_dict import StateDict
from genjax.typing import Params

_STATISTICS = ("clip_mean", "clip_std")


def prior_params(arrays: Mapping[str, np.ndarray], network: PriorTransformer) -> Params:
    """The parameters of `network` from a state dict of diffusers' `PriorTransformer`.

    Args:
        arrays: name -> array.
        network: with the fields that the checkpoint was trained with.

    Raises:
        ValueError: if entries are missing or left over: then `network` has other fields.
    """
    state = StateDict({name: array for name, array in arrays.items() if name not in _STATISTICS})
    blocks = {f"block_{i}": _block(state, f"transformer_blocks.{i}") for i in range(network.depth)}
    params = {
        "query": state.read("prd_embedding").reshape(-1),
        "positions": state.read("positional_embedding")[0],
        "states_proj": state.dense("encoder_hidden_states_proj"),
        "text_proj": state.dense("embedding_proj"),
        "time_embed": {
            "dense_in": state.dense("time_embedding.linear_1"),
            "dense_out": state.dense("time_embedding.linear_2"),
        },
        "noisy_proj": state.dense("proj_in"),
        "trunk": {**blocks, "norm_out": state.norm("norm_out")},
        "head": state.dense("proj_to_clip_embeddings"),
    }
    return state.finish(params)


def statistics(arrays: Mapping[str, np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
    """(mean, standard deviation) [d] by which the checkpoint's embeddings are whitened.

    Raises:
        ValueError: if they aren't there.
    """
    missing = [name for name in _STATISTICS if name not in arrays]
    if missing:
        raise ValueError(f"the checkpoint has no {' and no '.join(missing)}: it isn't Karlo's prior")
    state = StateDict(arrays)
    mean, std = (state.read(name).reshape(-1) for name in _STATISTICS)
    return mean, std


def _block(state: StateDict, prefix: str) -> Params:
    layers = [state.dense(f"{prefix}.attn1.{name}") for name in ("to_q", "to_k", "to_v")]
    return {
        "norm_attention": state.norm(f"{prefix}.norm1"),
        "qkv": {name: np.concatenate([layer[name] for layer in layers], axis=-1) for name in ("kernel", "bias")},
        "proj_out": state.dense(f"{prefix}.attn1.to_out.0"),
        "norm_mlp": state.norm(f"{prefix}.norm3"),
        "mlp_in": state.dense(f"{prefix}.ff.net.0.proj"),
        "mlp_out": state.dense(f"{prefix}.ff.net.2"),
    }
