"""Weights of T5's encoder in the format of `transformers`, such as `google/t5-v1_1-xxl` or `t5-small` on its hub.

    shared                                                  the table of tokens
    encoder.block.N.layer.0.SelfAttention.{q, k, v, o}      attention, no biases
    encoder.block.0.layer.0.SelfAttention.relative_attention_bias   of distances, in the first block only
    encoder.block.N.layer.1.DenseReluDense.{wi | wi_0, wi_1}, wo    the MLP; wi_0 is the gate of version 1.1
    encoder.block.N.layer.{0, 1}.layer_norm                 the norms before each

The decoder of a whole model is left aside.
"""

from collections.abc import Mapping

import numpy as np

from genjax.nn.t5 import T5Encoder
from genjax.pretrained.state_dict import StateDict
from genjax.typing import Params

_COPY = "encoder.embed_tokens.weight"


def encoder_params(arrays: Mapping[str, np.ndarray], network: T5Encoder) -> Params:
    """The parameters of `network` from a state dict of `T5EncoderModel` or of a whole T5.

    Args:
        arrays: name -> array.
        network: with the fields that the checkpoint was trained with; `depth` and `gated` decide on the names.

    Returns:
        What `network.apply({"params": ...}, ...)` takes, as numpy arrays.

    Raises:
        ValueError: if entries are missing or left over: then `network` has other fields.
    """
    state = StateDict({name: array for name, array in arrays.items() if _is_of_encoder(name)})
    distances = "encoder.block.0.layer.0.SelfAttention.relative_attention_bias"
    params = {
        "embed": state.embedding("shared"),
        "distances": state.embedding(distances),
        "norm_out": state.norm("encoder.final_layer_norm"),
    }
    for i in range(network.depth):
        params[f"block_{i}"] = _block(state, f"encoder.block.{i}.layer", network.gated)
    return state.finish(params)


def _is_of_encoder(name: str) -> bool:
    return name != _COPY and not name.startswith(("decoder.", "lm_head."))


def _block(state: StateDict, prefix: str, gated: bool) -> Params:
    attention, mlp = f"{prefix}.0.SelfAttention", f"{prefix}.1.DenseReluDense"
    layers = [state.dense(f"{attention}.{name}")["kernel"] for name in "qkv"]
    params = {
        "norm_attention": state.norm(f"{prefix}.0.layer_norm"),
        "qkv": {"kernel": np.concatenate(layers, axis=1)},
        "proj_out": state.dense(f"{attention}.o"),
        "norm_mlp": state.norm(f"{prefix}.1.layer_norm"),
        "mlp_in": state.dense(f"{mlp}.wi_1" if gated else f"{mlp}.wi"),
        "mlp_out": state.dense(f"{mlp}.wo"),
    }
    return params | ({"mlp_gate": state.dense(f"{mlp}.wi_0")} if gated else {})
