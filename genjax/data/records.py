"""What every source of data gives: records by number, and what is known of all of them."""

from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Any, NamedTuple, Protocol, runtime_checkable

from genjax.core.arguments import ArgumentError
from genjax.typing import DataSpec

Record = dict[str, Any]


class DatasetNotFound(ArgumentError, FileNotFoundError):
    """A dataset, or a folder of images, that isn't there. The message says what to do."""


class SplitNotFound(ArgumentError):
    """A split that a dataset doesn't have. The message names those that it has; so do `splits`."""

    def __init__(self, message: str, splits: Sequence[str] = ()):
        super().__init__(message)
        self.splits = tuple(splits)


@runtime_checkable
class Records(Protocol):
    """Random access to examples, each a dict.

    `image` is uint8 [h, w, c] with c = 1 or 3. Where the data has them, `label` is an int and `text` a str,
    or a tuple of str for several captions of one image. What else there is comes as TFDS gives it.
    """

    def __len__(self) -> int: ...

    def __getitem__(self, index: int) -> Record: ...

    def captions(self, indices: Sequence[int]) -> list[tuple[str, ...]]:
        """The captions of examples, without decoding their images; none where the data has no texts."""


class About(NamedTuple):
    """What a person should know of data before a run.

    Attributes:
        title: how it is called in messages.
        splits: name -> number of examples.
        files: how many images there were, skipped ones too; 0 where that isn't known.
        skipped: how many of them can't be used.
        unlabelled: how many of those have no label, where others have one.
        uncaptioned: how many of the images that can be used have no caption, where others have one.
        sizes: (width, height) of each image, or one for all; empty where they aren't known.
    """

    title: str
    splits: Mapping[str, int] = MappingProxyType({})
    files: int = 0
    skipped: int = 0
    unlabelled: int = 0
    uncaptioned: int = 0
    sizes: tuple[tuple[int, int], ...] = ()


class Source(NamedTuple):
    """Examples and what is known of them.

    Attributes:
        records: random access to examples.
        spec: shapes and classes; `image_shape` is (0, 0, 0) where images vary in size, and `num_examples`
            counts these records.
        about: what to say of the whole.
    """

    records: Records
    spec: DataSpec
    about: About
