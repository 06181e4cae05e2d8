"""Images and texts in the space of a trained CLIP: embeddings, similarities, retrieval, CLIP score.

    ranker = stages.load("runs/clip_shapes")
    clip.similarity(ranker, images, ["a red circle", "a small blue star"])

Images are uint8 of any size, resized to that which the CLIP reads. A CLIP of noisy images gets the time of
clean ones: the least time of its schedule.
"""

from collections.abc import Sequence

import jax
import numpy as np

from genjax import generate, sharding
from genjax.data import loader
from genjax.families.interfaces import ImageTextEncoder
from genjax.metrics import clip_score
from genjax.metrics.retrieval import Retrieval, retrieval
from genjax.pipelines import encoding
from genjax.pipelines import prompts as prompts_lib
from genjax.pipelines.trained import Trained
from genjax.typing import Float, ImageUint8

BATCH = 128


def embed_images(stage: Trained, images: ImageUint8) -> Float[np.ndarray, "n d"]:
    """The embedding of each image, of length 1.

    Raises:
        ValueError: for a stage of another kind.
    """
    return _embed(stage, "images", images)


def embed_texts(stage: Trained, texts: Sequence[str]) -> Float[np.ndarray, "n d"]:
    """The embedding of each text, of length 1; words that are lost or unknown are named.

    Raises:
        ValueError: for a stage of another kind.
    """
    check(stage)
    return _embed(stage, "texts", prompts_lib.tokens(stage.tokenizer, texts))


def similarity(stage: Trained, images: ImageUint8, texts: Sequence[str]) -> Float[np.ndarray, " n"]:
    """The cosine of each image with its text.

    Raises:
        ValueError: for a stage of another kind, or not as many texts as images.
    """
    if len(images) != len(texts):
        raise ValueError(f"{len(images)} images and {len(texts)} texts; each image needs its own")
    return (embed_images(stage, images) * embed_texts(stage, texts)).sum(axis=1)


def score(stage: Trained, images: ImageUint8, texts: Sequence[str]) -> float:
    """The mean CLIP score of images and the texts that they were requested by (`genjax.metrics.clip_score`)."""
    return float(np.maximum(similarity(stage, images, texts), 0.0).mean() * clip_score.WEIGHT)


def retrieve(stage: Trained, name: str = "", seed: int = 0) -> Retrieval:
    """How well held-out images and captions find each other (`genjax.metrics.retrieval`).

    Args:
        stage: a CLIP.
        name: of other data than the stage's own, at its size.
        seed: of the candidates.

    Raises:
        ValueError: for a stage of another kind, or data with too few different captions.
    """
    check(stage)
    settings = stage.config.data.to_dict() | ({"name": name} if name else {})
    arrays = loader.Data(settings).load_arrays()
    if "text" not in arrays:
        raise ValueError(f"{settings['name']!r} has no captions to find images by")
    captions = [str(text) for text in arrays["text"]]
    return retrieval(embed_images(stage, arrays["image"]), embed_texts(stage, captions), captions, seed=seed)


def check(stage: Trained) -> ImageTextEncoder:
    """The stage's interface.

    Raises:
        ValueError: if it doesn't put images and texts into one space.
    """
    if stage.interface.encode_image is None:
        raise ValueError(
            f"a run of the family {stage.config.family!r} doesn't read images and texts; name the workdir of a clip"
        )
    return stage.interface


def _embed(stage: Trained, kind: str, rows: np.ndarray) -> Float[np.ndarray, "n d"]:
    """What a CLIP makes of uint8 "images", or of the tokens of "texts"; nothing in it is random."""
    run = generate.make_batched(encoding.encoders(check(stage))[kind], sharding.make_mesh())
    return run(stage.weights, rows, jax.random.key(0), BATCH)
