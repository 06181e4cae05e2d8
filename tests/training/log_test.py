"""The log: means, updates that were not finite, a disk that takes no more, and no line twice after a resume."""

import errno
import io
import json
import math
import os

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from PIL import Image

from genjax.generate import Drawn
from genjax.training import log
from genjax.training.finite import Watch
from genjax.training.log import Logger, NotFiniteError


def metrics(loss, finite=1.0, **others):
    return {"model/loss": jnp.float32(loss), "finite": jnp.float32(finite), **others}


def lines(folder):
    return [json.loads(line) for line in (folder / "metrics.jsonl").open()]


def test_means_leave_out_what_rested(tmp_path):
    """Whether a player rested is said by `acts`, not by the value."""
    logger = Logger(tmp_path, 0, 4, batch_size=16)
    for step, loss, acts in ((1, 7.0, 0.0), (2, 4.0, 1.0)):
        logger.step(step, metrics(step, **{"critic/loss": jnp.float32(loss), "critic/acts": jnp.float32(acts)}))
    means = logger.report()
    assert means["model/loss"] == 1.5 and means["critic/loss"] == 4.0
    assert means["images_per_second"] == pytest.approx(16 * means["steps_per_second"])
    logger.step(3, metrics(1.0, **{"critic/loss": jnp.float32(7.0), "critic/acts": jnp.float32(0.0)}))
    assert "critic/loss" not in logger.report()
    logger.close()
    assert [line["step"] for line in lines(tmp_path)] == [2, 3]
    assert lines(tmp_path)[0].keys() == {
        "step", "model/loss", "critic/loss", "steps_per_second", "images_per_second",
    }  # fmt: skip
    assert list(tmp_path.glob("events.out.tfevents.*"))


def test_what_is_nan_is_written_and_warned_of(tmp_path, capsys):
    logger = Logger(tmp_path, 0, 4, 1)
    logger.write(2, {"eval/loss": math.nan, "eval/error": 0.5})
    logger.step(3, metrics(1.0, **{"model/share": jnp.float32(jnp.nan)}))
    logger.report()
    logger.close()
    first, second = lines(tmp_path)
    assert first["eval/loss"] is None and first["eval/error"] == 0.5 and second["model/share"] is None
    said = capsys.readouterr().out
    assert "step 2: eval/loss is nan" in said and "step 3: model/share is nan" in said


def test_the_speed_counts_the_steps_since_the_last_report_or_restart(tmp_path, monkeypatch):
    now = [100.0]
    monkeypatch.setattr("genjax.training.log.time.perf_counter", lambda: now[0])
    logger, speeds = Logger(tmp_path, 0, 9, batch_size=16), []
    for first, count, pause in ((1, 2, 0.0), (3, 3, 0.0), (6, 1, 50.0)):
        for step in range(first, first + count):
            logger.step(step, metrics(1.0))
        now[0] += pause
        if pause:  # spent in a checkpoint or an evaluation
            logger.restart_clock()
        now[0] += 4.0
        speeds.append(logger.report()["steps_per_second"])
    logger.close()
    assert speeds == [0.5, 0.75, 0.25]


def test_first_step_that_is_not_finite_is_named_and_nothing_written(tmp_path):
    logger = Logger(tmp_path, 0, 4, 1)
    for step in (1, 2, 3):
        logger.step(step, metrics(1.0 if step < 2 else np.nan, finite=step < 2))
    with pytest.raises(NotFiniteError, match="step 2: .*model/loss"):
        logger.report()
    logger.close()


def test_an_evaluation_that_is_not_finite_is_null_and_told(tmp_path, capfd):
    logger = Logger(tmp_path, 0, 4, 1)
    logger.write(2, {"eval/loss": float("nan"), "eval/top": float("inf"), "eval/good": 1.0})
    logger.close()
    assert lines(tmp_path) == [{"step": 2, "eval/loss": None, "eval/top": None, "eval/good": 1.0}]
    said = "".join(capfd.readouterr())
    assert "step 2: eval/loss is nan, no finite number" in said and "eval/top is inf" in said


def test_resume_cuts_what_was_logged_past_the_checkpoint_and_a_torn_line(tmp_path):
    (tmp_path / "metrics.jsonl").write_text('{"step": 1}\n{"step": 2}\n{"step": 3}\n{"st')
    Logger(tmp_path, 2, 4, 1).close()
    assert [line["step"] for line in lines(tmp_path)] == [1, 2]


def test_the_board_forgets_what_comes_after_the_checkpoint_and_no_more(tmp_path, monkeypatch):
    """TensorBoard drops the events of the step that a restarted run names and of those after it."""
    purged = []
    monkeypatch.setattr("genjax.training.log.Board", lambda folder, first_step: purged.append(first_step))
    Logger(tmp_path, 2, 4, 1)
    assert purged == [3]


def test_nothing_to_report_is_no_line_and_other_processes_write_nothing(tmp_path, monkeypatch):
    logger = Logger(tmp_path, 0, 4, 1)
    logger.write(1, {})
    logger.write(2, {"loss": 3.0})
    logger.close()
    assert lines(tmp_path) == [{"step": 2, "loss": 3.0}]
    monkeypatch.setattr(jax, "process_index", lambda: 1)
    quiet = Logger(tmp_path / "other", 0, 4, 1)
    quiet.write(1, {"loss": 3.0})
    quiet.images(1, Drawn(np.zeros((1, 8, 8, 1), np.uint8)))
    quiet.close()
    assert not (tmp_path / "other").exists()


def test_grid(tmp_path):
    logger = Logger(tmp_path, 0, 4, 1)
    way = np.arange(3, dtype=np.uint8)[:, None, None, None, None] * np.full((3, 4, 8, 8, 1), 100, np.uint8)
    logger.images(3, Drawn(way[-1], trajectory=way))
    logger.close()
    assert Image.open(tmp_path / "samples" / "step_3.gif").n_frames == 3
    assert Image.open(tmp_path / "samples" / "step_3.png").size[0] > 16


FAULTS = [
    ({"model/fault": 1.0}, "the loss of 'model' is not finite"),
    ({"model/fault": 17.0}, "the batch of data is not finite .* Look at the data"),
    ({"model/fault": 2.0, "model/grad_norm": np.inf}, "the gradient of 'model' .*model/grad_norm inf"),
    ({"model/fault": 4.0}, "what the update makes of the parameters of 'model'"),
    ({"model/fault": 0.0, "critic/loss": 1.0, "critic/fault": 1.0}, "the loss of 'critic' .* config.optimizer.critic"),
    ({"model/fault": 4.0, "critic/loss": 1.0, "critic/fault": 0.0}, "what the update .*Lower config.optimizer.model"),
]


@pytest.mark.parametrize(("found", "words"), FAULTS)
def test_the_cause_and_the_way_out_are_named(tmp_path, found, words):
    logger = Logger(tmp_path, 0, 9, 1)
    logger.step(7, metrics(1.0, 0.0, **{name: jnp.float32(value) for name, value in found.items()}))
    with pytest.raises(NotFiniteError, match=f"step 7: {words}") as error:
        logger.report()
    assert "on_nonfinite=skip" in str(error.value) or "data" in str(error.value)
    logger.close()


def test_before_any_update_the_learning_rate_is_not_the_cause(tmp_path):
    logger = Logger(tmp_path, 0, 9, 1)
    logger.step(1, metrics(np.nan, 0.0))
    with pytest.raises(NotFiniteError, match="learning_rate is not the cause"):
        logger.report()
    logger.close()


def test_skipped_updates_are_counted_and_left_out_of_the_means_up_to_a_limit(tmp_path):
    logger = Logger(tmp_path, 0, 9, 1, Watch("skip", 2))
    for step, finite in enumerate((1.0, 0.0, 0.0, 1.0, 0.0), start=1):
        logger.step(step, metrics(step if finite else np.nan, finite))
    means = logger.report()
    assert means["model/loss"] == 2.5 and means["updates_skipped"] == 3
    logger.step(6, metrics(np.nan, 0.0))
    logger.report()
    logger.step(7, metrics(np.nan, 0.0))
    with pytest.raises(NotFiniteError, match="step 7: .* and 2 before it in a row"):
        logger.report()
    logger.close()


@pytest.mark.parametrize(("policy", "limit", "words"), [("ignore", 1, "on_nonfinite='ignore'"), ("skip", 0, "=0 must")])
def test_policies_are_checked(policy, limit, words):
    with pytest.raises(ValueError, match=words):
        Watch(policy, limit)


def test_a_full_disk_costs_lines_and_grids_but_neither_the_run_nor_what_is_written(tmp_path, capsys, monkeypatch):
    """Every other write is cut in the middle and refused, as a full disk does it."""
    logger = Logger(tmp_path, 0, 9, 1)
    logger.write(1, {"model/loss": 1.0})

    with monkeypatch.context() as patch:
        patch.setattr("builtins.open", cut(open))
        patch.setattr(log.images_lib, "save_png", refuse_any)
        patch.setattr(logger._board._events, "flush", refuse_any)
        for step in (2, 3):
            logger.write(step, {"model/loss": 1.0})
            logger.images(step, Drawn(np.zeros((2, 8, 8, 1), np.uint8)))
    logger.write(4, {"model/loss": 1.0})
    logger.close()
    assert [line["step"] for line in lines(tmp_path)] == [1, 4]
    said = [line for line in capsys.readouterr().out.splitlines() if "can't be written" in line]
    assert len(said) == 3, "metrics.jsonl, samples, TensorBoard: each once"


def cut(opened):
    """`open` of files that take three bytes and no more."""

    class Cut(io.FileIO):
        def write(self, data):
            super().write(data[:3])
            raise OSError(errno.ENOSPC, "No space left on device")

    return lambda path, mode="r", **how: Cut(path, mode) if "a" in mode else opened(path, mode, **how)


def refuse_any(*_, **__):
    raise OSError(errno.ENOSPC, "No space left on device")


@pytest.mark.parametrize("last", ['{"st', "null", "5", '{"loss": 1}', '{"step": "x"}', "\x00\x00"])
def test_a_broken_line_is_cut_at_resume(tmp_path, last):
    (tmp_path / "metrics.jsonl").write_text('{"step": 1, "eval/loss": 2.0}\n' + last)
    Logger(tmp_path, 1, 4, 1).close()
    assert lines(tmp_path) == [{"step": 1, "eval/loss": 2.0}]
    assert log.has_line(tmp_path, 1, "eval/")
    assert not log.has_line(tmp_path, 1, "model/") and not log.has_line(tmp_path, 2, "eval/")


def test_a_kill_while_the_log_is_rewritten_leaves_it_whole(tmp_path, monkeypatch):
    before = '{"step": 1}\n{"step": 2}\n'
    (tmp_path / "metrics.jsonl").write_text(before)
    monkeypatch.setattr(os, "replace", refuse_any)
    with pytest.raises(OSError):
        Logger(tmp_path, 1, 4, 1)
    assert (tmp_path / "metrics.jsonl").read_text() == before
