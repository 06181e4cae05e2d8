"""Worker processes of the loader: they end with their parent, and the death of one is an error at once.

grain starts the workers and moves their batches. What is added here:

    end_with_parent    runs in each worker: it ends when its parent does, even by `kill -9`, and leaves Ctrl-C to it
    Watched            the batches of workers; a worker that the system kills is `WorkerDied`, never a hang
"""

import multiprocessing
import os
import queue
import re
import signal
import threading
import time
from typing import Any, Protocol, runtime_checkable

from genjax.core.arguments import ArgumentError, arg
from genjax.typing import Batch

POLL_SECONDS = 0.5
"""Between two looks at whether workers live, while a batch is waited for."""
GRACE_SECONDS = 5.0
"""How long a batch may still take to come once a worker is dead: the last that it wrote may be cut off in the middle,
and whoever reads it then waits without end."""
CLOSE_SECONDS = 10.0
"""How long readers of dead workers may take to end, before they are left to end with the process."""

_DEATH = re.compile(r"terminated unexpectedly with exit code (-?\d+)")
_ADVICE = {
    signal.SIGKILL: f"most likely killed for lack of memory: free some, or try fewer {arg('num_workers')}",
    signal.SIGBUS: f"most likely because shared memory is full: give /dev/shm more, or try fewer {arg('num_workers')}",
}


@runtime_checkable
class Closeable(Protocol):
    """An iterator that holds workers."""

    def __next__(self) -> Batch: ...

    def close(self) -> None:
        """Release what it holds."""


class WorkerDied(ArgumentError):
    """A worker process of the loader ended before its time; the iterator's state is that of the last whole batch."""

    def __init__(self, exit_code: int):
        super().__init__(_line(exit_code))


def _line(exit_code: int) -> str:
    try:
        number = signal.Signals(-exit_code)
    except ValueError:
        return (
            f"a data worker ended with exit code {exit_code}, and said above why if it could; "
            f"{arg('num_workers')}=0 reads without workers"
        )
    advice = _ADVICE.get(number, f"{arg('num_workers')}=0 reads without workers")
    return f"a data worker died ({number.name}), {advice}"


def end_with_parent(index: int, count: int) -> None:
    """In a worker: end at once when the parent process is gone; Ctrl-C is the parent's to answer.

    Linux's PR_SET_PDEATHSIG won't do: it follows the parent's thread that started the worker, which ends long before.
    """
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    parent = multiprocessing.parent_process()

    def wait() -> None:
        while os.getppid() == parent.pid and parent.is_alive():
            parent.join(1.0)
        os._exit(1)

    threading.Thread(target=wait, name="end-with-parent", daemon=True).start()


class Watched:
    """The batches of an iterator over worker processes, in its order.

    Args:
        batches: of grain; its workers start with the first batch.
    """

    def __init__(self, batches: Closeable):
        self._batches = batches
        self._others = set(multiprocessing.active_children())
        self._workers: set[Any] = set()
        self._died = False

    def __next__(self) -> Batch:
        """The next batch.

        Raises:
            WorkerDied: if a worker of it is dead.
        """
        answers: queue.SimpleQueue = queue.SimpleQueue()
        threading.Thread(target=_answer, args=(self._batches, answers), daemon=True).start()
        deadline = None
        while True:
            try:
                batch, error = answers.get(timeout=POLL_SECONDS)
                break
            except queue.Empty:
                exit_code = self._exit_code()
                if exit_code is not None:
                    deadline = deadline or time.monotonic() + GRACE_SECONDS
                    if time.monotonic() > deadline:
                        self._died = True
                        raise WorkerDied(exit_code) from None
        if error is None:
            return batch
        death = _DEATH.search(str(error)) if isinstance(error, RuntimeError) else None
        if death:
            self._died = True
            raise WorkerDied(int(death[1])) from None
        raise error

    def close(self) -> None:
        """End all workers and threads. Those that wait for a dead worker are waited for only so long."""
        if not self._died:
            self._batches.close()
            return
        self._exit_code()
        for worker in self._workers:
            worker.kill()
        closing = threading.Thread(target=self._batches.close, daemon=True)
        closing.start()
        closing.join(CLOSE_SECONDS)

    def _exit_code(self) -> int | None:
        """What a dead worker ended with, None if there is none."""
        self._workers |= set(multiprocessing.active_children()) - self._others
        return next((worker.exitcode for worker in self._workers if worker.exitcode), None)


def _answer(batches: Closeable, answers: queue.SimpleQueue) -> None:
    """Put the next batch, or why there is none, in a queue."""
    try:
        answers.put((next(batches), None))
    except BaseException as error:  # Raised again by who waits for it.
        answers.put((None, error))
