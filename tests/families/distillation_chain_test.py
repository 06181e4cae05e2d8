"""Chains of a teacher and its students, trained for a few steps each as a user trains them."""

import json

import numpy as np
import pytest

from genjax import stages
from genjax.configs import consistency_digits_pipeline, progressive_digits_pipeline
from genjax.configs.recipes import dits
from genjax.pipelines import chain


@pytest.mark.slow
@pytest.mark.parametrize(
    ("module", "names"),
    [(progressive_digits_pipeline, ["steps_16", "steps_8", "steps_4"]), (consistency_digits_pipeline, ["student"])],
)
def test_a_chain_of_students(module, names, tmp_path):
    """Each is trained on the one before, and the last one draws."""
    config = module.get_config("tiny")
    for stage in config.stages.values():
        stage.data.data_dir = str(tmp_path / "data")
        stage.training.num_steps = 4
        stage.checkpoint.every = 2
        stage.log.sample_every = 0
    dits.network(config.stages.teacher, width=16, depth=1, num_heads=2)
    config.samples = 20
    chain.run(config, tmp_path / "chain")
    for before, name in zip(["teacher", *names], names):
        record = json.loads((tmp_path / "chain" / name / "stage.json").read_text())["stages"]
        assert record["teacher"] == stages.load(tmp_path / "chain" / before).record
    with np.load(tmp_path / "chain" / "samples" / "samples.npz") as file:
        assert file["arr_0"].shape == (20, 8, 8, 1) and file["arr_0"].std() > 0
