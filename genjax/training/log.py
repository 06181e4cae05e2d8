"""What a person sees of a run: a progress bar, `metrics.jsonl`, TensorBoard curves, sample grids.

Metrics stay on the device between two reports, so that the host never waits for a step. At a report they are
fetched together, looked through for updates that were not finite, averaged and written. A metric that is NaN is
written as null, and reported; of a player that rested, nothing is written.

A disk that takes no more (full, over quota, gone): lines, curves and grids that can't be written are warned of once
and skipped, and training goes on, since the checkpoints hold all that matters; one that can't be written ends the run
(`genjax.training.checkpoint`).
"""

import contextlib
import json
import math
import os
import time
from collections.abc import Iterator, Mapping
from pathlib import Path

import jax
from tqdm import tqdm

from genjax.core import images as images_lib
from genjax.core.files import write_text
from genjax.generate import Drawn
from genjax.training.board import Board
from genjax.training.finite import ACTS, FAULT, NotFiniteError, Watch

__all__ = ["Logger", "NotFiniteError"]


class Logger:
    """Writes the metrics of one run; silent in all processes but the first.

    Args:
        workdir: where `metrics.jsonl`, TensorBoard events and `samples/` go.
        first_step: the step that the run starts or resumes at.
        num_steps: the step that it ends at.
        batch_size: global batch, for images per second.
        watch: what to do about updates that are not finite; by default the first ends the run.
    """

    def __init__(self, workdir: Path, first_step: int, num_steps: int, batch_size: int, watch: Watch | None = None):
        self._quiet = jax.process_index() != 0
        self._batch_size = batch_size
        self._workdir = workdir
        self._watch = watch or Watch()
        self._metrics = workdir / "metrics.jsonl"
        self._board: Board | None = None
        self._warned: set[str] = set()
        self._pending: list[tuple[int, dict]] = []
        self._last_report = time.perf_counter()
        self._bar = tqdm(
            total=num_steps,
            initial=first_step,
            unit="step",
            disable=self._quiet,
            dynamic_ncols=True,
            mininterval=0.5,
            smoothing=0.1,
        )
        if not self._quiet:
            self._drop_after(first_step)
            with self._showing("TensorBoard's file"):
                self._board = Board(workdir, first_step + 1)

    def step(self, step: int, metrics: dict) -> None:
        """Note the metrics of a finished step, without waiting for them."""
        self._pending.append((step, metrics))
        self._bar.update()

    def report(self) -> dict[str, float]:
        """Fetch, check and write what has been noted since the last report; the means, by name.

        Raises:
            NotFiniteError: naming the first step whose loss or gradient was not finite.
        """
        if not self._pending:
            return {}
        fetched = [(step, _floats(metrics)) for step, metrics in self._pending]
        self._pending = []
        now = time.perf_counter()
        speed = len(fetched) / (now - self._last_report)
        self._last_report = now
        reasons = [self._watch.check(step, metrics) for step, metrics in fetched]
        skipped = [reason for reason in reasons if reason]
        means = _means([metrics for (_, metrics), reason in zip(fetched, reasons, strict=True) if not reason])
        if skipped:
            means["updates_skipped"] = float(len(skipped))
            self.say(f"warning: {skipped[0]} ({len(skipped)} of {len(fetched)} updates)")
        means |= {"steps_per_second": speed, "images_per_second": speed * self._batch_size}
        self.write(fetched[-1][0], means)
        shown = {name.removeprefix("model/"): f"{value:.4g}" for name, value in means.items() if name.endswith("/loss")}
        self._bar.set_postfix(shown | {"img/s": f"{means['images_per_second']:.0f}"}, refresh=False)
        return means

    def write(self, step: int, metrics: Mapping[str, float]) -> None:
        """One line in `metrics.jsonl` and a point on each curve; what isn't finite is null there, and reported."""
        values = {name: float(value) for name, value in metrics.items()}
        if self._quiet or not values:
            return
        wrong = [name for name, value in values.items() if not math.isfinite(value)]
        for name in wrong:
            self.say(f"step {step}: {name} is {values[name]}, no finite number")
        with self._showing("metrics.jsonl"):
            _append(self._metrics, json.dumps({"step": step} | values | dict.fromkeys(wrong)) + "\n")
        with self._showing("TensorBoard's file"):
            if self._board:
                self._board.scalars(step, {name: value for name, value in values.items() if name not in wrong})

    def images(self, step: int, drawn: Drawn) -> None:
        """A grid of images as `samples/step_N.png` and in TensorBoard, with any prompts.

        With a trajectory, also the way from noise to image as `samples/step_N.gif`.
        """
        if self._quiet:
            return
        pixels, prompts = drawn.images, drawn.prompts
        grid = images_lib.make_captioned_grid(pixels, prompts) if prompts else images_lib.make_grid(pixels)
        with self._showing("samples"):
            if drawn.trajectory is not None:
                film = images_lib.make_film(drawn.trajectory)
                images_lib.save_gif(self._workdir / "samples" / f"step_{step}.gif", film)
            images_lib.save_png(self._workdir / "samples" / f"step_{step}.png", grid)  # last: it says that all is there
        with self._showing("TensorBoard's file"):
            if self._board:
                self._board.image(step, "samples", grid)

    def say(self, text: str) -> None:
        """A line above the progress bar."""
        if not self._quiet:
            self._bar.write(text)

    def restart_clock(self) -> None:
        """Leave the time since the last report out of the next speed: it went into something else than training."""
        self._last_report = time.perf_counter()

    def close(self) -> None:
        """Finish the bar and the curves."""
        self._bar.close()
        with self._showing("TensorBoard's file"):
            if self._board:
                self._board.close()

    @contextlib.contextmanager
    def _showing(self, what: str) -> Iterator[None]:
        """Goes on without what can't be written, and says so once."""
        try:
            yield
        except OSError as error:
            if what not in self._warned:
                self._warned.add(what)
                self.say(f"warning: {what} in {self._workdir} can't be written ({error}); training goes on without it")

    def _drop_after(self, step: int) -> None:
        """Cut lines of steps that a killed run had logged past the checkpoint it resumes from, and broken ones."""
        if self._metrics.is_file():
            lines = self._metrics.read_text(errors="replace").splitlines()
            kept = [line for line in lines if (content := _parse(line)) and content["step"] <= step]
            if len(kept) < len(lines):
                write_text(self._metrics, "".join(line + "\n" for line in kept))


def has_line(workdir: Path, step: int, prefix: str) -> bool:
    """Whether a metric whose name begins with `prefix` was written of a step."""
    path = workdir / "metrics.jsonl"
    lines = map(_parse, path.read_text(errors="replace").splitlines() if path.is_file() else ())
    return any(line["step"] == step and any(name.startswith(prefix) for name in line) for line in lines if line)


def has_images(workdir: Path, step: int) -> bool:
    """Whether the sample grid of a step was written."""
    return (workdir / "samples" / f"step_{step}.png").is_file()


def _append(path: Path, line: str) -> None:
    """Add a line whole, or nothing."""
    with open(path, "ab") as file:
        size = file.tell()
        try:
            file.write(line.encode())
            file.flush()
        except OSError:
            with contextlib.suppress(OSError):
                file.close()
            os.truncate(path, size)
            raise


def _floats(metrics: Mapping) -> dict[str, float]:
    """Metrics, fetched from the device."""
    return {name: float(value) for name, value in jax.device_get(dict(metrics)).items()}


def _means(steps: list[dict]) -> dict[str, float]:
    """Name -> mean over the steps in which its player acted; those of players that rested all the time are omitted."""
    values: dict[str, list[float]] = {}
    for metrics in steps:
        for name, value in metrics.items():
            player, _, own = name.rpartition("/")
            if name != "finite" and own not in (ACTS, FAULT) and metrics.get(f"{player}/{ACTS}", 1.0):
                values.setdefault(name, []).append(value)
    return {name: sum(found) / len(found) for name, found in values.items()}


def _parse(line: str) -> dict | None:
    """A line of `metrics.jsonl`; None for one cut short by a kill."""
    try:
        content = json.loads(line)
    except json.JSONDecodeError:
        return None
    return content if isinstance(content, dict) and isinstance(content.get("step"), int | float) else None
