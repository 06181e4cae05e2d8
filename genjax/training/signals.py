"""SIGTERM and Ctrl-C: the first lets the run save and stop, a second one stops it at once.

Of several processes jax's own service hears SIGTERM and agrees with the others on the step after which all stop;
Ctrl-C is handed to it as SIGTERM. In a thread that isn't the main one (a notebook server, a Ray worker) nothing is
listened to: Python allows handlers in the main thread only.
"""

import os
import signal
import threading

import jax
from jax.experimental import multihost_utils


class Interrupted(SystemExit):
    """A run that was interrupted; its exit code is 128 + the signal's number.

    Attributes:
        at_once: whether it was interrupted twice, and has not saved.
    """

    at_once = False


class Signals:
    """Notes SIGTERM and Ctrl-C while it is open."""

    def __enter__(self):
        self.received = 0
        self._alone = jax.process_count() == 1
        # A handler of Python's for SIGTERM would take it from jax's service.
        numbers = (signal.SIGINT, signal.SIGTERM) if self._alone else (signal.SIGINT,)
        listens = threading.current_thread() is threading.main_thread()
        self._before = {number: signal.signal(number, self._note) for number in numbers if listens}
        return self

    def _note(self, number, frame):
        if self.received:
            stop = Interrupted(128 + number)
            stop.at_once = True
            raise stop
        self.received = number
        os.write(2, b"\nsaving after this step, then stopping; a second signal stops at once\n")
        if not self._alone:
            os.kill(os.getpid(), signal.SIGTERM)

    def __exit__(self, *exception):
        for number, handler in self._before.items():
            signal.signal(number, handler)

    def stop_all(self) -> None:
        """Let all processes save and stop after a step that they agree on."""
        self._note(signal.SIGTERM, None)

    def stop_at(self, step: int) -> bool:
        """Whether to save and stop after this step; the same answer in all processes."""
        if self._alone:
            return bool(self.received)
        stopping = multihost_utils.reached_preemption_sync_point(step)
        if stopping:
            self.received = self.received or signal.SIGTERM
        return stopping
