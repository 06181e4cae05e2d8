"""One round of progressive distillation on the digits (arXiv:2202.00512): half the teacher's steps.

    python launch/train.py --config=configs/progressive_digits.py:16 --workdir=runs/steps_16 \
        --config.stages.teacher.workdir=runs/edm_digits
    python launch/train.py --config=configs/progressive_digits.py:8 --workdir=runs/steps_8 \
        --config.stages.teacher.workdir=runs/steps_16

The variant is the number of steps of the student: 16, 8, 4, 2 or 1; none means 4. All rounds walk over the same 32
levels. configs/progressive_digits_pipeline.py does them all, one after the other. The variant "tiny", a student of 4
steps of any model of the digits, trains in seconds, for tests.
"""

from ml_collections import ConfigDict

from genjax.configs import edm_digits
from genjax.configs.recipes import common, distillations


def get_config(variant: str = "") -> ConfigDict:
    """The config; `variant` is "", "16", "8", "4", "2", "1" or "tiny"."""
    common.expect_variant(variant, "16", "8", "4", "2", "1")
    steps = int(variant) if variant.isdecimal() else 4
    config = distillations.progressive(
        steps, grid="karras32", weight={"name": "edm", "sigma_data": edm_digits.SIGMA_DATA}
    )
    size = "tiny" if variant == "tiny" else ""
    return distillations.digits(config, num_steps=400, learning_rate=5e-4, variant=size)
