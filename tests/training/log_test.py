"""The log: means, the first step that was not finite, and no line twice after a resume."""

import json

import jax.numpy as jnp
import numpy as np
import pytest
from PIL import Image

from genjax.training.log import Logger, NotFiniteError


def metrics(loss, finite=1.0, **others):
    return {"model/loss": jnp.float32(loss), "finite": jnp.float32(finite), **others}


def lines(folder):
    return [json.loads(line) for line in (folder / "metrics.jsonl").open()]


def test_means_leave_out_what_rested(tmp_path):
    logger = Logger(tmp_path, 0, 4, batch_size=16)
    for step, rested in ((1, jnp.nan), (2, 4.0)):
        logger.step(step, metrics(step, **{"critic/loss": jnp.float32(rested)}))
    means = logger.report()
    assert means["model/loss"] == 1.5 and means["critic/loss"] == 4.0
    assert means["images_per_second"] == pytest.approx(16 * means["steps_per_second"])
    logger.close()
    assert [line["step"] for line in lines(tmp_path)] == [2]
    assert list(tmp_path.glob("events.out.tfevents.*"))


def test_first_step_that_is_not_finite_is_named_and_nothing_written(tmp_path):
    logger = Logger(tmp_path, 0, 4, 1)
    for step in (1, 2, 3):
        logger.step(step, metrics(1.0 if step < 2 else np.nan, finite=step < 2))
    with pytest.raises(NotFiniteError, match="step 2: .*model/loss"):
        logger.report()
    logger.close()


def test_an_evaluation_that_is_not_finite_is_null_and_told(tmp_path, capfd):
    logger = Logger(tmp_path, 0, 4, 1)
    logger.write(2, {"eval/loss": float("nan"), "eval/top": float("inf"), "eval/good": 1.0, "rested": float("nan")})
    logger.close()
    assert lines(tmp_path) == [{"step": 2, "eval/loss": None, "eval/top": None, "eval/good": 1.0}]
    said = "".join(capfd.readouterr())
    assert "step 2: eval/loss is nan, no finite number" in said and "eval/top is inf" in said


def test_resume_cuts_what_was_logged_past_the_checkpoint_and_a_torn_line(tmp_path):
    (tmp_path / "metrics.jsonl").write_text('{"step": 1}\n{"step": 2}\n{"step": 3}\n{"st')
    Logger(tmp_path, 2, 4, 1).close()
    assert [line["step"] for line in lines(tmp_path)] == [1, 2]


def test_grid(tmp_path):
    logger = Logger(tmp_path, 0, 4, 1)
    way = np.arange(3, dtype=np.uint8)[:, None, None, None, None] * np.full((3, 4, 8, 8, 1), 100, np.uint8)
    logger.images(3, way[-1], way)
    logger.close()
    assert Image.open(tmp_path / "samples" / "step_3.gif").n_frames == 3
    assert Image.open(tmp_path / "samples" / "step_3.png").size[0] > 16
