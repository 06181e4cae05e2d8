"""GLIDE's base model of drawn scenes, fine-tuned to fill in what is erased (configs/glide_shapes_pipeline.py).

    python launch/train.py --config=configs/glide_inpaint_shapes.py --workdir=runs/glide_inpaint \
        --config.init_from=runs/glide/base
    python launch/sample.py --workdir=runs/glide_inpaint --inpaint=IMAGE:MASK \
        --prompt "a small blue star on the right"
    python launch/evaluate.py --workdir=runs/glide_inpaint --fill_holes --num_samples=300

Without `init_from` it starts from scratch. The variant "tiny" trains in seconds.
"""

from ml_collections import ConfigDict

from genjax.configs import glide_shapes_pipeline
from genjax.configs.recipes import common


def get_config(variant: str = "") -> ConfigDict:
    """The config; `variant` is "" or "tiny"."""
    config = glide_shapes_pipeline.base(variant)
    config.model.inpaint = common.inpaint()
    if variant != "tiny":
        config.optimizer.model.learning_rate = 5e-4
        config.training.num_steps = 2_000
    return config
