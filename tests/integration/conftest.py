"""Programs of `launch/` run as a person runs them: in their own processes."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

CONFIG = "tests/integration/small.py"
"""The config of most tests: whose network it is does not matter to them, and this one compiles in a moment."""


class Programs:
    """Runs `launch/*.py` with the tests' cache and data folder."""

    def __init__(self, root: Path, data_dir: Path):
        self.root = root
        self.data_dir = data_dir

    def start(self, program, *flags, devices=1, **environment):
        """The program as a running process, its output in one stream."""
        env = {
            **os.environ,
            "TFDS_DATA_DIR": str(self.data_dir),
            "JAX_PLATFORMS": "cpu",
            # Of two counts the last one holds.
            "XLA_FLAGS": f"{os.environ['XLA_FLAGS']} --xla_force_host_platform_device_count={devices}",
            "JAX_DISABLE_MOST_OPTIMIZATIONS": "true",
            **environment,
        }
        command = [
            sys.executable,
            f"launch/{program}.py",
            f"--compilation_cache={self.root / '.cache' / 'xla'}",
        ]
        return subprocess.Popen(
            [*command, *map(str, flags)],
            cwd=self.root,
            env=env,
            text=True,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
        )

    def run(self, program, *flags, code=0, **how):
        """The output of the program, which must end with `code`."""
        process = self.start(program, *flags, **how)
        output, _ = process.communicate(timeout=300)
        assert process.returncode == code, f"exit code {process.returncode}:\n{output}"
        return output

    def train(self, workdir, *flags, config=CONFIG, **how):
        """Train the small config."""
        return self.run("train", f"--config={config}", f"--workdir={workdir}", *flags, **how)


@pytest.fixture(scope="session")
def programs(root, data_dir):
    """How tests run the programs."""
    return Programs(root, Path(data_dir))


@pytest.fixture(scope="session")
def trained(programs, tmp_path_factory):
    """A workdir of an undisturbed run of 12 steps with a checkpoint every 4."""
    workdir = tmp_path_factory.mktemp("runs") / "undisturbed"
    programs.train(workdir, *SHORT)
    return workdir


SHORT_SETTINGS = {
    "training.num_steps": 12, "checkpoint.every": 4, "checkpoint.keep": 10,
    "log.every": 1, "log.eval_every": 0, "log.sample_every": 0,
}  # fmt: skip
SHORT = tuple(f"--config.{name}={value}" for name, value in SHORT_SETTINGS.items())
