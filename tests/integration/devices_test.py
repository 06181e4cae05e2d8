"""One device, eight fake ones, two processes: the same loss curve; checkpoints move between them."""

import json
import signal
import socket

import numpy as np
import pytest

from tests.integration.conftest import SHORT
from tests.integration.resume_test import wait_for

FLAGS = (*SHORT, "--config.model.network.width=32")
"""Wide enough that there is something to shard."""


def curve(workdir):
    return np.array([json.loads(line)["model/loss"] for line in (workdir / "metrics.jsonl").open()])


@pytest.fixture(scope="module")
def one_device(programs, tmp_path_factory):
    workdir = tmp_path_factory.mktemp("devices") / "one"
    programs.train(workdir, *FLAGS)
    return workdir


def test_eight_devices_give_the_same_curve_and_their_checkpoint_restores_on_one(programs, one_device, tmp_path):
    flags = (*FLAGS, "--config.mesh.data=4", "--config.mesh.fsdp=2")
    programs.train(tmp_path / "w", *flags, devices=8)
    np.testing.assert_allclose(curve(tmp_path / "w"), curve(one_device), rtol=1e-4)
    more = "--config.training.num_steps=14"
    assert "resuming at step 12" in programs.train(tmp_path / "w", *FLAGS, more)
    programs.train(one_device, *FLAGS, more)
    np.testing.assert_allclose(curve(tmp_path / "w"), curve(one_device), rtol=1e-4)
    assert len(curve(one_device)) == 14


def start_two(programs, *flags):
    """Two processes of one run."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{free.getsockname()[1]}"
    together = ("--multihost", f"--coordinator={address}", "--num_processes=2")
    return [
        programs.start(
            "train", "--config=configs/ddpm_digits.py:tiny", *FLAGS, *flags, *together, f"--process_id={index}"
        )
        for index in range(2)
    ]


def test_two_processes_give_the_same_curve(programs, one_device, tmp_path):
    processes = start_two(programs, f"--workdir={tmp_path / 'w'}")
    outputs = [process.communicate(timeout=300)[0] for process in processes]
    assert [process.returncode for process in processes] == [0, 0], "\n".join(outputs)
    np.testing.assert_allclose(curve(tmp_path / "w"), curve(one_device)[:12], rtol=1e-4)
    assert "resuming at step 12" in programs.train(tmp_path / "w", *FLAGS)


@pytest.mark.slow
def test_ctrl_c_of_two_processes_saves_in_both(programs, one_device, tmp_path):
    endless = ("--config.training.num_steps=100000", "--config.checkpoint.every=90000")
    processes = start_two(programs, f"--workdir={tmp_path / 'w'}", *endless)
    wait_for(processes[0], tmp_path / "w" / "metrics.jsonl")
    for process in processes:
        process.send_signal(signal.SIGINT)
    outputs = [process.communicate(timeout=300)[0] for process in processes]
    assert [process.returncode for process in processes] == [128 + signal.SIGINT] * 2, "\n".join(outputs)
    saved = [int(path.name) for path in (tmp_path / "w" / "checkpoints").iterdir()]
    assert len(saved) == 1 and f"saved step {saved[0]}" in outputs[0] and "Traceback" not in "".join(outputs)
