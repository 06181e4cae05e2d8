"""What is to be done after a step, what of it is left to do, and whether a run is finished."""

from pathlib import Path
from typing import NamedTuple

from ml_collections import ConfigDict

from genjax.training.checkpoint import Checkpoints
from genjax.training.log import has_images, has_line


class Due(NamedTuple):
    """What is to be done after a step."""

    report: bool = False
    save: bool = False
    evaluate: bool = False
    draw: bool = False


def due(config: ConfigDict, step: int, stopping: bool = False) -> Due:
    """What `config` wants after `step`; a run that has to stop saves, and does the rest when it is resumed."""
    last = step == config.training.num_steps

    def at(every: int) -> bool:
        return every > 0 and (step % every == 0 or last)

    save = at(config.checkpoint.every) or last or stopping
    evaluate, draw = (at(every) and not stopping for every in (config.log.eval_every, config.log.sample_every))
    return Due(at(config.log.every) or save or evaluate or draw, save, evaluate, draw)


def missing(config: ConfigDict, folder: Path, step: int) -> Due:
    """What was due after a step that is saved in the workdir `folder`, and was not made.

    Nothing at step 0, nor of a run whose log isn't there at all: it was written before any checkpoint, and taken away.
    """
    if not step or not (folder / "metrics.jsonl").is_file():
        return Due()
    now = due(config, step)
    evaluate = now.evaluate and not has_line(folder, step, "eval/")
    return Due(evaluate=evaluate, draw=now.draw and not has_images(folder, step))


def is_finished(config: ConfigDict, folder: Path) -> bool:
    """Whether the last checkpoint of a run is there, and all that was due after it."""
    last = config.training.num_steps
    saved = last in Checkpoints(folder / "checkpoints", read_only=True).steps()
    return saved and not any(missing(config, folder, last))
