"""Reflow on the digits (rectified flow, arXiv:2209.03003): the flow of configs/flow_digits.py made straighter.

    python launch/train.py --config=configs/reflow_digits.py --workdir=runs/reflow_digits \
        --config.stages.teacher.workdir=runs/flow_digits
    python launch/sample.py --workdir=runs/reflow_digits --num_steps=2

The teacher draws new pairs of noise and digit for every batch, by 6 Heun steps. The variant "tiny" trains in seconds.
"""

from ml_collections import ConfigDict

from genjax.configs.recipes import distillations


def get_config(variant: str = "") -> ConfigDict:
    """The config; `variant` is "" or "tiny"."""
    grid = "uniform3" if variant == "tiny" else "uniform6"
    config = distillations.student({"name": "reflow"}, grid=grid, num_steps=4)
    return distillations.digits(config, num_steps=300, learning_rate=1e-3, variant=variant)
