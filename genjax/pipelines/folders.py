"""What lies in a folder, whatever it is: a run, or a chain, sampled as its last run, as a cascade or as a DALL-E 2."""

from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any

from jax.sharding import Mesh

from genjax import stages
from genjax.core import paths
from genjax.pipelines import cascade, dalle2
from genjax.pipelines.trained import Chain, Trained
from genjax.training import nesting as nesting_lib
from genjax.training.nesting import Nesting

KINDS: Mapping[str, Any] = {cascade.KIND: cascade, dalle2.KIND: dalle2}
"""`config.sampling` of chains that are more than their last run -> the module that loads these."""


def read(folder: str | Path) -> Nesting:
    """What a folder holds, and where its runs lie.

    Raises:
        ValueError: as `nesting.read`.
    """
    return nesting_lib.read(paths.local(folder))


def load(
    folder: str | Path | Nesting, mesh: Mesh | None = None, sampling: Mapping[str, Any] = MappingProxyType({})
) -> Trained:
    """The run or the chain in a folder.

    Args:
        folder: a workdir, or the folder of a chain (`genjax-pipeline`); or what `read` has found there.
        mesh: where the weights go; by default all devices, replicated.
        sampling: overrides of `config.sampling`.

    Raises:
        ValueError: if it is neither, or not finished.
    """
    nesting = folder if isinstance(folder, Nesting) else read(folder)
    if nesting.sampling in KINDS:
        return KINDS[nesting.sampling].load(nesting, mesh, sampling)
    return stages.load(nesting.workdir, mesh, sampling)


def with_sampling(trained: Trained, sampling: Mapping[str, Any]) -> Trained:
    """What `load` gave, sampled in another way; weights stay where they are, and nothing is read.

    Args:
        trained: a run or a chain.
        sampling: overrides of `config.sampling`.

    Raises:
        ValueError: for settings that it refuses.
    """
    if isinstance(trained, Chain):
        return KINDS[trained.config.family].with_sampling(trained, sampling)
    return stages.with_sampling(trained, sampling)
