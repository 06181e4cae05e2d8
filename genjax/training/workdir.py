"""A workdir says everything: `config.json`, `stage.json`, `checkpoints/`, `metrics.jsonl`, TensorBoard, `samples/`.

Of a run that reads texts also `vocabulary/`, how they become tokens.
"""

import json
import os
import subprocess
from collections.abc import Mapping
from importlib import metadata
from pathlib import Path
from types import MappingProxyType
from typing import Any

import jax
from ml_collections import ConfigDict

from genjax.core.files import write_json
from genjax.data import tokenizers
from genjax.data.tokenizers import TextTokenizer
from genjax.typing import DataSpec

CHANGEABLE = (
    "training.num_steps",
    "checkpoint.",
    "log.",
    "mesh.",
    "sampling.",
    "data.data_dir",
    "data.eval_split",
    "data.max_broken",
    "data.encoded",
    "data.num_workers",
    "data.read_threads",
    "data.tokenizer.file",
    "init_from",
    "stages.",
)
"""Fields that may differ when a run is resumed: they change how far and how it is shown, not what is trained. Upstream
stages may move to another folder; that they are the same is checked by their weights. So may a folder of images, and
what is in it is checked by its fingerprint (`genjax.data.identity`)."""

PIPELINE = "pipeline.json"
"""What `pipelines.chain` writes into the folder of a chain of runs: the names of its stages, in order."""

LIBRARIES = ("jax", "flax", "optax", "orbax-checkpoint", "numpy")


def flatten(config: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    """Nested settings as {"a.b.c": value}; lists and tuples compare equal."""
    flat = {}
    for name, value in config.items():
        if isinstance(value, dict):
            flat |= flatten(value, f"{prefix}{name}.")
        else:
            flat[prefix + name] = list(value) if isinstance(value, tuple) else value
    return flat


def read_pipeline(folder: Path) -> dict[str, Any]:
    """What `pipelines.chain` says of a chain's folder: "stages" and "sampling"; empty of any other folder."""
    path = folder / PIPELINE
    return json.loads(path.read_text()) if path.is_file() else {}


def locate(folder: Path) -> Path:
    """The workdir that a folder stands for: itself, or of a pipeline's folder that of its last stage."""
    pipeline = read_pipeline(folder)
    return folder / pipeline["stages"][-1] if pipeline else folder


def find(name: str, child: Path) -> Path:
    """The workdir that a config names, relative to the workdir `child` that the config is of, or to the current folder.

    Raises:
        ValueError: if there is none in either place.
    """
    for folder in (locate(Path(os.path.normpath(child / name))), locate(Path(name))):
        if name and (folder / "config.json").is_file():
            return folder
    raise ValueError(f"{name or repr(name)} is not a workdir of genjax: there is no config.json in it")


def read_stages(workdir: Path) -> dict[str, dict[str, Any]]:
    """The upstream stages that a run was trained on: name -> which checkpoint; none of a fresh workdir."""
    path = workdir / "stage.json"
    return json.loads(path.read_text()).get("stages", {}) if path.is_file() else {}


def read_config(workdir: Path) -> ConfigDict:
    """The config that a workdir was trained with.

    Raises:
        ValueError: if there is none.
    """
    path = workdir / "config.json"
    if not path.is_file():
        raise ValueError(f"{workdir} is not a workdir of genjax: it has no config.json; train one with launch/train.py")
    return ConfigDict(json.loads(path.read_text()))


def read_spec(workdir: Path) -> DataSpec | None:
    """What the data of a run is, as `claim` noted it; None of a fresh workdir."""
    path = workdir / "stage.json"
    noted = json.loads(path.read_text()).get("data") if path.is_file() else None
    if noted is None:
        return None
    return DataSpec(**{name: tuple(value) if isinstance(value, list) else value for name, value in noted.items()})


def data_settings(workdir: Path, config: ConfigDict) -> dict[str, Any]:
    """`config.data`, with the vocabulary that the workdir keeps, if it keeps one."""
    settings = config.data.to_dict()
    if settings.get("tokenizer") and (workdir / tokenizers.FOLDER).is_dir():
        settings["tokenizer"]["file"] = str(workdir / tokenizers.FOLDER)
    return settings


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
        if there.get(name) != here.get(name)
        and not name.startswith(CHANGEABLE)
        and not (name == "data.name" and _are_folders(there.get(name), here.get(name)))
    ]
    if differing:
        raise ValueError(f"{workdir} belongs to another config ({'; '.join(differing)}); choose another --workdir")


def _are_folders(*names: Any) -> bool:
    """Whether names of data are paths of folders, which may be one that was moved."""
    return all(str(name).startswith("folder:") for name in names)


def claim(
    workdir: Path,
    config: ConfigDict,
    interface: Any,
    stages: Mapping[str, Mapping[str, int]] = MappingProxyType({}),
    spec: DataSpec | None = None,
    tokenizer: TextTokenizer | None = None,
) -> None:
    """Write `config.json`, fully resolved, the vocabulary, and `stage.json`: family, interface, upstream stages, what
    the data is, versions and commit.

    To be called when everything that the config names has been made, so that a mistake doesn't claim the workdir.

    Args:
        workdir: the folder, made if need be.
        config: the run's.
        interface: of its family.
        stages: upstream stage -> which checkpoint of it the run is trained on.
        spec: what the data is, so that the run can be sampled where the data isn't.
        tokenizer: how its captions become tokens, for the same reason.
    """
    if jax.process_index() == 0:
        if tokenizer and not (workdir / tokenizers.FOLDER).is_dir():
            tokenizer.save(workdir / tokenizers.FOLDER)
        write_json(workdir / "config.json", json.loads(config.to_json()))
        write_json(
            workdir / "stage.json",
            {
                "family": config.family,
                "interface": type(interface).__name__,
                "stages": {name: dict(record) for name, record in stages.items()},
                "data": spec._asdict() if spec else None,
                "versions": {"genjax": metadata.version("genjax")}
                | {name: metadata.version(name) for name in LIBRARIES},
                "commit": _commit(),
            },
        )


def _commit() -> str | None:
    """The git commit of the checkout of genjax that this code is run from; None where it is none, but installed (in
    another project's checkout, it may be), or where git isn't."""
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
