"""GLIDE: images from texts by a diffusion model that reads them itself (arXiv:2112.10741).

A transformer, trained with the U-Net, turns the tokens of a caption into features that every attention of the U-Net
looks at and a vector that joins its embedding of time (`genjax.nn.glide_text`). A share of the captions is replaced by
the empty one, so that one network is both halves of classifier-free guidance,

    x0 = x0(x_t, empty) + s (x0(x_t, text) - x0(x_t, empty))            (section 2.3)

All else, objective and sampling, is that of the other diffusion models (`genjax.families.shared.diffusion`): with
`low_res` it is the upsampler, which sees the text as well and is drawn from without guidance; with `inpaint` it is
fine-tuned to fill in what is erased (section 2.5), from the run that `config.init_from` names, by whose function it
starts out. CLIP's guidance (section 2.2) is a guide from outside (`genjax.pipelines.guides`).

Deviation: the paper drops captions only in a fine-tuning after the pre-training; here the share is a setting of either.
"""

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from genjax.conditioning.inputs import drop_share
from genjax.families.settings import expect_share, expect_tokens, read_settings
from genjax.families.shared import diffusion as shared_diffusion
from genjax.families.shared.diffusion_model import Conditioner, check_tokens
from genjax.nn import glide_text
from genjax.nn.glide_text import GlideText
from genjax.typing import DataSpec, Key, Tokens


class Settings(NamedTuple):
    """`config.model`, beside the fields of `diffusion_settings.Settings`.

    Attributes:
        text: fields of `Text`.
        text_dropout: share of the captions replaced by the empty one, for classifier-free guidance; .2 in the paper.
    """

    text: Mapping[str, Any] = MappingProxyType({})
    text_dropout: float = 0.0


class Text(NamedTuple):
    """`config.model.text`: `width`, `depth` and `num_heads` of the transformer that reads captions."""

    width: int = 512
    depth: int = 16
    num_heads: int = 8


def make_conditioner(settings: Settings, spec: DataSpec, vector_dim: int, dtype: str) -> Conditioner:
    """The conditioner of captions, as the transformer reads them.

    Raises:
        ValueError: for data without tokens, or a share outside [0, 1].
    """
    expect_tokens(spec, "glide")
    text = read_settings(Text, settings.text, "config.model.text of the glide family")
    expect_share("config.model.text_dropout", settings.text_dropout)

    def drop(tokens: Tokens, key: Key) -> Tokens:
        return drop_share(tokens, jnp.zeros_like(tokens), settings.text_dropout, key)

    return Conditioner(
        read=lambda frozen, given: check_tokens(given.tokens, spec.text_length),
        shapes=jax.ShapeDtypeStruct((1, spec.text_length), jnp.int32),
        module=GlideText(
            spec.vocab_size, spec.text_length, vector_dim, text.width, text.depth, text.num_heads, dtype=dtype
        ),
        drop=drop,
        null=jnp.zeros_like if settings.text_dropout else None,
        text_length=spec.text_length,
    )


build = shared_diffusion.builder("glide", Settings, conditioner=make_conditioner, logical_axes=glide_text.LOGICAL_AXES)
