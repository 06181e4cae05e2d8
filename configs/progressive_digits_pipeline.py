"""Progressive distillation on the digits, whole: an EDM teacher, then students of 16, 8 and 4 steps.

python launch/pipeline.py --config=configs/progressive_digits_pipeline.py --workdir=runs/progressive
python launch/sample.py --workdir=runs/progressive --num_samples=1000
"""

from ml_collections import ConfigDict

from genjax.configs import edm_digits, progressive_digits
from genjax.configs.recipes import common, pipelines


def get_config(variant: str = "") -> ConfigDict:
    """The config; `variant` is "" or "tiny"."""
    common.expect_variant(variant)
    stages = {"teacher": edm_digits.get_config(variant)}
    before = "teacher"
    for steps in ("16", "8", "4"):
        student = progressive_digits.get_config("tiny" if variant == "tiny" else steps)
        student.model.objective.num_steps, student.sampling.num_steps = int(steps), steps
        student.stages.teacher.workdir = f"../{before}"
        before = f"steps_{steps}"
        stages[before] = student
    return pipelines.chain(stages)
