"""A wheel works where there is no checkout: in an empty folder, beside another project's package called `configs`."""

import os
import shutil
import subprocess
import sys
from importlib.util import find_spec

import numpy as np
import pytest

SHORT = (
    "--config.training.num_steps=2", "--config.checkpoint.every=2", "--config.log.eval_every=0",
    "--config.log.sample_every=0", "--config.sampling.num_steps=3",
)  # fmt: skip


def run(command, cwd, code=0, **environment):
    """What a command prints."""
    done = subprocess.run(
        list(map(str, command)), cwd=cwd, env={**os.environ, **environment}, text=True, capture_output=True, timeout=600
    )
    assert done.returncode == code, f"{command}\n{done.stdout}\n{done.stderr}"
    return done.stdout + done.stderr


@pytest.fixture(scope="module")
def installed(root, tmp_path_factory):
    """A folder into which the wheel of this checkout is installed, programs in its `bin`."""
    folder = tmp_path_factory.mktemp("wheel")
    source, site = folder / "source", folder / "site"
    for name in ("genjax", "configs"):
        shutil.copytree(root / name, source / name, ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("setup.py", "pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(root / name, source)
    pip = [sys.executable, "-m", "pip", "--disable-pip-version-check"]
    alone = ["--no-build-isolation"] if find_spec("setuptools") else []
    run([*pip, "wheel", "--no-deps", *alone, "-w", folder, source], folder)
    (wheel,) = folder.glob("genjax_images-*.whl")
    run([*pip, "install", "--no-deps", "--no-index", "--target", site, wheel], folder)
    return site


@pytest.mark.slow
def test_programs_and_door_of_a_wheel(installed, tmp_path, tmp_path_factory):
    (tmp_path / "configs").mkdir()
    (tmp_path / "configs" / "__init__.py").write_text("raise ImportError('the configs of another project')")
    where = {
        "PYTHONPATH": f"{tmp_path}{os.pathsep}{installed}",
        "TFDS_DATA_DIR": str(tmp_path_factory.mktemp("data")),
        "JAX_PLATFORMS": "cpu",
        "XLA_FLAGS": "--xla_cpu_use_fusion_emitters=false",
        "JAX_DISABLE_MOST_OPTIMIZATIONS": "true",
    }
    train, sample = installed / "bin" / "genjax-train", [sys.executable, "-m", "genjax", "sample"]
    run([train, "--config=ddpm_digits:tiny", "--workdir=runs/a", *SHORT], tmp_path, **where)
    run([*sample, "--workdir=runs/a", "--num_samples=4", "--out=out"], tmp_path, **where)
    with np.load(tmp_path / "out" / "samples.npz") as file:
        there = file["arr_0"]
    assert there.shape == (4, 8, 8, 1)

    code = f"""
import genjax, numpy
assert genjax.__file__.startswith({str(installed)!r}), genjax.__file__
numpy.save("own.npy", genjax.load("runs/a").sample(4))
"""
    run([sys.executable, "-c", code], tmp_path, **where)
    np.testing.assert_array_equal(np.load(tmp_path / "own.npy"), there)

    told = run([train, "--config=configs/ddpm_digit.py", "--workdir=b"], tmp_path, code=1, **where)
    assert "there is no config file configs/ddpm_digit.py; genjax comes with configs named ddpm_digits" in told
    told = run([sys.executable, "-m", "genjax", "tarin"], tmp_path, code=1, **where)
    assert "no program 'tarin'" in told and "train, sample" in told
