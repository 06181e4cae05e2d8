"""What every source of data gives: records by number, and what is known of all of them."""

from collections.abc import Sequence
from typing import Any, NamedTuple, Protocol

from genjax.typing import DataSpec

Record = dict[str, Any]


class DatasetNotFound(FileNotFoundError, ValueError):
    """A dataset, or a folder of pictures, that isn't there. The message says what to do."""


class Records(Protocol):
    """Random access to examples, each a dict.

    `image` is uint8 [h, w, c] with c = 1 or 3. Where the data has them, `label` is an int and `text` a str,
    or a tuple of str for several captions of one picture. What else there is comes as TFDS gives it.
    """

    def __len__(self) -> int: ...

    def __getitem__(self, index: int) -> Record: ...

    def captions(self, indices: Sequence[int]) -> list[tuple[str, ...]]:
        """The captions of examples, without decoding their pictures; none where the data has no texts."""


class Source(NamedTuple):
    """Examples and what is known of them.

    Attributes:
        records: random access to examples.
        spec: shapes and classes; `image_shape` is (0, 0, 0) where pictures vary in size, and `num_examples`
            counts these records.
    """

    records: Records
    spec: DataSpec
