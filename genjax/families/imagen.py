"""Imagen: images from what a frozen language model says of their captions (arXiv:2205.11487).

The language model is an upstream stage, a `TextEncoder`, and is never trained. Its states, or those that
`launch/encode.py` has kept of it, become features that the network's attention looks at and a vector that joins its
embedding of time (`genjax.nn.text_conditioning`). A share of the captions is replaced by the empty one, so that one
network is both halves of classifier-free guidance,

    x0 = x0(x_t, empty) + w (x0(x_t, text) - x0(x_t, empty))            (section 2.2)

All else is that of the other diffusion models (`genjax.families.shared.diffusion`), of which these are settings here:
dynamic thresholding, which keeps images in range under large weights (section 2.3, `config.sampling.threshold`); and
with `low_res` a model that upsamples, whose low-resolution image is noised at a level that is an input, too (section
2.4). Each stage of the cascade reads the text and has a weight of guidance of its own.
"""

from collections.abc import Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from genjax.conditioning.inputs import drop_share
from genjax.families.interfaces import Conditions, TextEncoder, Weights
from genjax.families.settings import expect_share, read_settings
from genjax.families.shared import diffusion as shared_diffusion
from genjax.families.shared.diffusion_model import Conditioner, check_tokens
from genjax.nn import text_conditioning
from genjax.nn.text_conditioning import ReadStates, TextStates
from genjax.typing import DataSpec, Key

TEXT = "text"
"""The name of the stage that reads captions."""


class Settings(NamedTuple):
    """`config.model`, beside the fields of `diffusion_settings.Settings`.

    Attributes:
        text: fields of `Text`.
        text_dropout: share of the captions replaced by the empty one, for classifier-free guidance; .1 in the paper.
    """

    text: Mapping[str, Any]
    text_dropout: float = 0.1


class Text(NamedTuple):
    """`config.model.text`.

    Attributes:
        width: features that the states are projected to, for attention.
        num_heads: of the pool.
    """

    width: int
    num_heads: int = 1


def make_conditioner(settings: Settings, spec: DataSpec, vector_dim: int, dtype: str, text: TextEncoder) -> Conditioner:
    """The conditioner of states of a frozen language model.

    Raises:
        ValueError: for tokens that aren't the language model's, or a share outside [0, 1].
    """
    reader, fields = text, read_settings(Text, settings.text, "config.model.text of the imagen family")
    if spec.text_length != reader.length or spec.vocab_size > reader.vocab_size:
        raise ValueError(
            f"the language model in config.stages.{TEXT} reads {reader.length} of {reader.vocab_size} tokens, and "
            f"captions here have {spec.text_length} of {spec.vocab_size}; set config.data.tokenizer to its own"
        )
    expect_share("config.model.text_dropout", settings.text_dropout)

    def read(frozen: Mapping[str, Weights], given: Conditions) -> TextStates:
        tokens = check_tokens(given.tokens, reader.length)
        if given.text_states is not None:
            return TextStates(given.text_states, tokens != 0)
        features = reader.encode(frozen[TEXT], tokens)
        return TextStates(features.states, features.mask)

    def null(texts: TextStates) -> TextStates:
        return jax.tree.map(jnp.zeros_like, texts)

    def drop(texts: TextStates, key: Key) -> TextStates:
        return drop_share(texts, null(texts), settings.text_dropout, key)

    shape_of: Any = jax.ShapeDtypeStruct  # stands for an array
    return Conditioner(
        read=read,
        shapes=TextStates(
            shape_of((1, reader.length, reader.dim), jnp.float32),
            shape_of((1, reader.length), jnp.bool_),
        ),
        module=ReadStates(fields.width, vector_dim, fields.num_heads, dtype=dtype),
        drop=drop,
        null=null if settings.text_dropout else None,
        text_length=reader.length,
        optional=("text_states",),
        parents=(TEXT,),
    )


build = shared_diffusion.builder(
    "imagen", Settings, conditioner=make_conditioner, logical_axes=text_conditioning.LOGICAL_AXES, text=TextEncoder
)
