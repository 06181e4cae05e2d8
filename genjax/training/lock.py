"""One run at a time in a workdir: a lock that names who holds it.

The lock is the file `lock.json` (host, process, when it began), made with O_EXCL: of two runs, on one machine or on two
that share a disk over NFS, one makes it. While the run lives, a thread renews the file's time every `BEAT` seconds.
A second run takes the lock over if its process is gone (on the same machine), or if it wasn't renewed for `STALE`
seconds (on another machine, or in another container); else it is refused by name. The clock is the disk's own: clocks
of machines differ.

Whoever takes over moves the old file away under a name of its own, so that of two only one does. A run that was held up
so long that another took over sees it when it saves next, and stops. Of several processes of one run the first holds
the lock, and the others hear from it.
"""

import contextlib
import json
import os
import secrets
import socket
import threading
import time
from pathlib import Path
from typing import Any

import jax
from absl import logging

from genjax.training.processes import lead

NAME = "lock.json"
BEAT, STALE = 10.0, 120.0


class LockedError(ValueError):
    """Another run is at work in the workdir."""


class Lock:
    """Holds a workdir while it is open: `with Lock(folder) as lock`.

    Args:
        folder: the workdir; made if need be, and removed again if nothing was written into it.
    """

    def __init__(self, folder: Path):
        self._path = folder.absolute() / NAME
        self._token = secrets.token_hex(8)
        self._ended = threading.Event()
        self._made: list[Path] = []
        self._holds, self._seen = False, 0.0

    def __enter__(self) -> "Lock":
        """Take the lock.

        Raises:
            LockedError: in all processes of the run, if another run holds it.
        """
        refused = None
        if jax.process_index() == 0:
            try:
                self._take()
            except (LockedError, OSError) as error:
                refused = error
                self._remove_folders()
        if lead(int(refused is not None)):
            raise refused or LockedError(f"{self._path.parent} is in use, as process 0 of this run says")
        return self

    def __exit__(self, *_) -> None:
        """Give the lock back."""
        self._ended.set()
        if self._holds and self._is_ours():
            with contextlib.suppress(OSError):
                self._path.unlink()
        self._holds = False
        self._remove_folders()

    def check(self) -> None:
        """Nothing, as long as the lock is ours.

        Raises:
            LockedError: if another run took the workdir over, as it does from a process that was held up for long.
        """
        if not self._holds or time.time() - self._seen < 3 * BEAT:
            return
        if not self._renew():
            raise LockedError(
                f"another run has taken over {self._path.parent}, since this process was held up for more than "
                f"{STALE:.0f} s; stopped, nothing more was written"
            )

    def _take(self) -> None:
        folder = self._path.parent
        self._made = [path for path in (folder, *folder.parents) if not path.exists()]
        folder.mkdir(parents=True, exist_ok=True)
        while not self._make():
            found = _read(self._path)
            if found is not None and not self._is_free(found):
                raise LockedError(
                    f"{folder} is in use by process {found.get('pid')} on {found.get('host')}, begun "
                    f"{found.get('begun')}; stop it first, or choose another --workdir. If it is gone, its lock "
                    f"{self._path} is taken over {STALE:.0f} s after its end"
                )
            if found is not None:
                self._move_away(found)
        self._holds, self._seen = True, time.time()
        threading.Thread(target=self._beat, name="workdir-lock", daemon=True).start()

    def _make(self) -> bool:
        """Make the file, whole and only if there is none; whether it was made."""
        part = self._path.with_name(f"{NAME}.{self._token}.part")
        content = {"host": socket.gethostname(), "space": _space(), "pid": os.getpid(), "start": _start(os.getpid())}
        content |= {"begun": time.strftime("%Y-%m-%d %H:%M:%S"), "token": self._token}
        try:
            part.write_text(json.dumps(content))
            try:
                os.link(part, self._path)  # appears whole; as O_EXCL, it fails where there is one
            except FileExistsError:
                return False
            except OSError:  # a filesystem without hard links
                with open(self._path, "x") as file:
                    file.write(json.dumps(content))
            return True
        except FileExistsError:
            return False
        finally:
            part.unlink(missing_ok=True)

    def _is_free(self, found: dict[str, Any]) -> bool:
        """Whether whoever made the lock is gone, or silent for long."""
        if (found.get("host"), found.get("space")) == (socket.gethostname(), _space()):
            pid = found.get("pid")
            return not isinstance(pid, int) or _start(pid) != found.get("start")
        return self._now() - found["time"] > STALE

    def _now(self) -> float:
        """The time by the clock of the disk."""
        probe = self._path.with_name(f"{NAME}.{self._token}.part")
        probe.touch()
        try:
            return probe.stat().st_mtime
        finally:
            probe.unlink()

    def _move_away(self, found: dict[str, Any]) -> None:
        """Take a dead run's file away; one that a third run has made meanwhile is put back."""
        old = self._path.with_name(f"{NAME}.{self._token}.old")
        with contextlib.suppress(FileNotFoundError):
            os.rename(self._path, old)
            moved = _read(old)
            if moved is not None and moved.get("token") != found.get("token"):
                with contextlib.suppress(OSError):
                    os.link(old, self._path)
            else:
                who = f"process {found.get('pid')} on {found.get('host')}, begun {found.get('begun')}"
                logging.warning("took over %s from %s, which is gone", self._path.parent, who)
            old.unlink()

    def _is_ours(self) -> bool:
        found = _read(self._path)
        return found is not None and found.get("token") == self._token

    def _beat(self) -> None:
        """Renew the time of the file until the end."""
        while not self._ended.wait(BEAT):
            with contextlib.suppress(OSError):
                self._renew()

    def _renew(self) -> bool:
        """Set the file's time to now, if it is still ours; whether it is."""
        if not self._is_ours():
            return False
        os.utime(self._path)
        self._seen = time.time()
        return True

    def _remove_folders(self) -> None:
        """Remove the folders that were made for the lock, if nothing else came into them."""
        with contextlib.suppress(OSError):
            for path in self._made:
                path.rmdir()


def _read(path: Path) -> dict[str, Any] | None:
    """What a lock says, with its `time`; None if there is none. One that is cut has nothing but its time."""
    try:
        modified = path.stat().st_mtime
        try:
            content = json.loads(path.read_bytes())
        except ValueError:
            content = None
    except FileNotFoundError:
        return None
    return (content if isinstance(content, dict) else {}) | {"time": modified}


def _space() -> str:
    """What tells this machine's process numbers from those of another container, or of the time before a restart."""
    found = []
    for read in (lambda: os.readlink("/proc/self/ns/pid"), Path("/proc/sys/kernel/random/boot_id").read_text):
        with contextlib.suppress(OSError):
            found.append(read().strip())
    return " ".join(found)


def _start(pid: int) -> str | None:
    """When a process of this machine began, so that a later one of the same number is another; None if it is gone."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
        return None if fields[0] in "ZX" else fields[19]
    except OSError:
        pass
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return None
    except OSError:
        pass
    return None if Path("/proc/self/stat").exists() else "unknown"
