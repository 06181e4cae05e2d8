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

import numpy as np

Layer = dict[str, np.ndarray]


class StateDict:
    """A state dict that knows which of its entries were read, so that none is forgotten."""

    def __init__(self, arrays: Mapping[str, np.ndarray]):
        self._arrays = arrays
        self._unread = set(arrays)

    def __contains__(self, name: str) -> bool:
        return name in self._arrays

    def read(self, name: str) -> np.ndarray:
        """One entry as it is.

        Raises:
            ValueError: if there is none of that name.
        """
        if name not in self._arrays:
            near = [other for other in self._arrays if other.split(".")[0] == name.split(".")[0]][:3]
            raise ValueError(
                f"the checkpoint has no {name!r} (it has, for example, {near or list(self._arrays)[:3]}); "
                "the settings given are not those that it was trained with"
            )
        self._unread.discard(name)
        return np.asarray(self._arrays[name])

    def unread(self) -> list[str]:
        """The entries that weren't read yet, in the order of their names."""
        return sorted(self._unread)

    def dense(self, prefix: str) -> Layer:
        """A linear layer, or a convolution of kernel size 1."""
        weight = self.read(f"{prefix}.weight")
        return self._with_bias(prefix, kernel=weight.reshape(weight.shape[:2]).T)

    def conv(self, prefix: str) -> Layer:
        """A convolution over images."""
        return self._with_bias(prefix, kernel=self.read(f"{prefix}.weight").transpose(2, 3, 1, 0))

    def norm(self, prefix: str) -> Layer:
        """A group or layer norm."""
        return self._with_bias(prefix, scale=self.read(f"{prefix}.weight"))

    def embedding(self, prefix: str) -> Layer:
        """A table of vectors."""
        return {"embedding": self.read(f"{prefix}.weight")}

    def finish(self) -> None:
        """Check that everything was read.

        Raises:
            ValueError: naming what was not.
        """
        if self._unread:
            raise ValueError(
                f"{len(self._unread)} entries of the checkpoint have no place in the network, such as "
                f"{sorted(self._unread)[:3]}; the settings given are not those that it was trained with"
            )

    def _with_bias(self, prefix: str, **layer: np.ndarray) -> Layer:
        return {**layer, "bias": self.read(f"{prefix}.bias")} if f"{prefix}.bias" in self else layer
