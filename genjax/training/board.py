"""TensorBoard curves and images, written at once: a disk that is full is an error here, not a thread that dies."""

import time
from pathlib import Path

import numpy as np
from tensorboardX import summary
from tensorboardX.event_file_writer import EventsWriter
from tensorboardX.proto.event_pb2 import Event, SessionLog


class Board:
    """One file of events in a folder.

    Args:
        folder: where it is made.
        first_step: curves of earlier sessions are cut from this step on.
    """

    def __init__(self, folder: Path, first_step: int):
        self._events = EventsWriter(str(folder / "events"))
        start = SessionLog(status=SessionLog.START)
        self._events.write_event(Event(wall_time=time.time(), step=first_step, session_log=start))

    def scalars(self, step: int, values: dict[str, float]) -> None:
        """A point on each curve.

        Raises:
            OSError: if it can't be written.
        """
        for name, value in values.items():
            self._add(step, summary.scalar(name, value))
        self._events.flush()

    def image(self, step: int, name: str, pixels: np.ndarray) -> None:
        """A uint8 image [h, w, c].

        Raises:
            OSError: if it can't be written.
        """
        self._add(step, summary.image(name, pixels, dataformats="HWC"))
        self._events.flush()

    def close(self) -> None:
        """Finish the file.

        Raises:
            OSError: if it can't be written.
        """
        self._events.close()

    def _add(self, step: int, content: summary.Summary) -> None:
        self._events.write_event(Event(wall_time=time.time(), step=step, summary=content))
