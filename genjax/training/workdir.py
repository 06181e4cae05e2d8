"""A workdir says everything: `config.json`, `stage.json`, `checkpoints/`, `metrics.jsonl`, TensorBoard, `samples/`."""

import json
import os
import subprocess
from importlib import metadata
from pathlib import Path
from typing import Any

import jax
from ml_collections import ConfigDict

CHANGEABLE = ("training.num_steps", "checkpoint.", "log.", "mesh.", "sampling.", "data.data_dir", "init_from")
"""Fields that may differ when a run is resumed: they change how far and how it is shown, not what is trained."""

LIBRARIES = ("jax", "flax", "optax", "orbax-checkpoint", "numpy")


def write_json(path: Path, value: Any) -> None:
    """Write JSON so that the file is there whole or not at all."""
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(f"{path.name}.{os.getpid()}.part")
    part.write_text(json.dumps(value, indent=2) + "\n")
    os.replace(part, path)


def flatten(config: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    """Nested settings as {"a.b.c": value}; lists and tuples compare equal."""
    flat = {}
    for name, value in config.items():
        if isinstance(value, dict):
            flat |= flatten(value, f"{prefix}{name}.")
        else:
            flat[prefix + name] = list(value) if isinstance(value, tuple) else value
    return flat


def read_config(workdir: Path) -> ConfigDict:
    """The config that a workdir was trained with.

    Raises:
        ValueError: if there is none.
    """
    path = workdir / "config.json"
    if not path.is_file():
        raise ValueError(
            f"{workdir} is not a workdir of genjax: it has no config.json; train one with launch/train.py"
        )
    return ConfigDict(json.loads(path.read_text()))


def check_config(workdir: Path, config: ConfigDict) -> None:
    """Nothing, if the workdir is fresh or was trained with this config so far.

    Raises:
        ValueError: if a field that matters differs; names each with both values.
    """
    path = workdir / "config.json"
    if not path.is_file():
        return
    there, here = flatten(json.loads(path.read_text())), flatten(json.loads(config.to_json()))
    differing = [
        f"{name}: {there.get(name, 'absent')} there, {here.get(name, 'absent')} here"
        for name in sorted(there.keys() | here.keys())
        if there.get(name) != here.get(name) and not name.startswith(CHANGEABLE)
    ]
    if differing:
        raise ValueError(
            f"{workdir} belongs to another config ({'; '.join(differing)}); choose another --workdir"
        )


def claim(workdir: Path, config: ConfigDict, interface: Any) -> None:
    """Write `config.json`, fully resolved, and `stage.json`: family, interface, versions and commit.

    To be called when everything that the config names has been made, so that a mistake doesn't claim the workdir.
    """
    if jax.process_index() == 0:
        write_json(workdir / "config.json", json.loads(config.to_json()))
        write_json(
            workdir / "stage.json",
            {
                "family": config.family,
                "interface": type(interface).__name__,
                "versions": {"genjax": metadata.version("genjax")}
                | {name: metadata.version(name) for name in LIBRARIES},
                "commit": _commit(),
            },
        )


def _commit() -> str | None:
    """The git commit of the source tree that this code is run from, None where it is no checkout."""
    here = Path(__file__).parent
    found = subprocess.run(
        ["git", "rev-parse", "HEAD"], cwd=here, capture_output=True, text=True, check=False
    )
    return found.stdout.strip() or None
