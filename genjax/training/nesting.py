"""How the runs of a chain lie in its folder, and which of them sample together: `pipeline.json`."""

from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType
from typing import NamedTuple

from genjax.core.files import read_json, write_json
from genjax.training import noted, places

PIPELINE = "pipeline.json"
"""What `pipelines.chain` writes into the folder of a chain."""


class Nesting(NamedTuple):
    """What a folder holds: a chain of runs, as its `pipeline.json` says, or one run.

    Attributes:
        folder: of the chain, or of the run.
        stages: names of the chain's runs, in the order of training; none of a run.
        sampling: how it is sampled, see `genjax.pipelines.chain`; "" of a run.
        members: of runs that sample together, role -> name, in the order in which they sample; else none.
    """

    folder: Path
    stages: tuple[str, ...] = ()
    sampling: str = ""
    members: Mapping[str, str] = MappingProxyType({})

    @property
    def workdir(self) -> Path:
        """The workdir that the folder stands for: itself, or that of the chain's last run."""
        return places.member(self.folder, self.stages[-1]) if self.stages else self.folder

    @property
    def workdirs(self) -> dict[str, Path]:
        """The workdirs of its members, by role."""
        return {role: places.member(self.folder, name) for role, name in self.members.items()}


def read(folder: Path) -> Nesting:
    """What a folder holds.

    Raises:
        ValueError: for a `pipeline.json` that names no stages, or members that are none of them.
    """
    path = folder / PIPELINE
    if not path.is_file():
        return Nesting(folder)
    content = read_json(path)
    names, members = content.get("stages"), content.get("members", {})
    if not noted.is_chain(names):
        raise ValueError(f"{path} names no stages: run genjax-pipeline again")
    if not isinstance(members, dict) or not set(map(str, members.values())) <= set(names):
        raise ValueError(f"{path} names members that are no stages: run genjax-pipeline again")
    return Nesting(folder, tuple(names), content.get("sampling", ""), members)


def write(nesting: Nesting) -> None:
    """Write the `pipeline.json` of a chain."""
    content = {"stages": list(nesting.stages), "sampling": nesting.sampling, "members": dict(nesting.members)}
    write_json(nesting.folder / PIPELINE, content)


def locate(folder: Path) -> Path:
    """The workdir that a folder stands for: itself, or of a chain's folder that of its last run."""
    return read(folder).workdir
