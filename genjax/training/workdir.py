"""A workdir says everything: `config.json`, `stage.json`, `checkpoints/`, `metrics.jsonl`, TensorBoard, `samples/`.

Of a run that reads texts also `vocabulary/`, how they become tokens.
"""

import fnmatch
import json
import shutil
from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any, NamedTuple

import jax
from ml_collections import ConfigDict

import genjax
from genjax.core.files import read_json, write_json
from genjax.data import identity, tokenizers
from genjax.data.tokenizers import TextTokenizer
from genjax.training import checkpoint, nesting, noted, optim, places, versions
from genjax.typing import DataSpec

CHANGEABLE = (
    "training.num_steps",
    "training.on_nonfinite",
    "training.max_nonfinite",
    "training.attention",
    "optimizer.*.learning_rate",
    "optimizer.*.clip_norm",
    "optimizer.*.decay_steps",
    "checkpoint.*",
    "log.*",
    "mesh.*",
    "sampling.*",
    "data.data_dir",
    "data.eval_split",
    "data.max_broken",
    "data.encoded",
    "data.num_workers",
    "data.read_threads",
    "data.tokenizer.file",
    "init_from",
    "stages.*",
)
"""Fields that may differ when a run is resumed: they change how far and how it is shown, not what is trained; and what
is to be changed when a run has ended badly. Upstream
stages may move to another folder; that they are the same is checked by their weights. So may a folder of images, and
what is in it is checked by its fingerprint (`genjax.data.identity`)."""

FORMAT = 1
"""The number of the format of a workdir. It goes up by one whenever workdirs that exist can no longer be read: a field
of the config, an interface or a parameter has another name."""


def flatten(config: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    """Nested settings as {"a.b.c": value}; lists and tuples compare equal."""
    flat: dict[str, Any] = {}
    for name, value in config.items():
        if isinstance(value, dict):
            flat |= flatten(value, f"{prefix}{name}.")
        else:
            flat[prefix + name] = list(value) if isinstance(value, tuple) else value
    return flat


PARTS = ("data", "model", "sampling", "optimizer", "training")
"""What the config of every run has."""


def find(name: str, child: Path) -> Path:
    """The workdir that a config names, relative to the workdir `child` that the config is of, or to the current folder.

    Raises:
        ValueError: if there is none in either place.
    """
    for folder in map(nesting.locate, places.candidates(name, child)):
        if (folder / "config.json").is_file():
            return folder
    raise ValueError(f"{name or repr(name)} is not a workdir of genjax: there is no config.json in it")


class Notes(NamedTuple):
    """What a workdir says of its run; nothing of a fresh one.

    Attributes:
        folder: the workdir.
        settings: what `config.json` says.
        stage: what `stage.json` says, see `claim`.
    """

    folder: Path
    settings: dict[str, Any] | None = None
    stage: Mapping[str, Any] = MappingProxyType({})

    @property
    def stages(self) -> dict[str, dict[str, Any]]:
        """The upstream stages that a run was trained on: name -> which checkpoint."""
        return noted.upstream(self.folder / "stage.json", self.stage.get("stages", {}))

    @property
    def spec(self) -> DataSpec | None:
        """What the data of a run is."""
        return noted.data_spec(self.folder / "stage.json", self.stage.get("data"))

    @property
    def config(self) -> ConfigDict:
        """The config that a workdir was trained with.

        Raises:
            ValueError: if there is none, or another program's.
        """
        path, content = self.folder / "config.json", self.settings
        if content is None:
            inside = sorted(inner.parent.name for inner in self.folder.glob("*/config.json"))[:5]
            way = f"name one of those in it ({', '.join(inside)})" if inside else "train one with genjax-train"
            raise ValueError(f"{self.folder} is not a workdir of genjax: it has no config.json; {way}")
        if not isinstance(content.get("family"), str) or not all(isinstance(content.get(part), dict) for part in PARTS):
            raise ValueError(
                f"{path} is not the config of a run of genjax: it lacks family or one of {', '.join(PARTS)}"
            )
        config = ConfigDict(content)
        if config.data.get("encoded"):
            config.data.encoded = _find_codes(self.folder, config.data.encoded)
        return config


def read(workdir: Path) -> Notes:
    """What the files of a workdir say, each read once.

    Raises:
        ValueError: for a file that is cut or altered, or a workdir of another format.
    """
    stage, path = _read_stage(workdir), workdir / "config.json"
    return Notes(workdir, read_json(path) if path.is_file() else None, stage)


def read_config(workdir: Path) -> ConfigDict:
    """The config that a workdir was trained with; raises as `read` and `Notes.config`."""
    return read(workdir).config


def _read_stage(workdir: Path) -> dict[str, Any]:
    """What `stage.json` says, see `claim`; nothing of a fresh workdir.

    Raises:
        ValueError: if the workdir is of another format than this version's; names the version that reads it.
    """
    path = workdir / "stage.json"
    if not path.is_file():
        return {}
    content = read_json(path)
    found = content.get("format")
    if type(found) is not int or found != FORMAT:
        written, commit = content.get("versions"), content.get("commit")
        version = written.get("genjax") if isinstance(written, dict) else None
        named = f"genjax {version}{f' (commit {commit})' if commit else ''}" if version else ""
        raise ValueError(
            f"{workdir} is of format {'none' if found is None else found}, and genjax {genjax.__version__} reads "
            f"format {FORMAT}: use {named or 'the version that wrote it, which it does not name'}, or train anew in "
            "another folder"
        )
    return content


def _find_codes(workdir: Path, encoded: str) -> str:
    """The folder of codes that a run names; the name itself where there is none."""
    found = [path for path in places.candidates(encoded, workdir) if path.is_dir()]
    return str(found[0]) if found else encoded


def data_settings(workdir: Path, config: ConfigDict) -> dict[str, Any]:
    """`config.data`, with the vocabulary that the workdir keeps, if it keeps one."""
    settings = config.data.to_dict()
    if settings.get("encoded"):
        settings["encoded"] = _find_codes(workdir, settings["encoded"])
    if settings.get("tokenizer") and (workdir / tokenizers.FOLDER).is_dir():
        settings["tokenizer"]["file"] = str(workdir / tokenizers.FOLDER)
    return settings


def check_config(notes: Notes, config: ConfigDict) -> None:
    """Nothing, if the workdir is fresh or was trained with this config so far.

    Raises:
        ValueError: if a field that matters differs; names each with both values.
    """
    if notes.settings is None:
        return
    there, here = flatten(notes.settings), flatten(json.loads(config.to_json()))
    differing = [
        f"{name}: {there.get(name, 'absent')} there, {here.get(name, 'absent')} here"
        for name in sorted(there.keys() | here.keys())
        if there.get(name) != here.get(name)
        and not any(fnmatch.fnmatch(name, pattern) for pattern in CHANGEABLE)
        and not (name == "data.name" and _are_folders(there.get(name), here.get(name)))
    ]
    if differing:
        raise ValueError(f"{notes.folder} belongs to another config ({'; '.join(differing)}); choose another --workdir")


def check_resumed(notes: Notes, config: ConfigDict, step: int) -> None:
    """Nothing, if the run in the workdir may go on to `config.training.num_steps` from the checkpoint of `step`.

    Raises:
        ValueError: if it is past its end, or as `optim.check_decays`.
    """
    last = config.training.num_steps
    if step > last:
        raise ValueError(
            f"config.training.num_steps={last}, but the run in {notes.folder} is at step {step} already: set it to "
            f"more than {step} to go on. Nothing was changed"
        )
    if notes.settings is not None:
        optim.check_decays(notes.settings, json.loads(config.to_json()), step)


def check_data(notes: Notes, found: DataSpec, accept_changed: bool = False) -> None:
    """Nothing, if the workdir is fresh or was trained on this data so far.

    Args:
        notes: of the workdir.
        found: what the data is now.
        accept_changed: whether images and captions may be others, as long as shape, classes and tokens are the same.

    Raises:
        ValueError: naming the first difference.
    """
    before = notes.spec
    if before is None:
        return
    if difference := identity.compare(before, found, contents=False):
        raise ValueError(f"the data is not what {notes.folder} was trained on: {difference}; choose another --workdir")
    if (difference := identity.compare(before, found)) and not accept_changed:
        raise ValueError(
            f"the data is not what {notes.folder} was trained on: {difference}. "
            "Train on with it by --accept_changed_data, or choose another --workdir"
        )


def _are_folders(*names: Any) -> bool:
    """Whether names of data are paths of folders, which may be one that was moved."""
    return all(str(name).startswith("folder:") for name in names)


def clean(workdir: Path) -> None:
    """Remove what a killed run left half written: for the run that holds the workdir, before it writes itself."""
    if jax.process_index() == 0:
        for path in (workdir / "checkpoints").glob(checkpoint.TEMPORARY):
            shutil.rmtree(path, ignore_errors=True)
        for path in (*workdir.glob("*.part"), *workdir.glob("*/*.part")):
            path.unlink(missing_ok=True)


def claim(
    workdir: Path,
    config: ConfigDict,
    interface: Any,
    stages: Mapping[str, Mapping[str, int]] = MappingProxyType({}),
    spec: DataSpec | None = None,
    tokenizer: TextTokenizer | None = None,
) -> None:
    """Write `config.json`, fully resolved, the vocabulary, and `stage.json`: format, family, interface, upstream
    stages, what the data is, versions and commit.

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
        write_json(workdir / "config.json", _with_places(workdir, json.loads(config.to_json())))
        write_json(
            workdir / "stage.json",
            {
                "format": FORMAT,
                "family": config.family,
                "interface": type(interface).__name__,
                "stages": {name: dict(record) for name, record in stages.items()},
                "data": spec._asdict() if spec else None,
                "versions": versions.found(),
                "commit": versions.commit(),
            },
        )


def _with_places(workdir: Path, config: dict[str, Any]) -> dict[str, Any]:
    """The config with the folders of upstream stages and codes as the workdir finds them again when it is moved."""
    for settings in config.get("stages", {}).values():
        if settings.get("workdir"):
            settings["workdir"] = places.note(find(settings["workdir"], workdir), workdir)
    encoded = config.get("data", {}).get("encoded")
    if encoded:
        found = Path(_find_codes(workdir, encoded))
        config["data"]["encoded"] = places.note(found, workdir) if found.is_dir() else encoded
    return config
