"""Best of several: draw more pictures of each text than needed, keep the one that CLIP finds closest to it.

    score = <z_image, z_text>         cosines of a trained `ImageTextEncoder`

DALL-E draws 512 pictures of a text and shows the best (arXiv:2102.12092, section 2.6). CLIP must not be the one that
the samples are measured by, else the judge has chosen them itself.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np

from genjax.families.base import ImageTextEncoder
from genjax.pipelines import clip, images
from genjax.pipelines.images import Drawn
from genjax.stages import Stage

USAGE = "WORKDIR:N, the run of a CLIP: of N pictures of each prompt, keep the one that it finds closest"


def parse(text: str) -> tuple[str, int]:
    """(workdir, candidates) of `--rerank=WORKDIR:N`.

    Raises:
        ValueError: for another form.
    """
    folder, _, candidates = text.rpartition(":")
    if not folder or not candidates.isdigit() or int(candidates) < 1:
        raise ValueError(f"--rerank={text} can't be read; write {USAGE}")
    return folder, int(candidates)


def draw_best(stage: Stage, judge: Stage, prompts: Sequence[str], candidates: int, **settings: Any) -> Drawn:
    """One picture of each prompt: of `candidates`, the one that is closest to it in the judge's space.

    Args:
        stage: a text model whose interface is an `ImageSampler`.
        judge: a stage whose interface is an `ImageTextEncoder`; it reads with its own tokenizer.
        prompts: one for each picture to keep.
        candidates: pictures of each prompt to choose among; 1 chooses nothing.
        settings: `options`, `seed`, `mesh` of `pipelines.images.draw`.

    Raises:
        ValueError: for a judge that reads no pictures and texts, or no candidates.
    """
    if not isinstance(judge.family.interface, ImageTextEncoder):
        raise ValueError(
            f"only a CLIP can rank pictures by their texts, and a run of the family {judge.config.family!r} is none"
        )
    if candidates < 1:
        raise ValueError(f"candidates={candidates} must be at least 1")
    wanted = [prompt for prompt in prompts for _ in range(candidates)]
    drawn = images.draw(stage, len(wanted), prompts=wanted, **settings)
    scores = np.asarray(clip.similarity(judge, drawn.images, wanted)).reshape(len(prompts), candidates)
    chosen = np.arange(len(prompts)) * candidates + scores.argmax(axis=1)
    trajectory = None if drawn.trajectory is None else drawn.trajectory[:, chosen]
    return Drawn(drawn.images[chosen], None, trajectory, tuple(prompts))
