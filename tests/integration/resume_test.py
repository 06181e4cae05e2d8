"""Killed, stopped or damaged, a run ends as the undisturbed one, bit for bit."""

import json
import signal
import time

import jax
import numpy as np
import orbax.checkpoint as ocp
import pytest

from genjax import stages
from genjax.training import workdir
from tests.integration.conftest import CONFIG, SHORT


def contents(folder, step=12):
    """Every array of a checkpoint, and the loader's state."""
    restored = ocp.CheckpointManager(folder / "checkpoints").restore(
        step, args=ocp.args.Composite(state=ocp.args.StandardRestore(), record=ocp.args.JsonRestore())
    )
    assert (folder / "checkpoints" / str(step)).is_dir()
    arrays = {
        jax.tree_util.keystr(path): np.asarray(x) for path, x in jax.tree_util.tree_leaves_with_path(restored["state"])
    }
    return arrays, restored["record"]["loader"]


def assert_bitwise_equal(folder, other):
    arrays, loader = contents(folder)
    expected, expected_loader = contents(other)
    assert loader == expected_loader
    assert arrays.keys() == expected.keys() and len(arrays) > 80
    for name, value in arrays.items():
        assert value.dtype == expected[name].dtype and value.tobytes() == expected[name].tobytes(), name
    curves = [[json.loads(line)["model/loss"] for line in (w / "metrics.jsonl").open()] for w in (folder, other)]
    assert curves[0] == curves[1], "the log has each step once"


def wait_for(process, path, seconds=200):
    """Until the path is there, or the process has ended."""
    end = time.monotonic() + seconds
    while not path.exists() and process.poll() is None and time.monotonic() < end:
        time.sleep(0.01)


@pytest.mark.parametrize(
    "mark",
    [
        "checkpoints/8.orbax-checkpoint-tmp",
        "checkpoints/4",
        "config.json",
    ],
)
@pytest.mark.slow
def test_kill_9_at_any_time_then_resume(programs, trained, tmp_path, mark):
    flags = (f"--config={CONFIG}", f"--workdir={tmp_path / 'w'}", *SHORT)
    process = programs.start("train", *flags)
    wait_for(process, tmp_path / "w" / mark)
    process.kill()
    process.communicate()
    programs.train(tmp_path / "w", *SHORT)
    assert_bitwise_equal(tmp_path / "w", trained)


def test_sigterm_saves_first_then_exits(programs, trained, tmp_path):
    process = programs.start(
        "train",
        f"--config={CONFIG}",
        f"--workdir={tmp_path / 'w'}",
        *SHORT,
        "--config.training.num_steps=100000",
        "--config.checkpoint.every=90000",
    )
    wait_for(process, tmp_path / "w" / "metrics.jsonl")
    process.send_signal(signal.SIGTERM)
    output, _ = process.communicate(timeout=120)
    assert process.returncode == 128 + signal.SIGTERM, output
    saved = [int(path.name) for path in (tmp_path / "w" / "checkpoints").iterdir()]
    assert len(saved) == 1 and 0 < saved[0] < 90000
    assert f"saved step {saved[0]}" in output
    if saved[0] < 12:
        programs.train(tmp_path / "w", *SHORT)
        assert_bitwise_equal(tmp_path / "w", trained)


@pytest.mark.slow
def test_damaged_newest_checkpoint_is_skipped(programs, trained, tmp_path):
    folder = tmp_path / "w"
    programs.train(folder, *SHORT)
    for path in (folder / "checkpoints" / "12" / "state").rglob("d/*"):
        path.write_bytes(path.read_bytes()[:-7])
    output = programs.train(folder, *SHORT)
    assert "step 12 can't be read" in output and "resuming at step 8" in output
    assert_bitwise_equal(folder, trained)
    assert list((folder / "checkpoints" / "damaged").iterdir()), "set aside, not deleted"


def test_a_finished_run_has_nothing_left_to_do(programs, trained, capsys, monkeypatch):
    monkeypatch.setenv("TFDS_DATA_DIR", str(programs.data_dir))
    before = (trained / "metrics.jsonl").read_text()
    stages.train(workdir.read_config(trained), trained)
    assert "resuming at step 12" in "".join(capsys.readouterr())
    assert (trained / "metrics.jsonl").read_text() == before
