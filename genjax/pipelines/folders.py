"""A folder as one stage, whatever lies there: a run, or a chain, sampled as its last, as a cascade or as a DALL-E 2."""

from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any

from jax.sharding import Mesh

from genjax import stages
from genjax.core import paths
from genjax.pipelines import cascade, dalle2
from genjax.stages import Stage
from genjax.training import workdir

KINDS = {cascade.KIND: cascade, dalle2.KIND: dalle2}
"""`config.sampling` of chains that are more than their last stage -> what loads these."""


def load(folder: str | Path, mesh: Mesh | None = None, sampling: Mapping[str, Any] = MappingProxyType({})) -> Stage:
    """The stage in a folder.

    Args:
        folder: a workdir, or the folder of a chain (`genjax-pipeline`).
        mesh: where the weights go; by default all devices, replicated.
        sampling: overrides of `config.sampling`.

    Raises:
        ValueError: if it is neither, or not finished.
    """
    folder = paths.local(folder)
    kind = workdir.read_pipeline(folder).get("sampling", "")
    return KINDS.get(kind, stages).load(folder, mesh, sampling)


def with_sampling(stage: Stage, sampling: Mapping[str, Any]) -> Stage:
    """What `load` gave, sampled in another way; weights stay where they are, and nothing is read.

    Args:
        stage: a run, or a chain as one stage.
        sampling: overrides of `config.sampling`.

    Raises:
        ValueError: for settings that it refuses.
    """
    return KINDS.get(stage.config.family, stages).with_sampling(stage, sampling)
