"""What is due after a step: every so many steps, at the last one, and when the run is told to stop."""

import pytest
from ml_collections import ConfigDict

from genjax.training.due import Due, due

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
