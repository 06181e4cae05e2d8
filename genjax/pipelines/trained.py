"""What has been trained, as all see it that sample and measure: a run, or a chain of runs that sample together.

Both have an `interface`, `weights`, `evaluate`, `reconstruct`, a `config`, and the `spec`, `step` and `tokenizer` of
their data. How the members of a chain sample is in `genjax.pipelines.cascade` and `genjax.pipelines.dalle2`; which run
has which role stands in the chain's `pipeline.json`.
"""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from ml_collections import ConfigDict

from genjax.core import paths
from genjax.data.tokenizers import TextTokenizer
from genjax.families.interfaces import Interface, Weights
from genjax.stages import Stage
from genjax.training import nesting as nesting_lib
from genjax.training.nesting import Nesting
from genjax.typing import Batch, DataSpec, Key, PerExample


class Chain(NamedTuple):
    """Runs that sample together, one on what another has drawn. Data, metrics and batches are the last one's.

    Attributes:
        members: the runs by role, in the order in which they sample.
        interface: an `ImageSampler`, whose `sample` takes the weights of each member by role, in `weights.frozen`.
        config: the last member's, with the way to sample for its family, and the whole's options in its sampling.
    """

    members: Mapping[str, Stage]
    interface: Interface
    config: ConfigDict

    @property
    def last(self) -> Stage:
        """The member that draws what the chain draws."""
        return list(self.members.values())[-1]

    @property
    def weights(self) -> Weights:
        """Those of each member by role, in `frozen`."""
        return Weights({}, (), {role: member.weights for role, member in self.members.items()})

    @property
    def tokenizer(self) -> TextTokenizer | None:
        """How texts become tokens, the same for all members that read any; None where none does."""
        return next((one.tokenizer for one in self.members.values() if one.interface.text_length), None)

    @property
    def spec(self) -> DataSpec:
        """The last member's."""
        return self.last.spec

    @property
    def step(self) -> int:
        """The last member's."""
        return self.last.step

    @property
    def reconstruct(self) -> None:
        """None: a chain encodes no images."""

    def evaluate(self, weights: Weights, batch: Batch, key: Key) -> Mapping[str, PerExample]:
        """The last member's metrics of held-out images."""
        return self.last.evaluate(weights.frozen[list(self.members)[-1]], batch, key)


Trained = Stage | Chain
"""What sampling and evaluation are given: of it they use what a run and a chain both have."""

Roles = Callable[[Sequence[str]], dict[str, str]]
"""(names of runs, in the order in which they sample) -> role -> name."""


def find(folder: str | Path | Nesting | Sequence[str | Path], kind: str, roles: Roles) -> dict[str, Path]:
    """The workdirs of the members of a chain, by role.

    Args:
        folder: of the chain; or what its `pipeline.json` says; or the workdirs, in the order in which they sample.
        kind: how the chain has to be sampled.
        roles: those of the workdirs, by their names.

    Raises:
        ValueError: for a folder that isn't of such a chain, or workdirs of one name.
    """
    nesting = nesting_lib.read(paths.local(folder)) if isinstance(folder, (str, Path)) else folder
    if isinstance(nesting, Nesting):
        if nesting.sampling != kind:
            raise ValueError(f"{nesting.folder} is not the folder of a {kind}; train one with genjax-pipeline")
        if not nesting.members:
            raise ValueError(f"{nesting.folder / nesting_lib.PIPELINE} names no members: run genjax-pipeline again")
        return nesting.workdirs
    workdirs = {Path(one).name: Path(one) for one in nesting}
    if not workdirs or len(workdirs) < len(nesting):
        raise ValueError(f"the workdirs of a {kind} need names of their own, not {[str(one) for one in nesting]}")
    return {role: workdirs[name] for role, name in roles(list(workdirs)).items()}
