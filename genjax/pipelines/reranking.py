"""Best of several: draw more images of each text than needed, keep the one that CLIP finds closest to it.

    score = <z_image, z_text>         cosines of a trained `ImageTextEncoder`

DALL-E draws 512 images of a text and shows the best (arXiv:2102.12092, section 2.6). CLIP must not be the one that
the samples are measured by, else the evaluator has chosen them itself.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np

from genjax.generate import Drawn
from genjax.pipelines import embedding as clip
from genjax.pipelines import sampling as sampling_lib
from genjax.pipelines.trained import Trained
from genjax.stages import Stage

USAGE = "WORKDIR:N, the run of a CLIP: of N images of each prompt, keep the one that it finds closest"


def parse(text: str) -> tuple[str, int]:
    """(workdir, candidates) of `--rerank=WORKDIR:N`.

    Raises:
        ValueError: for another form.
    """
    folder, _, candidates = text.rpartition(":")
    if not folder or not candidates.isdigit() or int(candidates) < 1:
        raise ValueError(f"--rerank={text} can't be read; write {USAGE}")
    return folder, int(candidates)


def draw_best(stage: Trained, ranker: Stage, prompts: Sequence[str], candidates: int, **settings: Any) -> Drawn:
    """One image of each prompt: of `candidates`, the one that is closest to it in the ranker's space.

    Args:
        stage: a text model whose interface is an `ImageSampler`.
        ranker: a stage whose interface is an `ImageTextEncoder`; it reads with its own tokenizer.
        prompts: one for each image to keep.
        candidates: images of each prompt to choose among; 1 chooses nothing.
        settings: `options`, `seed`, `mesh` of `pipelines.sampling.draw`.

    Raises:
        ValueError: for a ranker that reads no images and texts, or no candidates.
    """
    if ranker.interface.encode_image is None:
        raise ValueError(
            f"only a CLIP can rank images by their texts, and a run of the family {ranker.config.family!r} is none"
        )
    if candidates < 1:
        raise ValueError(f"candidates={candidates} must be at least 1")
    wanted = [prompt for prompt in prompts for _ in range(candidates)]
    drawn = sampling_lib.draw(stage, len(wanted), prompts=wanted, **settings)
    scores = np.asarray(clip.similarity(ranker, drawn.images, wanted)).reshape(len(prompts), candidates)
    chosen = np.arange(len(prompts)) * candidates + scores.argmax(axis=1)
    trajectory = None if drawn.trajectory is None else drawn.trajectory[:, chosen]
    return Drawn(drawn.images[chosen], None, trajectory, tuple(prompts))
