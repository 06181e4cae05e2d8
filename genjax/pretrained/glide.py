"""Weights of GLIDE's release: github.com/openai/glide-text2im.

Their `Text2ImUNet` is guided-diffusion's U-Net (`genjax.pretrained.guided_diffusion`) with a transformer beside it:

    token_embedding, positional_embedding, padding_embedding
    transformer.resblocks.N.{ln_1, attn.c_qkv, attn.c_proj, ln_2, mlp.c_fc, mlp.c_proj}
    final_ln, transformer_proj
    ....1.encoder_kv                 keys and values of the text, in each attention of the U-Net

The released files, `base.pt`, `upsample.pt`, `base-inpaint.pt` and `upsample-inpaint.pt`, are such state dicts; the
configs `glide_base64`, `glide_upsample256`, `glide_inpaint64` and `glide_upsample_inpaint256` take them.

The joint projection of their transformer is cut into heads before it is cut into queries, keys and values; its rows
are put in our order, the other way round. Their vocabulary is GPT-2's, whose last token is the padding; ours has the
padding first, so the two rows of the table are exchanged, as `genjax.data.tokenizers` exchanges the tokens.
"""

from collections.abc import Mapping
from typing import Any

import numpy as np

from genjax.nn.unet import UNet
from genjax.pretrained import guided_diffusion
from genjax.pretrained.state_dict import StateDict
from genjax.typing import Params


def params(arrays: Mapping[str, np.ndarray], network: UNet, num_heads: int) -> Params:
    """The parameters of the family's player "model" from a state dict of the release.

    Args:
        arrays: name -> array.
        network: with the fields that the checkpoint was trained with.
        num_heads: of the text's transformer, `config.model.text.num_heads`.

    Returns:
        Those of the network, and under "conditioner" those of the text's transformer, as numpy arrays.

    Raises:
        ValueError: if entries are missing or left over: then `network` has other fields.
    """
    state = StateDict(arrays)
    text = _text(state, num_heads)
    return state.finish({**guided_diffusion.read_unet(state, network), "conditioner": text})


def _text(state: StateDict, num_heads: int) -> Params:
    """The transformer that reads captions; the number of its blocks is that of the checkpoint."""
    table = state.read("token_embedding.weight")
    blocks = 0
    trunk = {"norm_out": state.norm("final_ln")}
    while f"transformer.resblocks.{blocks}.ln_1.weight" in state:
        trunk[f"block_{blocks}"] = _block(state, f"transformer.resblocks.{blocks}", num_heads)
        blocks += 1
    return {
        "embed": {"embedding": np.concatenate([table[-1:], table[1:-1], table[:1]])},
        "positions": state.read("positional_embedding"),
        "padding": state.read("padding_embedding"),
        "trunk": trunk,
        "vector": state.dense("transformer_proj"),
    }


def _block(state: StateDict, prefix: str, num_heads: int) -> Params:
    return {
        "norm_attention": state.norm(f"{prefix}.ln_1"),
        "qkv": {name: _reorder(leaf, num_heads) for name, leaf in state.dense(f"{prefix}.attn.c_qkv").items()},
        "proj_out": state.dense(f"{prefix}.attn.c_proj"),
        "norm_mlp": state.norm(f"{prefix}.ln_2"),
        "mlp_in": state.dense(f"{prefix}.mlp.c_fc"),
        "mlp_out": state.dense(f"{prefix}.mlp.c_proj"),
    }


def _reorder(joint: Any, num_heads: int) -> Any:
    """[heads, (q, k, v), d] to [(q, k, v), heads, d], in the last axis."""
    parts = joint.reshape(*joint.shape[:-1], num_heads, 3, -1)
    return parts.swapaxes(-3, -2).reshape(joint.shape)
