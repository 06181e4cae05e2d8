"""One run at a time in a workdir, and a dead one doesn't keep it."""

import json
import os
import signal
import subprocess
import sys
import time

import pytest

from genjax.training import lock
from genjax.training.lock import Lock, LockedError


def leave(folder, age=0.0, **changes):
    """The lock of a run that is at work, or ended badly."""
    with Lock(folder):
        content = json.loads((folder / lock.NAME).read_text()) | changes
    folder.mkdir(exist_ok=True)
    path = folder / lock.NAME
    path.write_text(json.dumps(content))
    os.utime(path, (time.time() - age,) * 2)
    return path


def test_it_is_held_by_one_and_given_back(tmp_path):
    with Lock(tmp_path / "w") as held:
        held.check()
        with pytest.raises(LockedError, match=f"in use by process {os.getpid()} on .*, begun 20"), Lock(tmp_path / "w"):
            pass
        assert (tmp_path / "w" / lock.NAME).is_file(), "the second one leaves it"
        (tmp_path / "w" / "config.json").touch()
    assert [path.name for path in (tmp_path / "w").iterdir()] == ["config.json"]
    with Lock(tmp_path / "w"):
        pass


def test_a_mistake_leaves_no_folder(tmp_path):
    with pytest.raises(ValueError), Lock(tmp_path / "a" / "w"):
        raise ValueError
    assert list(tmp_path.iterdir()) == []


def test_the_lock_of_a_killed_process_is_taken_over(tmp_path, caplog):
    program = "from pathlib import Path; from genjax.training.lock import Lock; import time\n" \
              f"with Lock(Path({str(tmp_path)!r})): print('held', flush=True); time.sleep(99)"  # fmt: skip
    process = subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE, text=True)
    assert process.stdout.readline() == "held\n"
    with pytest.raises(LockedError, match=f"process {process.pid}"), Lock(tmp_path):
        pass
    process.send_signal(signal.SIGKILL)
    process.wait()
    with Lock(tmp_path):
        assert json.loads((tmp_path / lock.NAME).read_text())["pid"] == os.getpid()
    assert f"from process {process.pid}" in caplog.text


def test_a_process_number_that_was_given_again_is_another_process(tmp_path):
    leave(tmp_path, start="1")
    with Lock(tmp_path):
        pass


@pytest.mark.parametrize("elsewhere", [{"host": "node7"}, {"space": "another container"}])
def test_the_lock_of_another_machine_is_taken_over_when_it_is_silent_for_long(tmp_path, elsewhere):
    leave(tmp_path, age=lock.STALE - 30, pid=1, **elsewhere)
    with pytest.raises(LockedError, match="is in use by process 1"), Lock(tmp_path):
        pass
    leave(tmp_path / "x", age=lock.STALE + 30, pid=1, **elsewhere)
    with Lock(tmp_path / "x"):
        pass


@pytest.mark.parametrize("content", ["", "{", "[]"])
def test_a_lock_that_is_cut_counts_by_its_time(tmp_path, content):
    path = tmp_path / lock.NAME
    path.write_text(content)
    with pytest.raises(LockedError), Lock(tmp_path):
        pass
    os.utime(path, (0, 0))
    with Lock(tmp_path):
        pass


def test_the_time_is_renewed_and_a_run_that_was_held_up_notices(tmp_path, monkeypatch):
    monkeypatch.setattr(lock, "BEAT", 0.02)
    with Lock(tmp_path) as held:
        os.utime(tmp_path / lock.NAME, (0, 0))
        end = time.monotonic() + 10
        while (tmp_path / lock.NAME).stat().st_mtime == 0 and time.monotonic() < end:
            time.sleep(0.01)
        assert time.time() - (tmp_path / lock.NAME).stat().st_mtime < 60
        (tmp_path / lock.NAME).write_text(json.dumps({"token": "of another"}))
        time.sleep(0.2)
        with pytest.raises(LockedError, match="another run has taken over"):
            held.check()
    assert (tmp_path / lock.NAME).is_file(), "the lock of the other is left"


def test_without_hard_links(tmp_path, monkeypatch):
    def refuse(*_):
        raise PermissionError(1, "Operation not permitted")

    monkeypatch.setattr(os, "link", refuse)
    with Lock(tmp_path):
        with pytest.raises(LockedError), Lock(tmp_path):
            pass


def test_of_two_that_take_over_one_wins(tmp_path):
    """The second has seen the dead lock too, but finds the first one's in its place: it is put back."""
    leave(tmp_path, start="1")
    dead, second = lock._read(tmp_path / lock.NAME), Lock(tmp_path)
    with Lock(tmp_path) as first:
        second._move_away(dead)
        assert first._is_ours()
        with pytest.raises(LockedError), second:
            pass
