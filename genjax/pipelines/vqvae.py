"""What a person does with a tokenizer and the prior over its codes: look at codes, and complete images.

    stage = stages.load("runs/vqvae")                     # a chain's folder, or the prior's workdir
    codes = encode(stage, images)                       # int32, coarse to fine
    sampling_lib.draw(stage, 100)                               # samples, as of any stage
    complete(stage, images, labels, rows=3)             # the upper 3 / 8 of each image are kept, the rest is drawn
    complete(stage, images, prompts=texts, rows=16)     # DALL-E's, which reads texts

Samples come from the prior alone; codes at random decode to nothing.
"""

from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from genjax import generate
from genjax.core import images as images_lib
from genjax.families.interfaces import Conditions
from genjax.generate import Drawn
from genjax.pipelines import sampling as sampling_lib
from genjax.stages import Stage
from genjax.typing import Int, UInt8


def encode(stage: Stage, images: UInt8[np.ndarray, "n h w c"]) -> tuple[np.ndarray, ...]:
    """The codes of uint8 images, int32 [n, *grid] of each level, coarse to fine.

    Args:
        stage: a tokenizer, or a prior that is built on one.
        images: of the stage's shape.

    Raises:
        ValueError: for a stage without codes, or images of another shape.
    """
    tokenizer, weights = _tokenizer(stage)
    if images.shape[1:] != tuple(tokenizer.image_shape):
        raise ValueError(f"images of {images.shape[1:]} are no images of {tuple(tokenizer.image_shape)}")
    return tuple(jax.device_get(jax.jit(tokenizer.encode)(weights, images_lib.from_uint8(images))))


def complete(
    stage: Stage,
    images: UInt8[np.ndarray, "n h w c"],
    labels: Int[np.ndarray, " n"] | None = None,
    *,
    prompts: Sequence[str] | None = None,
    rows: int,
    seed: int = 0,
    **options: float,
) -> Drawn:
    """Images of which the codes of the uppermost rows are kept and the others drawn.

    Each level keeps its codes of those rows: the pixels above are what these codes decode to.

    Args:
        stage: a prior.
        images: uint8.
        labels: classes, of a class-conditional prior; None for its classes in turn.
        prompts: one for each image, of a prior that reads texts; None for captions of its data.
        rows: of pixels that are kept; rounded down to whole codes on each level.
        seed: of what is drawn.
        options: guidance_scale, temperature, top_k, top_p.

    Raises:
        ValueError: for a stage that is no prior over codes, more rows than there are, or not one prompt an image.
    """
    if prompts is not None and len(prompts) != len(images):
        raise ValueError(f"{len(images)} images need as many prompts, not {len(prompts)}")
    interface, conditions = stage.interface, rows_to_keep(stage, images, rows)
    if interface.num_classes:
        labels = generate.class_labels(len(images), interface.num_classes) if labels is None else labels
        conditions = conditions._replace(label=labels.astype(np.int32))
    settings: dict[str, Any] = {"options": options, "seed": seed, "conditions": conditions}
    return sampling_lib.draw(stage, len(images), prompts=prompts, **settings)._replace(labels=labels)


def rows_to_keep(stage: Stage, images: UInt8[np.ndarray, "n h w c"], rows: int) -> Conditions:
    """Conditions by which the codes of the uppermost rows of pixels are kept, on each level.

    Raises:
        ValueError: for a stage that draws no codes, or more rows than there are.
    """
    interface = stage.interface
    if interface.sample is None or "tokenizer" not in stage.parents:
        raise ValueError(f"only a prior over codes completes images, not a run of the family {stage.config.family!r}")
    height = interface.image_shape[0]
    if not 0 <= rows <= height:
        raise ValueError(f"rows={rows} of images with {height}: keep 0 to {height}")
    codes = encode(stage, images)
    kept = (np.arange(level.shape[1])[:, None] < level.shape[1] * rows // height for level in codes)
    masks = tuple(np.broadcast_to(mask, level.shape) for mask, level in zip(kept, codes, strict=True))
    return Conditions(codes=codes, codes_mask=masks)


def decode(stage: Stage, codes: tuple[np.ndarray, ...]) -> UInt8[np.ndarray, "n h w c"]:
    """The uint8 images of codes, coarse to fine."""
    tokenizer, weights = _tokenizer(stage)
    decoded = jax.jit(tokenizer.decode)(weights, tuple(jnp.asarray(level) for level in codes))
    return jax.device_get(images_lib.to_uint8(decoded))


def _tokenizer(stage: Stage):
    """(interface, weights) of the stage itself, or of the tokenizer that it is built on."""
    if stage.interface.decode is not None:
        return stage.interface, stage.weights
    if "tokenizer" in stage.parents:
        return stage.parents["tokenizer"], stage.weights.frozen["tokenizer"]
    raise ValueError(f"a run of the family {stage.config.family!r} has no codes; name a tokenizer's or a prior's")
