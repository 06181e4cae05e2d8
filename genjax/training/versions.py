"""What a run was trained by: versions of genjax and its libraries, and the commit of the code."""

import os
import subprocess
from importlib import metadata
from pathlib import Path

import genjax

LIBRARIES = ("jax", "flax", "optax", "orbax-checkpoint", "numpy")


def found() -> dict[str, str]:
    """Name -> version."""
    return {"genjax": genjax.__version__} | {name: metadata.version(name) for name in LIBRARIES}


def commit() -> str | None:
    """The git commit of the checkout of genjax that this code is run from; None where it is none, but installed (in
    another project's checkout, it may be), or where git isn't.
    """
    root = Path(__file__).parents[2]
    environment = {name: value for name, value in os.environ.items() if not name.startswith("GIT_")}
    command = ["git", "rev-parse", "--show-toplevel", "HEAD"]
    try:
        found = subprocess.run(
            command, cwd=root, env=environment, capture_output=True, text=True, check=True, errors="replace"
        )
        top, commit = found.stdout.strip().rsplit("\n", 1)
        return commit if os.path.samefile(top, root) else None
    except (OSError, subprocess.SubprocessError, ValueError):
        return None
