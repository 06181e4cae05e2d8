"""What a person does with DALL-E: pictures for texts, pictures completed, and the best of several.

    stage = stages.load("runs/dalle")                                  # a chain's folder, or the transformer's workdir
    generate(stage, ["a small red heart at the top"], 8)               # eight pictures of it
    generate(stage, prompts, judge=stages.load("runs/clip"))           # of eight of each, the one that CLIP likes best
    complete(stage, pictures, prompts, rows=16)                        # the upper 16 rows of pixels are kept

"Any rectangular region that extends to the bottom right corner" can be drawn anew (the paper's introduction to it);
here it is all rows from one on.
"""

from collections.abc import Sequence

import numpy as np

from genjax.pipelines import images, reranking, vqvae
from genjax.pipelines.images import Drawn
from genjax.stages import Stage
from genjax.typing import UInt8

CANDIDATES = 8
"""Pictures of a text among which a judge chooses."""


def generate(
    stage: Stage,
    prompts: Sequence[str],
    each: int = 1,
    *,
    judge: Stage | None = None,
    candidates: int = CANDIDATES,
    seed: int = 0,
    **options: float,
) -> Drawn:
    """Pictures for texts, `each` of every one, those of a text one after the other.

    Args:
        stage: a model of the dalle family, or any other that draws pictures for texts.
        prompts: the texts.
        each: pictures of each.
        judge: a CLIP's stage, which chooses each picture out of `candidates`; None: nobody chooses.
        candidates: see `judge`.
        seed: of what is drawn.
        options: guidance_scale, temperature, top_k, top_p.
    """
    wanted = [prompt for prompt in prompts for _ in range(each)]
    if judge is None:
        return images.draw(stage, len(wanted), prompts=wanted, options=options, seed=seed)
    return reranking.draw_best(stage, judge, wanted, candidates, options=options, seed=seed)


def complete(
    stage: Stage,
    pictures: UInt8[np.ndarray, "n h w c"],
    prompts: Sequence[str],
    *,
    rows: int,
    seed: int = 0,
    **options: float,
) -> Drawn:
    """Pictures of which the codes of the uppermost rows are kept and the others drawn, for a text each.

    The pixels above are what the kept codes decode to.

    Args:
        stage: a model of the dalle family.
        pictures: uint8.
        prompts: one for each picture.
        rows: of pixels that are kept; rounded down to whole codes.
        seed: of what is drawn.
        options: guidance_scale, temperature, top_k, top_p.

    Raises:
        ValueError: for another kind of stage, more rows than there are, or other than one text a picture.
    """
    if len(prompts) != len(pictures):
        raise ValueError(f"{len(pictures)} pictures need as many prompts, not {len(prompts)}")
    given = vqvae.given_rows(stage, pictures, rows)
    return images.draw(stage, len(pictures), prompts=prompts, options=options, seed=seed, conditions=given)
