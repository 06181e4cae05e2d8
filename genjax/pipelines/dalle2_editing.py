"""Images changed by way of their CLIP embeddings (unCLIP, arXiv:2204.06125, section 3).

    --variations=IMAGE:ETA            what CLIP sees in IMAGE is kept, the rest is drawn anew: ETA of DDIM, from 0,
                                        the image again, to 1 or more
    --blend=FROM:TO                     images between two, in what CLIP sees and in all else
    --text_diff=IMAGE:BEFORE:AFTER    IMAGE changed as the caption AFTER differs from BEFORE, more and more

An image is described by the pair of its embedding z_i and of x_T, from which DDIM comes to it under z_i and no
caption; x_T is found by inversion. Variations decode the pair with noise added on the way. A blend goes along great
circles in both. A text diff goes along one from z_i towards (z_t - z_t0) / |z_t - z_t0| of the captions' embeddings, by
`DIFF_REACH` of the angle at most, with x_T as it is.

    edit = make("variations", "photo.png:1")
    stage = dalle2.load("runs/dalle2_shapes", sampling=edit.sampling)
    images.draw(stage, 16, conditions=edit.conditions(stage, 16))
"""

import math
from collections.abc import Callable
from functools import partial
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np

from genjax.core import images as images_lib
from genjax.diffusion.editing import slerp
from genjax.families.interfaces import Conditions
from genjax.families.shared import clip_images
from genjax.pipelines import dalle2
from genjax.pipelines.editing import Edit, read_as
from genjax.pipelines.named_files import Named
from genjax.pipelines.trained import Trained
from genjax.stages import Stage
from genjax.typing import Array, Float

DIFF_REACH = 0.5
"""The greatest share of the angle, as the paper's figures go to .25 to .5."""
USAGE = {
    "variations": "IMAGE:ETA, 0 = the image again",
    "blend": "FROM:TO, two images",
    "text_diff": "IMAGE:BEFORE:AFTER, an image and two captions",
}
DDIM = {"sampler": {"name": "ddim"}}


def make(name: str, text: str) -> Edit:
    """The edit that a command line requests.

    Args:
        name: one of `USAGE`.
        text: its parts with colons between; the first may have colons itself.

    Raises:
        ValueError: for another form. Files are read, and the model looked at, by `conditions`.
    """
    words = text.rsplit(":", 2 if name == "text_diff" else 1)
    if len(words) < (3 if name == "text_diff" else 2) or not all(word.strip() for word in words):
        raise ValueError(f"--{name}={text} can't be read; write {USAGE[name]}")
    makers: dict[str, Callable[..., Edit]] = {"variations": _variations, "blend": _blend, "text_diff": _text_diff}
    return makers[name](*words)


def _variations(image: str, eta: str) -> Edit:
    try:
        strength = float(eta)
    except ValueError:
        raise ValueError(f"--variations: {eta!r} is no number; write {USAGE['variations']}") from None
    if not 0 <= strength < math.inf:
        raise ValueError(f"--variations: eta={strength:g} must be a number from 0 on; write {USAGE['variations']}")

    def conditions(stage: Trained, count: int) -> Conditions:
        z, x_T = describe(dalle2.decoder_of(stage), image)
        return condition_on(stage, jnp.repeat(z, count, axis=0), jnp.repeat(x_T, count, axis=0))

    return Edit({"sampler": {"name": "ddim", "eta": strength}}, conditions, named=Named((image,)))


def _blend(first: str, second: str) -> Edit:
    def conditions(stage: Trained, count: int) -> Conditions:
        of_first, of_second = (describe(dalle2.decoder_of(stage), one) for one in (first, second))
        weight = jnp.linspace(0, 1, count)
        pairs = zip(of_first, of_second, strict=True)
        z, x_T = (slerp(jnp.repeat(a, count, axis=0), jnp.repeat(b, count, axis=0), weight) for a, b in pairs)
        return condition_on(stage, z, x_T)

    return Edit(DDIM, conditions, named=Named((first, second)))


def _text_diff(image: str, before: str, after: str) -> Edit:
    def conditions(stage: Trained, count: int) -> Conditions:
        decoder = dalle2.decoder_of(stage)
        z, x_T = describe(decoder, image)
        tokens = jnp.asarray(np.stack([stage.tokenizer.encode(text) for text in (before, after)]))
        encode_text = decoder.parents[dalle2.CLIP].encode_text
        change = text_difference(*encode_text(decoder.weights.frozen[dalle2.CLIP], tokens))
        z, change, x_T = (jnp.repeat(one, count, axis=0) for one in (z, change[None], x_T))
        return condition_on(stage, slerp(z, change, jnp.linspace(0, DIFF_REACH, count)), x_T)

    return Edit(DDIM, conditions, named=Named((image,)))


def text_difference(before: Float[Array, " d"], after: Float[Array, " d"]) -> Float[Array, " d"]:
    """The direction from one caption's embedding to another's, of length 1.

    Raises:
        ValueError: if they are the same.
    """
    change = after - before
    length = jnp.linalg.norm(change)
    if not length > 1e-6:
        raise ValueError("--text_diff: the captions BEFORE and AFTER mean the same to the CLIP; name two that differ")
    return change / length


def describe(decoder: Stage, image: str | Path) -> tuple[Float[Array, "1 d"], Float[Array, "1 h w c"]]:
    """(z_i, x_T) of a file: what CLIP sees in it, and the noise from which the decoder comes to it."""
    clip = decoder.parents[dalle2.CLIP]
    seen = jnp.asarray(read_as(image, clip.image_shape))[None]
    z = jax.jit(partial(clip_images.embed, clip))(decoder.weights.frozen[dalle2.CLIP], seen)
    source = images_lib.resize(seen, decoder.interface.image_shape[:2], "bilinear", antialias=True)
    tokens = jnp.zeros((1, decoder.interface.text_length), jnp.int32)
    requested = Conditions(tokens=tokens, image_embed=z, source=source)
    return z, jax.jit(decoder.interface.invert)(decoder.weights, requested, jnp.arange(1), jax.random.key(0))


def condition_on(stage: Trained, image_embed: Array, latent: Array) -> Conditions:
    """Conditions for images of these embeddings, from this noise, without a caption."""
    tokens = np.zeros((len(image_embed), stage.interface.text_length), np.int32)
    return Conditions(image_embed=np.asarray(image_embed), latent=np.asarray(latent), tokens=tokens)
