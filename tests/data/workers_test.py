"""What a dead worker process is to who waits for its batch; real workers are in the loader's tests."""

import multiprocessing
import threading
import time

import pytest

from genjax.data import workers


class Batches:
    """An iterator whose batches are `found`; an exception among them is raised, an event waited for."""

    def __init__(self, *found):
        self._found, self.closed = list(found), 0

    def __next__(self):
        found = self._found.pop(0)
        if isinstance(found, Exception):
            raise found
        return found.wait() if isinstance(found, threading.Event) else found

    def close(self):
        self.closed += 1


def test_batches_and_their_errors_pass_as_they_are():
    batches = Batches({"label": 1}, OSError("cat.jpg is cut"), RuntimeError("other"), StopIteration())
    watched = workers.Watched(batches)
    assert next(watched) == {"label": 1}
    for kind, message in ((OSError, "cat.jpg is cut"), (RuntimeError, "other"), (StopIteration, "^$")):
        with pytest.raises(kind, match=message):
            next(watched)
    watched.close()
    assert batches.closed == 1


@pytest.mark.parametrize(
    "exit_code, message",
    [
        (-9, "a data worker died (SIGKILL), most likely killed for lack of memory: free some, or try fewer "
             "num_workers"),
        (-7, "a data worker died (SIGBUS), most likely because shared memory is full: give /dev/shm more, or try fewer "
             "num_workers"),
        (-11, "a data worker died (SIGSEGV), num_workers=0 reads without workers"),
        (1, "a data worker ended with exit code 1, and said above why if it could; num_workers=0 reads "
            "without workers"),
    ],
)  # fmt: skip
def test_a_dead_worker_is_one_line(exit_code, message):
    dead = RuntimeError(f"Worker process was terminated unexpectedly with exit code {exit_code}. Search the logs")
    with pytest.raises(workers.WorkerDied) as error:
        next(workers.Watched(Batches(dead)))
    assert str(error.value) == message and isinstance(error.value, ValueError)


def test_a_batch_that_never_comes_of_a_dead_worker_is_no_hang(monkeypatch):
    """One killed in the middle of writing leaves its reader waiting for the other half."""
    monkeypatch.setattr(workers, "POLL_SECONDS", 0.01)
    monkeypatch.setattr(workers, "GRACE_SECONDS", 0.05)
    children, killed, never = [], [], threading.Event()
    monkeypatch.setattr(multiprocessing, "active_children", lambda: children)
    batches = Batches(never)
    watched = workers.Watched(batches)
    children += [Child(code, killed) for code in (-9, None)]
    start = time.monotonic()
    with pytest.raises(workers.WorkerDied, match="SIGKILL"):
        next(watched)
    assert time.monotonic() - start < 5
    watched.close()
    assert sorted(killed, key=str) == [-9, None] and batches.closed == 1
    never.set()


class Child:
    """A worker process that ended with a code, or lives."""

    def __init__(self, exitcode, killed):
        self.exitcode, self._killed = exitcode, killed

    def kill(self):
        self._killed.append(self.exitcode)
