"""Reading of PyTorch state dicts: names with dots, layers laid out the other way round.

| layer | PyTorch | Flax |
|---|---|---|
| linear | weight [out, in] | kernel [in, out] |
| convolution | weight [out, in, h, w] | kernel [h, w, in, out] |
| 1x1 convolution | weight [out, in, 1] or [out, in, 1, 1] | a dense layer's kernel [in, out] |
| norm | weight, bias | scale, bias |
| embedding | weight [n, d] | embedding [n, d] |

A state dict is read as a mapping from names to numpy arrays, whatever file it came from: no torch in here.
"""

from collections.abc import Mapping
from typing import Any

import numpy as np

from genjax.core import tree as tree_lib


class MismatchError(ValueError):
    """A state dict of another network.

    Attributes:
        missing: names that the network needs and the state dict hasn't.
        unknown: names of the state dict that the network has no place for.
        params: what was read all the same; entries that are missing are no arrays.
    """

    def __init__(self, missing: list[str], unknown: list[str], params: Any):
        counts = tree_lib.summary({"missing": missing, "unknown": unknown})
        super().__init__(f"the checkpoint is of another network than the settings describe: {counts}")
        self.missing, self.unknown, self.params = missing, unknown, params


class _Absent:
    """What stands for a missing entry, so that reading goes on and all that is missing is found: any operation on it
    gives it back.
    """

    shape, size, ndim = (1, 1, 1, 1), 1, 4

    def __getattr__(self, name: str):
        if name.startswith("__"):
            raise AttributeError(name)
        return self

    def __call__(self, *arguments: Any, **settings: Any):
        return self

    def __getitem__(self, place: Any):
        return self

    def __array_function__(self, *arguments: Any):
        return self


Layer = dict[str, np.ndarray | _Absent]
"""Parameters of a layer by our names."""


class StateDict:
    """A state dict that knows which of its entries were read, so that none is forgotten, and which were missing."""

    def __init__(self, arrays: Mapping[str, np.ndarray]):
        self._arrays = arrays
        self._unread = set(arrays)
        self._missing: dict[str, None] = {}

    def __contains__(self, name: str) -> bool:
        return name in self._arrays

    def read(self, name: str) -> Any:
        """One entry as it is; of a missing one something that stands for it until `finish`."""
        if name not in self._arrays:
            self._missing[name] = None
            return _Absent()
        self._unread.discard(name)
        return np.asarray(self._arrays[name])

    def unread(self) -> list[str]:
        """The entries that weren't read yet, in the order of their names."""
        return sorted(self._unread)

    def dense(self, prefix: str) -> Layer:
        """A linear layer, or a convolution of kernel size 1."""
        weight = self._read_rank(f"{prefix}.weight", 2, squeezed=True)
        return self._with_bias(prefix, kernel=weight.reshape(weight.shape[:2]).T)

    def conv(self, prefix: str) -> Layer:
        """A convolution over images."""
        return self._with_bias(prefix, kernel=self._read_rank(f"{prefix}.weight", 4).transpose(2, 3, 1, 0))

    def norm(self, prefix: str) -> Layer:
        """A group or layer norm."""
        return self._with_bias(prefix, scale=self.read(f"{prefix}.weight"))

    def embedding(self, prefix: str) -> Layer:
        """A table of vectors."""
        return {"embedding": self.read(f"{prefix}.weight")}

    def finish(self, params: Any = None) -> Any:
        """`params`, what was made of the entries, if none was missing and none is left over.

        Raises:
            MismatchError: naming how many were, and some of them.
        """
        if self._missing or self._unread:
            raise MismatchError(list(self._missing), self.unread(), params)
        return params

    def _read_rank(self, name: str, rank: int, squeezed: bool = False) -> Any:
        """An entry of a kind of layer that has so many axes, or with `squeezed` more of size 1.

        Raises:
            ValueError: if it has others: it is of another kind of layer.
        """
        array = self.read(name)
        if isinstance(array, np.ndarray) and (
            array.ndim < rank or any(size != 1 for size in array.shape[rank:]) or (array.ndim > rank and not squeezed)
        ):
            kind = "a linear layer" if squeezed else "a convolution"
            raise ValueError(
                f"the checkpoint is of another network than the settings describe: its {name} {list(array.shape)} "
                f"should be the weight of {kind}"
            )
        return array

    def _with_bias(self, prefix: str, **layer: np.ndarray | _Absent) -> Layer:
        """The layer with its bias, if it has one; of a missing layer nobody knows, and the weight alone is counted."""
        if f"{prefix}.bias" in self:
            return {**layer, "bias": self.read(f"{prefix}.bias")}
        return {**layer, "bias": _Absent()} if f"{prefix}.weight" in self._missing else layer
