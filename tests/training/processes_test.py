"""Two processes go on from one step, whatever each of them sees of the disk."""

import os
import socket
import subprocess
import sys

PROGRAM = """
import shutil, sys
from pathlib import Path

import jax
jax.distributed.initialize(sys.argv[1], 2, int(sys.argv[2]))
import jax.numpy as jnp
import optax
from jax.experimental import multihost_utils

from genjax import sharding
from genjax.training import checkpoint, state as state_lib
from tests.training import toy

checkpoint.PAUSES = (0,)
own, root = jax.process_index(), Path(sys.argv[3])
family, optimizers = toy.family(size=64), {"model": optax.adam(0.1)}
init = state_lib.make_init(family, optimizers, True)
shapes = jax.eval_shape(init, jax.random.key(0), toy.batch([0.0]))
shardings = sharding.infer(shapes, sharding.make_mesh(), ())
state = state_lib.create(init, jax.random.key(0), toy.batch([0.0]), shardings)
writer = checkpoint.Checkpoints(root / "0")
for step in (1, 2, 3):
    writer.save(state._replace(step=state.step + step), {"next_index": step})
writer.close()
multihost_utils.sync_global_devices("written")
if own == 1:
    shutil.copytree(root / "0", root / "1")
    next((root / "1" / "3" / "state" / "d").iterdir()).write_bytes(b"")
    next((root / "1" / "2" / "state" / "d").iterdir()).unlink()
multihost_utils.sync_global_devices("damaged")
reader = checkpoint.Checkpoints(root / str(own))
restored, position, _ = reader.restore_newest(shapes, shardings)
print("step", int(restored.step), position["next_index"], flush=True)

reader = checkpoint.Checkpoints(root / "0")
if own == 1:
    def refuse(*_, **__):
        raise OSError(5, "Input/output error")
    reader.reader.restore = refuse
try:
    reader.restore_newest(shapes, shardings)
except checkpoint.UnreadableError as error:
    print("unreadable", Path(root / "0" / "1").is_dir(), flush=True)
"""


def test_two_processes_take_the_newest_that_both_can_read_or_none(root, tmp_path):
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{free.getsockname()[1]}"
    environment = os.environ | {"XLA_FLAGS": "--xla_force_host_platform_device_count=1", "PYTHONPATH": str(root)}
    processes = [
        subprocess.Popen(
            [sys.executable, "-c", PROGRAM, address, str(index), str(tmp_path)],
            cwd=root, env=environment, text=True, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
        )
        for index in range(2)
    ]  # fmt: skip
    found = [process.communicate(timeout=200) for process in processes]
    for process, (output, errors) in zip(processes, found, strict=True):
        assert process.returncode == 0, errors
        assert [line for line in output.splitlines() if line.startswith(("step", "unreadable"))] == [
            "step 1 1", "unreadable True",
        ]  # fmt: skip
    assert {path.name.split("-")[0] for path in (tmp_path / "0" / "damaged").iterdir()} == {"3", "2"}
