"""Examples one by one: what `config.data` says of them, images, captions, what was encoded of both, chance.

The loader makes batches of them; its head says what the fields of `config.data` are.
"""

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any, NamedTuple, Protocol, runtime_checkable

import numpy as np

from genjax.core.arguments import ArgumentError, arg
from genjax.data import encoded, transforms
from genjax.data.broken import Skipping
from genjax.data.records import Source
from genjax.data.tokenizers import TextTokenizer

_CACHE_BYTES = 256 * 2**20


@runtime_checkable
class Settings(Protocol):
    """`config.data`: a dict, or a ConfigDict of ml_collections (which is no `Mapping`)."""

    def __contains__(self, field: str) -> bool: ...

    def __getitem__(self, field: str) -> Any: ...


class Fields(NamedTuple):
    """The fields of `config.data`; see the loader's head."""

    name: str
    image_size: int
    channels: int = 3
    split: str = "train"
    eval_split: str = "test"
    data_dir: str = ""
    crop: str = "center"
    flip: bool = False
    batch_size: int = 0
    num_workers: int = 0
    read_threads: int = 2
    tokenizer: Mapping[str, Any] = MappingProxyType({})
    encoded: str = ""
    keep_images: bool = False
    max_broken: float = 0.01


def read_fields(settings: Settings) -> Fields:
    """The fields of `config.data` that are known here, checked.

    Raises:
        ValueError: for a value that can't be, or a field that is missing.
    """
    missing = [field for field in ("name", "image_size") if field not in settings]
    if missing:
        raise ArgumentError(f"{arg('data')} lacks {missing}")
    read = Fields(**{field: settings[field] for field in Fields._fields if field in settings})
    if read.image_size < 1:
        raise ArgumentError(f"{arg('image_size')} must be at least 1 pixel, not {read.image_size}")
    if read.channels not in (1, 3):
        raise ArgumentError(f"{arg('channels')} must be 1 (grey) or 3 (RGB), not {read.channels}")
    if read.crop not in transforms.CROPS:
        raise ArgumentError(f"{arg('crop')} must be one of {transforms.CROPS}, not {read.crop!r}")
    if read.num_workers < 0:
        raise ArgumentError(f"{arg('num_workers')} must be 0 or more, not {read.num_workers}")
    if read.read_threads < 1:
        raise ArgumentError(f"{arg('read_threads')} must be 1 or more, not {read.read_threads}")
    if not 0 <= read.max_broken <= 1:
        raise ArgumentError(f"{arg('max_broken')} is a share, 0 to 1, not {read.max_broken}")
    return read


class Prepared:
    """Records after everything that isn't random: channels, and centre crop unless a random one follows.

    Small training data, if the whole of it fits into 256 MiB, is kept in memory once prepared: no image is
    decoded twice.
    """

    def __init__(self, source: Source, read: Fields, training: bool):
        self._records = Skipping(source.records, source.about.title, read.max_broken)
        self._spec = source.spec
        self._size, self._channels = read.image_size, read.channels
        self._crop = not (training and read.crop == "random")
        fits = len(source.records) * read.image_size**2 * read.channels <= _CACHE_BYTES
        self._cache: dict[int, tuple[int, dict[str, Any]]] | None = {} if training and fits and self._crop else None

    def __len__(self) -> int:
        return len(self._records)

    def __getitem__(self, index: int) -> dict[str, Any]:
        return self.fetch(index)[1]

    def fetch(self, index: int) -> tuple[int, dict[str, Any]]:
        """An example and its number: another one's, which stands in for it, where its image is broken.

        Raises:
            ValueError: if more images are broken than `config.data.max_broken` allows.
        """
        if self._cache is not None and index in self._cache:
            return self._cache[index]
        place, record = self._records.fetch(index)
        pixels = transforms.to_channels(record["image"], self._channels)
        if self._crop:
            pixels = transforms.center_crop(pixels, self._size)
        prepared = {"image": pixels} | {key: record[key] for key in ("label", "text") if key in record}
        if self._cache is not None:
            self._cache[index] = place, prepared
        return place, prepared

    def __getstate__(self) -> dict[str, Any]:
        """A worker process starts with an empty cache."""
        return self.__dict__ | {"_cache": None if self._cache is None else {}}

    def blank(self) -> dict[str, Any]:
        """An example that stands for nothing."""
        blank: dict[str, Any] = {"image": np.zeros((self._size, self._size, self._channels), np.uint8)}
        if self._spec.num_classes:
            blank["label"] = 0
        if self._spec.has_text:
            blank["text"] = ""
        return blank


class Beside:
    """Images, and beside them what was encoded of the same examples."""

    def __init__(self, images: Prepared, records: encoded.Records, read: Fields):
        if len(images) != len(records):
            raise ArgumentError(
                f"{arg('encoded')}={read.encoded} holds {len(records)} examples, and {read.name!r} has "
                f"{len(images)}; run genjax-encode again"
            )
        self._images, self._records, self._read = images, records, read

    def __len__(self) -> int:
        return len(self._images)

    def __getitem__(self, index: int) -> dict[str, Any]:
        index, image = self._images.fetch(index)
        record = self._records[index]
        if not set(_all_captions(record)) <= set(_all_captions(image)):
            raise ArgumentError(
                f"{arg('encoded')}={self._read.encoded} holds other captions than {self._read.name!r}: "
                f"example {index} has {image.get('text')!r}, not {record['text']!r}"
            )
        return image | record

    def blank(self) -> dict[str, Any]:
        """An example that stands for nothing."""
        return self._images.blank() | self._records.blank()


def _all_captions(record: Mapping[str, Any]) -> tuple[str, ...]:
    captions = record.get("text", ())
    return captions if isinstance(captions, tuple) else (captions,)


Examples = Prepared | encoded.Records | Beside
"""Random access to the examples of a split, and `blank()`, one that stands for nothing."""


def check_encoded(read: Fields, manifest: encoded.Manifest, training: bool) -> None:
    """Refuse encoded data that doesn't go with the other settings.

    Raises:
        ValueError: for random tokens or images where those that were encoded aren't, or captions that are missing.
    """
    if manifest.of_texts and read.tokenizer.get("dropout"):
        raise ArgumentError(
            f"{arg('tokenizer')}.dropout={read.tokenizer['dropout']} gives other tokens than those that "
            f"{arg('encoded')} was made of; set one of the two to nothing"
        )
    if manifest.has_codes and not read.keep_images:
        if read.tokenizer and not manifest.texts:
            raise ArgumentError(
                f"{arg('encoded')}={read.encoded} was written without captions; run genjax-encode again"
            )
    elif training and manifest.of_images and (read.flip or read.crop == "random"):
        raise ArgumentError(
            f"{arg('encoded')}={read.encoded} was made of images without flips and random crops; set "
            f"{arg('flip')}=False and crop='center'"
        )


class Augment:
    """What is random in an example: crop, flip, which of several captions, and how it falls into tokens."""

    def __init__(self, read: Fields, tokenizer: TextTokenizer | None):
        self._size, self._crop, self._flip = read.image_size, read.crop == "random", read.flip
        self._tokenizer = tokenizer

    def __call__(self, record: dict[str, Any], rng: np.random.Generator) -> dict[str, Any]:
        """The example with its captions as tokens."""
        augmented = dict(record)
        if "image" in record and self._crop:
            augmented["image"] = transforms.random_crop(augmented["image"], self._size, rng)
        if "image" in record and self._flip:
            augmented["image"] = transforms.random_flip(augmented["image"], rng)
        captions = record.get("text")
        if isinstance(captions, tuple):
            augmented["text"] = captions[rng.integers(len(captions))] if captions else ""
        return with_tokens(augmented, self._tokenizer, rng)


def with_tokens(
    record: dict[str, Any], tokenizer: TextTokenizer | None, rng: np.random.Generator | None = None
) -> dict[str, Any]:
    """A record with the tokens of its caption, if there is a tokenizer."""
    return record | {"tokens": tokenizer.encode(record["text"], rng)} if tokenizer else record


def first_caption(record: dict[str, Any]) -> dict[str, Any]:
    """A record with the first of its captions."""
    captions = record.get("text")
    return record | {"text": captions[0] if captions else ""} if isinstance(captions, tuple) else record


def stack(records: list[dict[str, Any]]) -> dict[str, np.ndarray]:
    """Examples as arrays: uint8 images, int32 labels, tokens and codes, float32 embeddings, captions as str objects."""
    dtypes = {"image": np.uint8, "text": object}
    stacked = {}
    for name, first in records[0].items():
        dtype = dtypes.get(name) or (np.float32 if np.asarray(first).dtype.kind == "f" else np.int32)
        stacked[name] = np.stack([np.asarray(record[name], dtype) for record in records])
    return stacked


def collate(records: list[dict[str, Any]]) -> dict[str, np.ndarray]:
    """Examples as a batch: as `stack`, with images as float32 in [-1, 1]."""
    arrays = stack(records)
    return arrays | ({"image": transforms.to_float(arrays["image"])} if "image" in arrays else {})
