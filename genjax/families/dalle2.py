"""unCLIP's decoder: images from CLIP embeddings of images, and texts (DALL-E 2, arXiv:2204.06125, section 2.1).

It is GLIDE's model, conditioned beside the caption on the CLIP embedding z_i of the image: projected and added to the
embedding of time, and as four more tokens for attention (`genjax.nn.clip_conditioning`). In training z_i is that of
the image itself, dropped for a tenth of them, the caption for half of them; sampling takes the z_i that a prior
draws, or that of another image, whose meaning it keeps and whose details it makes anew.

    x0 = x0(x_t, nothing) + s (x0(x_t, z_i, caption) - x0(x_t, nothing))

All else, objective and sampling, is that of the other diffusion models (`genjax.families.shared.diffusion`). Given no
`image_embed` it draws for the caption alone, the paper's decoder without a prior. The chain of both, with what draws
larger images, is `genjax.pipelines.dalle2`.

Deviation: the paper has the caption read by a transformer trained along, as GLIDE; with `text.source="clip"` it is read
by CLIP's frozen text tower, as in Karlo.
"""

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any, NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp

from genjax.conditioning.inputs import drop_share
from genjax.core import rng
from genjax.families.interfaces import Conditions, ImageTextEncoder, Weights
from genjax.families.settings import expect_share, read_settings
from genjax.families.shared import diffusion as shared_diffusion
from genjax.families.shared import prior as prior_lib
from genjax.families.shared.diffusion_model import Conditioner, check_tokens
from genjax.families.shared.prior import Caption
from genjax.nn import clip_conditioning
from genjax.nn.clip_conditioning import CaptionStates, ClipConditioning, ClipInputs
from genjax.nn.glide_text import GlideText
from genjax.typing import DataSpec, Key, PyTree

SOURCES = ("own", "clip")


class Settings(NamedTuple):
    """`config.model`, beside the fields of `diffusion_settings.Settings`.

    Attributes:
        text: fields of `Text`.
        image: fields of `ImageEmbedding`.
        text_dropout, image_dropout: shares of the captions and of the embeddings that are dropped, for guidance.
    """

    text: Mapping[str, Any] = MappingProxyType({})
    image: Mapping[str, Any] = MappingProxyType({})
    text_dropout: float = 0.5
    image_dropout: float = 0.1


class Text(NamedTuple):
    """`config.model.text`.

    Attributes:
        source: who reads the caption, "own", a transformer trained along, or "clip", its frozen text tower.
        width: of the transformer, or of CLIP's features as attention sees them.
        depth, num_heads: of the transformer.
    """

    source: str = "own"
    width: int = 2048
    depth: int = 24
    num_heads: int = 32


class ImageEmbedding(NamedTuple):
    """`config.model.image`: `num_tokens` that attention sees of an embedding."""

    num_tokens: int = 4


def make_conditioner(
    settings: Settings, spec: DataSpec, vector_dim: int, dtype: str, clip: ImageTextEncoder
) -> Conditioner:
    """The conditioner of embeddings and captions.

    Raises:
        ValueError: for a CLIP of other captions, an unknown source, or shares outside [0, 1].
    """
    prior_lib.check_clip(clip, spec, "dalle2")
    text = read_settings(Text, settings.text, "config.model.text of the dalle2 family")
    image = read_settings(ImageEmbedding, settings.image, "config.model.image of the dalle2 family")
    if text.source not in SOURCES:
        raise ValueError(f"unknown config.model.text.source={text.source!r}; it is one of {SOURCES}")
    expect_share("config.model.text_dropout", settings.text_dropout)
    expect_share("config.model.image_dropout", settings.image_dropout)

    def read(frozen: Mapping[str, Weights], given: Conditions) -> ClipInputs:
        tokens = check_tokens(given.tokens, spec.text_length)
        count = tokens.shape[0]
        of_text = tokens if text.source == "own" else prior_lib.read_caption(clip, frozen, tokens)
        embed = given.image_embed
        if embed is None and given.image is not None:
            embed = prior_lib.embed_images(clip, frozen, given.image)
        if embed is None:
            return ClipInputs(of_text, jnp.zeros((count, clip.dim)), jnp.zeros((count,), bool))
        return ClipInputs(of_text, embed, jnp.ones((count,), bool))

    def drop(raw: ClipInputs, key: Key) -> ClipInputs:
        kept = ~jax.random.bernoulli(rng.stream(key, "image"), settings.image_dropout, raw.has_image.shape)
        of_text = drop_share(raw.text, _no_text(raw.text), settings.text_dropout, rng.stream(key, "text"))
        return ClipInputs(of_text, raw.image_embed, raw.has_image & kept)

    def null(raw: ClipInputs) -> ClipInputs:
        return ClipInputs(_no_text(raw.text), raw.image_embed, jnp.zeros_like(raw.has_image))

    shapes = ClipInputs(_text_shapes(clip, text), _shape((1, clip.dim), jnp.float32), _shape((1,), bool))
    return Conditioner(
        read=read,
        shapes=shapes,
        module=ClipConditioning(_text_module(text, spec, vector_dim, dtype), vector_dim, image.num_tokens, dtype=dtype),
        drop=drop,
        null=null if settings.image_dropout and settings.text_dropout else None,
        text_length=spec.text_length,
        optional=("image_embed",),
        parents=("clip",),
    )


_shape: Any = jax.ShapeDtypeStruct  # stands for an array


def _no_text(text: PyTree) -> PyTree:
    """What stands for a dropped caption: padding alone."""
    return prior_lib.drop(text, True) if isinstance(text, Caption) else jnp.zeros_like(text)


def _text_shapes(clip: ImageTextEncoder, text: Text) -> PyTree:
    """Of one caption, as `read` gives it."""
    length = clip.text.length
    if text.source == "own":
        return _shape((1, length), jnp.int32)
    return Caption(
        _shape((1, length, clip.text.dim), jnp.float32),
        _shape((1, length), bool),
        _shape((1, clip.dim), jnp.float32),
    )


def _text_module(text: Text, spec: DataSpec, vector_dim: int, dtype: str) -> nn.Module:
    if text.source == "clip":
        return CaptionStates(text.width, vector_dim, dtype=dtype)
    return GlideText(spec.vocab_size, spec.text_length, vector_dim, text.width, text.depth, text.num_heads, dtype=dtype)


build = shared_diffusion.builder(
    "dalle2", Settings, conditioner=make_conditioner, logical_axes=clip_conditioning.LOGICAL_AXES, clip=ImageTextEncoder
)
