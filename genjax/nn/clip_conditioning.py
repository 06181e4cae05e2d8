"""What unCLIP's decoder makes of an image's CLIP embedding, beside a text (arXiv:2204.06125, section 2.1).

    vector   = Dense(z_i) + vector of the text             added to the embedding of time
    context  = [tokens of z_i, tokens of the text]         for attention

The tokens of z_i are one projection of it, to `num_tokens` times the context's width, cut so that the tokens vary
fastest, as in Karlo. Where there is no z_i, a learned vector stands for it. The text is read by a module of its own:
GLIDE's transformer, trained along, as in the paper (`genjax.nn.glide_text`), or, as in Karlo, what CLIP's frozen text
tower makes of it (`CaptionStates`).

Embeddings have length 1 and are multiplied by the square root of their dimension first, so that each is about 1.
"""

from typing import NamedTuple

import flax.linen as nn
import jax.numpy as jnp

from genjax.conditioning.inputs import Context
from genjax.nn import glide_text
from genjax.nn.layers.module import Module
from genjax.typing import Array, Bool, Float, PyTree

LOGICAL_AXES = (
    *glide_text.LOGICAL_AXES,
    (r"(image_tokens|states_proj)/kernel$", ("vocab", "embed")),
    (r"(image_vector|text_vector)/kernel$", ("embed", "mlp")),
)


class ClipInputs(NamedTuple):
    """The conditioning inputs of the decoder.

    Attributes:
        text: of the text, whatever its module takes.
        image_embed: z_i.
        has_image: false where z_i is dropped.
    """

    text: PyTree
    image_embed: Float[Array, "b d"]
    has_image: Bool[Array, " b"]


class CaptionStates(Module):
    """(states of tokens, mask, embedding of the whole) of CLIP's text tower to a `Context`: context and vector.

    Attributes:
        width: features of the context.
        vector_dim: features of the vector.
    """

    width: int
    vector_dim: int

    @nn.compact
    def __call__(self, caption: tuple[Array, Array, Array]) -> Context:
        """The context of captions: the mask hides padding."""
        states, mask, embed = caption
        context = nn.Dense(self.width, name="states_proj", **self.dtypes)(states)
        context = nn.LayerNorm(1e-5, use_fast_variance=False, name="norm", **self.dtypes)(context)
        return Context(context, mask, nn.Dense(self.vector_dim, name="text_vector", **self.dtypes)(_scaled(embed)))


class ClipConditioning(Module):
    """`ClipInputs` to `Context`; see the module.

    Attributes:
        text: module of the text.
        vector_dim: features of the vector: those of the embedding of time.
        num_tokens: of the embedding.
    """

    text: nn.Module
    vector_dim: int
    num_tokens: int = 4

    @nn.compact
    def __call__(self, raw: ClipInputs) -> Context:
        """The context of embeddings and texts."""
        batch, dim = raw.image_embed.shape
        nothing = self.param("no_image", nn.initializers.normal(0.02), (dim,), self.param_dtype)
        embed = _scaled(jnp.where(raw.has_image[:, None], raw.image_embed, nothing))
        of_text = self.text(raw.text)
        width = of_text.states.shape[-1]
        tokens = nn.Dense(self.num_tokens * width, name="image_tokens", **self.dtypes)(embed)
        tokens = tokens.reshape(batch, width, self.num_tokens).swapaxes(1, 2)
        mask = of_text.mask
        if mask is not None:
            mask = jnp.concatenate([jnp.ones((batch, self.num_tokens), bool), mask], axis=1)
        context = jnp.concatenate([tokens.astype(of_text.states.dtype), of_text.states], axis=1)
        vector = nn.Dense(self.vector_dim, name="image_vector", **self.dtypes)(embed)
        return Context(context, mask, vector + of_text.vector)


def _scaled(embed: Float[Array, "b d"]) -> Float[Array, "b d"]:
    return embed * embed.shape[-1] ** 0.5
