"""What is due after a step: every so many steps, at the last one, and when the run is told to stop."""

import json

import pytest
from ml_collections import ConfigDict

from genjax.training.due import Due, due, is_finished, missing

CONFIG = ConfigDict(
    {
        "training": {"num_steps": 10},
        "checkpoint": {"every": 4},
        "log": {"every": 3, "eval_every": 6, "sample_every": 7},
    }
)
NOTHING, ALL = Due(), Due(True, True, True, True)


@pytest.mark.parametrize(
    ("step", "expected"),
    [
        (1, NOTHING),
        (3, Due(report=True)),
        (4, Due(report=True, save=True)),
        (6, Due(report=True, evaluate=True)),
        (7, Due(report=True, draw=True)),
        (10, ALL),
    ],
)
def test_every_so_many_steps_and_all_at_the_last(step, expected):
    """What saves, evaluates or draws reports first: nothing is done with parameters that weren't checked."""
    assert due(CONFIG, step) == expected


def test_what_is_never_wanted_is_not_made_at_the_last_step_but_saved():
    never = CONFIG.copy_and_resolve_references()
    never.checkpoint.every = never.log.every = never.log.eval_every = never.log.sample_every = 0
    assert due(never, 9) == NOTHING
    assert due(never, 10) == Due(report=True, save=True)


def test_a_run_that_stops_saves_and_leaves_the_rest():
    for step in (1, 6, 7, 10):
        assert due(CONFIG, step, stopping=True) == Due(report=True, save=True)


def leave(folder, step, *metrics, images=False, saved=False):
    """What a run leaves of a step: a line of each metric, the grid, the checkpoint."""
    lines = "".join(json.dumps({"step": step, name: 1.0}) + "\n" for name in metrics)
    with open(folder / "metrics.jsonl", "a") as file:
        file.write(lines)
    for path, there in ((f"samples/step_{step}.png", images), (f"checkpoints/{step}/state", saved)):
        if there:
            (folder / path).parent.mkdir(parents=True, exist_ok=True)
            (folder / path).touch()


@pytest.mark.parametrize(
    ("step", "metrics", "images", "expected"),
    [
        (10, ["model/loss"], False, Due(evaluate=True, draw=True)),  # the line of training alone
        (10, ["model/loss"], True, Due(evaluate=True)),
        (10, ["model/loss", "eval/loss"], False, Due(draw=True)),
        (10, ["eval/loss"], True, Due()),
        (6, ["model/loss"], False, Due(evaluate=True)),
        (7, ["model/loss"], False, Due(draw=True)),
        (4, ["model/loss"], False, Due()),
        (0, ["model/loss"], False, Due()),
    ],
)
def test_what_is_missing_of_a_step_is_what_was_due_and_is_not_there(tmp_path, step, metrics, images, expected):
    leave(tmp_path, 3, "eval/loss", images=True)  # of another step: it counts for none
    leave(tmp_path, step, *metrics, images=images)
    assert missing(CONFIG, tmp_path, step) == expected


def test_of_a_log_that_was_taken_away_nothing_is_missing(tmp_path):
    assert missing(CONFIG, tmp_path, 10) == Due()


@pytest.mark.parametrize(
    ("saved", "step", "metrics", "images", "finished"),
    [
        (10, 10, ["eval/loss"], True, True),
        (8, 10, ["eval/loss"], True, False),  # killed before its last checkpoint was there
        (10, 10, ["model/loss"], True, False),
        (10, 10, ["eval/loss"], False, False),
        (10, 6, ["eval/loss"], True, False),
    ],
)
def test_a_run_is_finished_when_all_of_its_last_step_is_there(tmp_path, saved, step, metrics, images, finished):
    leave(tmp_path, saved, saved=True)
    leave(tmp_path, step, *metrics, images=images)
    assert is_finished(CONFIG, tmp_path) == finished
