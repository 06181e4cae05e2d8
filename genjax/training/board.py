"""TensorBoard curves and images, written at once: a disk that is full is an error here, not a thread that dies.

tensorboardX is imported by the first `Board`: it loads PyTorch where that is installed, which takes seconds that a
program that only samples needn't wait.
"""

import time
from pathlib import Path
from typing import Any

import numpy as np


class Board:
    """One file of events in a folder.

    Args:
        folder: where it is made.
        first_step: curves of earlier sessions are cut from this step on.
    """

    def __init__(self, folder: Path, first_step: int):
        from tensorboardX import event_file_writer, summary
        from tensorboardX.proto import event_pb2

        self._summary, self._event = summary, event_pb2.Event
        self._events = event_file_writer.EventsWriter(str(folder / "events"))
        start = event_pb2.SessionLog(status=event_pb2.SessionLog.START)
        self._write(first_step, session_log=start)

    def scalars(self, step: int, values: dict[str, float]) -> None:
        """A point on each curve.

        Raises:
            OSError: if it can't be written.
        """
        for name, value in values.items():
            self._write(step, summary=self._summary.scalar(name, value))
        self._events.flush()

    def image(self, step: int, name: str, pixels: np.ndarray) -> None:
        """A uint8 image [h, w, c].

        Raises:
            OSError: if it can't be written.
        """
        self._write(step, summary=self._summary.image(name, pixels, dataformats="HWC"))
        self._events.flush()

    def close(self) -> None:
        """Finish the file.

        Raises:
            OSError: if it can't be written.
        """
        self._events.close()

    def _write(self, step: int, **content: Any) -> None:
        self._events.write_event(self._event(wall_time=time.time(), step=step, **content))
