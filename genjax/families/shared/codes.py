"""What models of a tokenizer's codes share: a check of the tokenizer, the codes of a batch, options of sampling."""

from collections.abc import Mapping

import jax

from genjax.families.interfaces import Codes, Tokenizer, Weights
from genjax.typing import Batch, DataSpec

OPTIONS = {"guidance_scale": 1.0, "temperature": 1.0, "top_k": 0.0, "top_p": 1.0}
"""Scalar conditions of sampling, and their neutral values."""


def expect_images(tokenizer: Tokenizer, spec: DataSpec) -> None:
    """Refuses a tokenizer of other images than the data's.

    Raises:
        ValueError: for such a tokenizer.
    """
    if tuple(tokenizer.image_shape) != tuple(spec.image_shape):
        raise ValueError(
            f"the tokenizer is of images {tuple(tokenizer.image_shape)}, config.data has {tuple(spec.image_shape)}; "
            "set config.data to the tokenizer's, or name another config.stages.tokenizer.workdir"
        )


def of_batch(tokenizer: Tokenizer, batch: Batch, frozen: Mapping[str, Weights]) -> Codes:
    """The codes of a batch, coarse to fine: as launch/encode.py wrote them, or of its images."""
    if "codes_0" in batch:
        return tuple(batch[f"codes_{level}"] for level in range(len(tokenizer.grids)))
    return jax.lax.stop_gradient(tokenizer.encode(frozen["tokenizer"], batch["image"]))
