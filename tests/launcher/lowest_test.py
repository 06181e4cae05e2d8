"""The lowest versions that setup.py allows, as constraints."""

import runpy
import subprocess
import sys

import pytest


@pytest.fixture
def lowest(root):
    return runpy.run_path(str(root / "launch" / "lowest.py"))["lowest"]


def test_bounds_become_pins(lowest):
    setup = 'X = ["jax>=0.10.2", "mkdocs>=1.6,<2", "mkdocstrings[python]>=1.0", "jax>=0.10.2"]\nsetup(a=">=3.11", b=X)'
    assert lowest(setup) == ["jax==0.10.2", "mkdocs==1.6", "mkdocstrings==1.0"]


def test_two_bounds_of_one_package_are_refused(lowest):
    with pytest.raises(ValueError, match="jax>=0.10.2 and jax>=0.11"):
        lowest('["jax>=0.10.2", "jax>=0.11"]')


def test_every_requirement_has_a_lower_bound(root):
    """So that the lowest versions are all of them: what pip reads of the package is what the program prints."""
    command = [sys.executable, str(root / "launch" / "lowest.py")]
    printed = subprocess.run(command, capture_output=True, text=True, check=True).stdout.split()
    names = {line.split("==")[0] for line in printed}
    captured = {}
    fake = "find_packages, setup = lambda **words: [], CAPTURE"
    source = (root / "setup.py").read_text().replace("from setuptools import find_packages, setup", fake)
    exec(source, {"__file__": str(root / "setup.py"), "CAPTURE": lambda **words: captured.update(words)})
    required = [*captured["install_requires"], *(one for extra in captured["extras_require"].values() for one in extra)]
    assert {one.split(">=")[0].split("[")[0] for one in required} == names and len(names) > 20
