"""What a person sees of a run: a progress bar, `metrics.jsonl`, TensorBoard curves, sample grids.

Metrics stay on the device between two reports, so that the host never waits for a step. At a report they are
fetched together, checked for the first step that was not finite, averaged and written.
"""

import json
import math
import time
from collections.abc import Sequence
from pathlib import Path

import jax
import numpy as np
from tensorboardX import SummaryWriter
from tqdm import tqdm

from genjax.core import images as images_lib
from genjax.training.finite import NotFiniteError


class Logger:
    """Writes the metrics of one run; silent in all processes but the first.

    Args:
        workdir: where `metrics.jsonl`, TensorBoard events and `samples/` go.
        first_step: the step that the run starts or resumes at.
        num_steps: the step that it ends at.
        batch_size: global batch, for images per second.
    """

    def __init__(self, workdir: Path, first_step: int, num_steps: int, batch_size: int):
        self._quiet = jax.process_index() != 0
        self._batch_size = batch_size
        self._workdir = workdir
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
            self._board = SummaryWriter(str(workdir), purge_step=first_step + 1)

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
        fetched = [(step, jax.device_get(metrics)) for step, metrics in self._pending]
        self._pending = []
        for step, metrics in fetched:
            if not metrics.pop("finite"):
                losses = {name: float(value) for name, value in metrics.items() if name.endswith("loss")}
                raise NotFiniteError(f"step {step}: loss or gradient is not finite ({losses})")
        now = time.perf_counter()
        speed = len(fetched) / (now - self._last_report)
        self._last_report = now
        means = {name: _mean([metrics[name] for _, metrics in fetched]) for name in fetched[-1][1]}
        means |= {"steps_per_second": speed, "images_per_second": speed * self._batch_size}
        self.write(fetched[-1][0], means)
        shown = {name.removeprefix("model/"): f"{value:.4g}" for name, value in means.items() if name.endswith("/loss")}
        self._bar.set_postfix(shown | {"img/s": f"{means['images_per_second']:.0f}"}, refresh=False)
        return means

    def write(self, step: int, metrics: dict[str, float]) -> None:
        """One line in `metrics.jsonl` and a point on each curve.

        NaN is left out, where it means that there is nothing to report; of an evaluation, `eval/...`, what isn't finite
        is null, and told.
        """
        values = {name: float(value) for name, value in metrics.items()}
        wrong = [name for name, value in values.items() if name.startswith("eval/") and not math.isfinite(value)]
        values = {name: value for name, value in values.items() if not (math.isnan(value) or name in wrong)}
        if self._quiet:
            return
        for name in wrong:
            self.say(f"step {step}: {name} is {float(metrics[name])}, no finite number")
        with open(self._workdir / "metrics.jsonl", "a") as file:
            file.write(json.dumps({"step": step} | values | dict.fromkeys(wrong)) + "\n")
        for name, value in values.items():
            self._board.add_scalar(name, value, step)

    def images(
        self,
        step: int,
        pixels: np.ndarray,
        trajectory: np.ndarray | None = None,
        captions: Sequence[str] | None = None,
    ) -> None:
        """A grid of uint8 pictures [n, h, w, c] as `samples/step_N.png` and in TensorBoard, with any captions.

        With a trajectory [t, n, h, w, c], also the way from noise to image as `samples/step_N.gif`.
        """
        if self._quiet:
            return
        grid = images_lib.make_captioned_grid(pixels, captions) if captions else images_lib.make_grid(pixels)
        images_lib.save_png(self._workdir / "samples" / f"step_{step}.png", grid)
        self._board.add_image("samples", grid, step, dataformats="HWC")
        if trajectory is not None:
            film = images_lib.make_film(trajectory)
            images_lib.save_gif(self._workdir / "samples" / f"step_{step}.gif", film)

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
        if not self._quiet:
            self._board.close()

    def _drop_after(self, step: int) -> None:
        """Cut lines of steps that a killed run had logged past the checkpoint it resumes from."""
        path = self._workdir / "metrics.jsonl"
        if path.is_file():
            lines = [line for line in path.read_text().splitlines() if _step_of(line) <= step]
            path.write_text("".join(line + "\n" for line in lines))


def _mean(values: list) -> float:
    """The mean of those that are not NaN; NaN if none is."""
    kept = [float(value) for value in values if not np.isnan(value)]
    return sum(kept) / len(kept) if kept else math.nan


def _step_of(line: str) -> int | float:
    """The step of a line of `metrics.jsonl`; infinity for a line cut short by a kill."""
    try:
        return json.loads(line)["step"]
    except json.JSONDecodeError:
        return math.inf
