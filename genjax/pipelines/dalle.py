"""What a person does with DALL-E: images for texts, images completed, and the best of several.

    stage = stages.load("runs/dalle")                                  # a chain's folder, or the transformer's workdir
    generate(stage, ["a small red heart at the top"], 8)               # eight images of it
    generate(stage, prompts, ranker=stages.load("runs/clip"))           # of eight of each, the one that CLIP likes best
    complete(stage, images, prompts, rows=16)                        # the upper 16 rows of pixels are kept

"Any rectangular region that extends to the bottom right corner" can be drawn anew (the paper's introduction to it);
here it is all rows from one on.
"""

from collections.abc import Sequence

import numpy as np

from genjax.pipelines import reranking, vqvae
from genjax.pipelines import sampling as sampling_lib
from genjax.pipelines.sampling import Drawn
from genjax.stages import Stage
from genjax.typing import UInt8

CANDIDATES = 8
"""Images of a text among which a ranker chooses."""


def generate(
    stage: Stage,
    prompts: Sequence[str],
    each: int = 1,
    *,
    ranker: Stage | None = None,
    candidates: int = CANDIDATES,
    seed: int = 0,
    **options: float,
) -> Drawn:
    """Images for texts, `each` of every one, those of a text one after the other.

    Args:
        stage: a model of the dalle family, or any other that draws images for texts.
        prompts: the texts.
        each: images of each.
        ranker: a CLIP's stage, which chooses each image out of `candidates`; None: nobody chooses.
        candidates: see `ranker`.
        seed: of what is drawn.
        options: guidance_scale, temperature, top_k, top_p.
    """
    wanted = [prompt for prompt in prompts for _ in range(each)]
    if ranker is None:
        return sampling_lib.draw(stage, len(wanted), prompts=wanted, options=options, seed=seed)
    return reranking.draw_best(stage, ranker, wanted, candidates, options=options, seed=seed)


def complete(
    stage: Stage,
    images: UInt8[np.ndarray, "n h w c"],
    prompts: Sequence[str],
    *,
    rows: int,
    seed: int = 0,
    **options: float,
) -> Drawn:
    """Images of which the codes of the uppermost rows are kept and the others drawn, for a text each.

    The pixels above are what the kept codes decode to.

    Args:
        stage: a model of the dalle family.
        images: uint8.
        prompts: one for each image.
        rows: of pixels that are kept; rounded down to whole codes.
        seed: of what is drawn.
        options: guidance_scale, temperature, top_k, top_p.

    Raises:
        ValueError: for another kind of stage, more rows than there are, or other than one text an image.
    """
    if len(prompts) != len(images):
        raise ValueError(f"{len(images)} images need as many prompts, not {len(prompts)}")
    given = vqvae.rows_to_keep(stage, images, rows)
    return sampling_lib.draw(stage, len(images), prompts=prompts, options=options, seed=seed, conditions=given)
