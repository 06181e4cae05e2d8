"""The loop, in this process: one compilation for a whole run, and everything that a workdir should hold."""

import json
from types import SimpleNamespace

import chex
import jax
import numpy as np
import pytest

from genjax import generate, stages
from genjax.configs.recipes import common
from genjax.families.base import Family
from genjax.families.interfaces import Conditions, ImageSampler, Weights
from genjax.pipelines import sampling as sampling_lib
from genjax.training import loop
from genjax.training.due import Due
from genjax.training.state import TrainState
from tests.integration import small


@pytest.fixture(scope="module")
def run(data_dir, tmp_path_factory):
    """The workdir of a tiny run."""
    folder = tmp_path_factory.mktemp("loop")
    config = small.get_config()
    config.data.data_dir = data_dir
    config.mesh.data, config.mesh.fsdp = 4, 2
    config.training.microbatches = 2
    config.log.update(eval_every=10, sample_every=10)
    chex.clear_trace_counter()
    with pytest.MonkeyPatch.context() as patch:
        make = loop.make_train_step
        patch.setattr(loop, "make_train_step", lambda *args: chex.assert_max_traces(make(*args), n=1))
        stages.train(config, folder / "w")
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
    drawn = sampling_lib.draw(stage, 3, label=4)
    assert drawn.images.shape == (3, 8, 8, 1) and list(drawn.labels) == [4, 4, 4] and drawn.trajectory is None


@pytest.mark.parametrize(
    ("now", "shown"),
    [
        (Due(report=True), []),
        (Due(save=True), ["clock"]),
        (Due(evaluate=True), ["line", "clock"]),
        (Due(draw=True), ["grid", "clock"]),
        (Due(True, True, True, True), ["line", "grid", "clock"]),
    ],
)
def test_the_time_of_checkpoints_evaluations_and_grids_is_no_time_of_steps(now, shown):
    notes = []
    run, logger = object.__new__(loop.Run), object.__new__(loop.Logger)
    run.evaluate_held_out, run.draw_grid = lambda state: {"eval/loss": 1.0}, lambda state: generate.Drawn(np.zeros(0))
    for name, note in (("write", "line"), ("images", "grid"), ("restart_clock", "clock")):
        setattr(logger, name, lambda *_, note=note: notes.append(note))
    loop.show(run, TrainState(*[None] * 5), logger, 3, now)
    assert notes == shown


def test_a_grid_of_texts_is_of_held_out_captions_in_turn_by_the_config():
    """The first caption of each, with `config.sampling`'s options and batch, and the averages where there are any."""
    run, requested, drawn = object.__new__(loop.Run), [], []
    run.config = common.base()
    run.config.log.num_samples = 5
    run.config.sampling.update(guidance_scale=3.0, batch_size=7)
    run.frozen, run.key, run.reconstruct = {"stage": 9.0}, jax.random.key(4), None
    interface = ImageSampler(lambda *_: None, (4, 4, 3), 0, {"guidance_scale": 1.0}, text_length=2)
    run.family = Family(None, (), None, interface)
    tokenizer = SimpleNamespace(encode=lambda caption: np.array([len(caption), 1]))
    run.generate = lambda *found: drawn.append(found) or generate.Drawn("images")

    def captions(**found):
        requested.append(found)
        return [("a", "other"), ("bcd",)]

    run.data = SimpleNamespace(tokenizer=tokenizer, captions=captions)
    images = run.draw_grid(TrainState(0, {"model": 1.0}, {}, {"model": 2.0}, "extra"))
    assert requested == [{"count": 5}], "of the held-out split"
    assert images.prompts == ("a", "bcd", "a", "bcd", "a") and images.images == "images"
    ((weights, count, conditions, key, batch_size),) = drawn
    assert weights == Weights({"model": 2.0}, "extra", {"stage": 9.0}) and key is run.key
    assert conditions.tokens.tolist() == [[1, 1], [3, 1]] * 2 + [[1, 1]]
    assert conditions._replace(tokens=None) == Conditions(options={"guidance_scale": 3.0})
    assert (count, batch_size) == (5, 7)
