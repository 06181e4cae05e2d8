"""The loop, in this process: one compilation for a whole run, and everything that a workdir should hold."""

import json

import chex
import pytest

from configs import ddpm_digits
from genjax import stages
from genjax.pipelines import images
from genjax.training import loop


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """(workdir, numbers of traces) of a tiny run."""
    folder = tmp_path_factory.mktemp("loop")
    config = ddpm_digits.get_config("tiny")
    config.data.data_dir = str(folder / "data")
    config.mesh.data, config.mesh.fsdp = 4, 2
    config.training.microbatches = 2
    config.log.update(eval_every=10, sample_every=10)
    chex.clear_trace_counter()
    with pytest.MonkeyPatch.context() as patch:
        make = loop.make_train_step
        patch.setattr(loop, "make_train_step", lambda *args: chex.assert_max_traces(make(*args), n=1))
        family, _ = stages.build(config)
        loop.train(config, family, folder / "w")
    return folder / "w"


def test_a_run_compiles_its_step_once_and_leaves_a_whole_workdir(run):
    names = {path.name for path in run.iterdir()}
    assert {"config.json", "stage.json", "checkpoints", "metrics.jsonl", "samples"} <= names
    assert {path.name for path in (run / "checkpoints").iterdir()} == {"10", "20"}
    assert {path.name for path in (run / "samples").iterdir()} == {
        f"step_{step}.{kind}" for step in (10, 20) for kind in ("png", "gif")
    }
    lines = [json.loads(line) for line in (run / "metrics.jsonl").open()]
    assert [line["step"] for line in lines if "model/loss" in line] == [5, 10, 15, 20]
    assert [line["step"] for line in lines if "eval/loss" in line] == [10, 20]


def test_the_workdir_is_a_stage_to_sample_from(run):
    stage = stages.load(run, sampling={"trajectory": False, "num_steps": "3"})
    assert stage.step == 20 and stage.spec.image_shape == (8, 8, 1)
    drawn = images.draw(stage, 3, label=4)
    assert drawn.images.shape == (3, 8, 8, 1) and list(drawn.labels) == [4, 4, 4] and drawn.trajectory is None
