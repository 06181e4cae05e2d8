"""A consistency model of the digits, whole: an EDM teacher, then its student.

python launch/pipeline.py --config=configs/consistency_digits_pipeline.py --workdir=runs/consistency
python launch/sample.py --workdir=runs/consistency --num_samples=1000
"""

from ml_collections import ConfigDict

from genjax.configs import consistency_digits, edm_digits
from genjax.configs.recipes import common, pipelines


def get_config(variant: str = "") -> ConfigDict:
    """The config; `variant` is "" or "tiny"."""
    common.expect_variant(variant)
    teacher = edm_digits.get_config(variant)
    return pipelines.chain({"teacher": teacher, "student": consistency_digits.get_config(variant)})
