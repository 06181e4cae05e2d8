"""What both of unCLIP's priors share (arXiv:2204.06125, section 2.2): CLIP, captions, statistics of its embeddings.

A prior draws the CLIP embedding z_i of an image for a caption, conditioned on what CLIP's text tower makes of each
token and of the caption as a whole, z_t. Both towers stay as they are. A share of the captions is dropped in
training, tokens and z_t together, for classifier-free guidance; so is the empty caption, whenever it comes.

Of several draws for a caption that with the greatest z_i . z_t is kept: two in the paper.

What is known of the embeddings as a whole, their mean, spread or principal axes, is measured on the first `fit_steps`
batches of the training itself and then stays as it is. Meanwhile nothing is learned: the loss is 0. It lives in
`extra`, so a resumed run goes on with what the undisturbed one would have.
"""

from collections.abc import Callable, Mapping
from typing import NamedTuple

import jax
import jax.numpy as jnp

from genjax.conditioning import inputs
from genjax.core import moments as moments_lib
from genjax.core.moments import Moments
from genjax.core.numerics import expand_to
from genjax.diffusion import process
from genjax.families.interfaces import ImageTextEncoder, Weights
from genjax.families.shared import clip_images
from genjax.typing import Array, Batch, Bool, DataSpec, Float, Int, Key, PyTree, Tokens

Embeddings = Float[Array, "b d"]


class Caption(NamedTuple):
    """The conditioning of a prior on a caption.

    Attributes:
        states: of its tokens.
        mask: true at tokens, false at padding.
        embed: z_t of length 1; zeros where there is no caption.
    """

    states: Float[Array, "b s d"]
    mask: Bool[Array, "b s"]
    embed: Float[Array, "b d2"]


def check_clip(clip: ImageTextEncoder, spec: DataSpec, family: str) -> None:
    """Refuses a CLIP that doesn't read the captions of the data.

    Raises:
        ValueError: for a CLIP of other captions, or of noisy images.
    """
    if spec.text_length != clip.text.length or spec.vocab_size != clip.text.vocab_size:
        raise ValueError(
            f"the CLIP of config.stages.clip reads {clip.text.length} tokens out of {clip.text.vocab_size}, and "
            f"config.data gives {spec.text_length or 'none'} out of {spec.vocab_size}; "
            "set config.data.tokenizer to that of the CLIP's config"
        )
    if clip.schedule is not None:
        raise ValueError(f"a {family} needs a CLIP of clean images; the one named was trained on noisy ones")


def read_caption(clip: ImageTextEncoder, frozen: Mapping[str, Weights], tokens: Tokens) -> Caption:
    """Captions as CLIP's text tower sees them; nothing of those that are empty."""
    features = jax.lax.stop_gradient(clip.text.encode(frozen["clip"], tokens))
    return drop(Caption(features.states, tokens != 0, features.pooled), jnp.all(tokens == 0, axis=1))


def drop(caption: Caption, dropped: Bool[Array, " b"] | bool) -> Caption:
    """The captions, those where `dropped` holds replaced by the null: no token is seen, and z_t is 0."""
    kept = ~jnp.broadcast_to(jnp.asarray(dropped), caption.mask.shape[:1])
    return Caption(caption.states, caption.mask & kept[:, None], jnp.where(kept[:, None], caption.embed, 0.0))


def drop_share(caption: Caption, share: float, key: Key) -> Caption:
    """The captions, of which a random share is dropped."""
    return inputs.drop_share(caption, drop(caption, True), share, key)


def read_image(clip: ImageTextEncoder, frozen: Mapping[str, Weights], batch: Batch) -> Embeddings:
    """z_i of a batch: as launch/encode.py wrote them, or of its images, brought to CLIP's size."""
    if "image_embed" in batch:
        return batch["image_embed"]
    return embed_images(clip, frozen, batch["image"])


def embed_images(clip: ImageTextEncoder, frozen: Mapping[str, Weights], images: Float[Array, "b h w c"]) -> Embeddings:
    """z_i of images of any size."""
    return jax.lax.stop_gradient(clip_images.embed(clip, frozen["clip"], images))


def observe(moments: Moments, embeddings: Embeddings, step: Int[Array, ""], fit_steps: int) -> Moments:
    """The moments with a batch added, as long as they are being measured."""
    seen = moments_lib.update(moments, embeddings)
    return jax.tree.map(lambda new, old: jnp.where(step < fit_steps, new, old), seen, moments)


def fit_once(fit: Callable[[], PyTree], before: PyTree, step: Int[Array, ""], fit_steps: int) -> PyTree:
    """What `fit` makes at the last step of measuring; what was there before at all others."""
    return jax.lax.cond(step == fit_steps - 1, fit, lambda: before)


def best_of(
    draw: Callable[[Key], Embeddings], candidates: int, text_embed: Float[Array, "b d"], keys: Key
) -> Embeddings:
    """Of several draws for each caption, of length 1, the one with the greatest dot product with z_t.

    Args:
        draw: keys [b] -> embeddings of any length.
        candidates: number of draws.
        text_embed: z_t.
        keys: one a caption [b].
    """

    def candidate(number: Int[Array, ""]) -> Embeddings:
        return normalise(draw(process.fold(keys, number)))

    drawn = jax.lax.map(candidate, jnp.arange(candidates))
    best = jnp.argmax(jnp.sum(drawn * text_embed, axis=-1), axis=0)
    return jnp.take_along_axis(drawn, best[None, :, None], axis=0)[0]


def normalise(vectors: Float[Array, "b d"]) -> Float[Array, "b d"]:
    """Vectors at length 1."""
    length = jnp.sqrt(jnp.sum(jnp.square(vectors), axis=-1))
    return vectors / jnp.maximum(expand_to(length, vectors), 1e-12)
