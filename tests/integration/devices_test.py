"""One device, eight fake ones, those of two processes: the same loss curve; checkpoints move between them."""

import json
import signal
import socket

import numpy as np
import pytest

from tests.integration.conftest import CONFIG, SHORT
from tests.integration.resume_test import wait_for

FLAGS = (*SHORT, "--config.training.num_steps=14", "--config.checkpoint.every=12")
UNTIL_12 = "--config.training.num_steps=12"
EIGHT = ("--config.mesh.data=4", "--config.mesh.fsdp=2")


def curve(workdir):
    return np.array([json.loads(line)["model/loss"] for line in (workdir / "metrics.jsonl").open()])


@pytest.fixture(scope="module")
def one_device(programs, tmp_path_factory):
    """The curve of 14 steps of one device."""
    workdir = tmp_path_factory.mktemp("devices") / "one"
    programs.train(workdir, *FLAGS)
    assert len(curve(workdir)) == 14
    return curve(workdir)


def check_eight_devices(programs, folder, expected, *flags, **how):
    """Eight devices take 12 steps and one takes two more; together they give the curve of one alone."""
    programs.train(folder, *FLAGS, *flags, *EIGHT, UNTIL_12, devices=8, **how)
    np.testing.assert_allclose(curve(folder), expected[:12], rtol=1e-4)
    assert "resuming at step 12" in programs.train(folder, *FLAGS, *flags, **how)
    np.testing.assert_allclose(curve(folder), expected, rtol=1e-4)


@pytest.mark.slow
def test_eight_devices_give_the_same_curve_and_their_checkpoint_restores_on_one(programs, one_device, tmp_path):
    check_eight_devices(programs, tmp_path / "w", one_device)


@pytest.mark.slow
def test_eight_devices_give_the_same_curve_of_a_unet(programs, tmp_path):
    """As above with convolutions, whose cuts `tests/sharding_test.py` knows without computing."""
    unet = {"config": "configs/ddpm_digits.py:tiny"}
    wide = "--config.model.network.width=32"  # there is something to shard
    programs.train(tmp_path / "one", *FLAGS, wide, **unet)
    check_eight_devices(programs, tmp_path / "w", curve(tmp_path / "one"), wide, **unet)


def start_two(programs, *flags, devices=1):
    """Two processes of one run, each with so many devices."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{free.getsockname()[1]}"
    together = ("--multihost", f"--coordinator={address}", "--num_processes=2")
    return [
        programs.start(
            "train", f"--config={CONFIG}", *FLAGS, *flags, *together, f"--process_id={index}", devices=devices
        )
        for index in range(2)
    ]


def test_two_processes_of_four_devices_give_the_same_curve(programs, one_device, tmp_path):
    """The batch cut over processes and devices, the parameters over devices of both; then one device goes on."""
    processes = start_two(programs, f"--workdir={tmp_path / 'w'}", *EIGHT, UNTIL_12, devices=4)
    outputs = [process.communicate(timeout=300)[0] for process in processes]
    assert [process.returncode for process in processes] == [0, 0], "\n".join(outputs)
    np.testing.assert_allclose(curve(tmp_path / "w"), one_device[:12], rtol=1e-4)
    assert "resuming at step 12" in programs.train(tmp_path / "w", *FLAGS)
    np.testing.assert_allclose(curve(tmp_path / "w"), one_device, rtol=1e-4)


@pytest.mark.slow
def test_ctrl_c_of_two_processes_saves_in_both(programs, tmp_path):
    endless = ("--config.training.num_steps=100000", "--config.checkpoint.every=90000")
    processes = start_two(programs, f"--workdir={tmp_path / 'w'}", *endless)
    wait_for(processes[0], tmp_path / "w" / "metrics.jsonl")
    for process in processes:
        process.send_signal(signal.SIGINT)
    outputs = [process.communicate(timeout=300)[0] for process in processes]
    assert [process.returncode for process in processes] == [128 + signal.SIGINT] * 2, "\n".join(outputs)
    saved = [int(path.name) for path in (tmp_path / "w" / "checkpoints").iterdir()]
    assert len(saved) == 1 and f"saved step {saved[0]}" in outputs[0] and "Traceback" not in "".join(outputs)
