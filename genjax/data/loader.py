"""Batches: shuffled and endless for training, in order and once for evaluation, whole for small data.

The training stream is one global sequence, made by grain from the seed alone: examples are shuffled anew for
each epoch, repeated without end, cut into groups of B / P, and process p of P takes every P-th group from the
p-th on. The B / P groups of all processes, laid side by side in the order of the processes, are the batch
that one process alone would have drawn: results don't depend on how many processes share the work. A batch
may straddle two epochs.

An iterator's state is the number of batches drawn, `{"next_index": n}`: every batch is a function of
(settings, seed, n), so a restored iterator goes on exactly, in a fresh process, with another number of
processes or of workers.

`settings` is `config.data`, a mapping; the fields read here, with their defaults:

    name, split="train", eval_split="test", data_dir=""
    image_size, channels=3     pictures are cropped to a square and resized to image_size, made grey or RGB
    crop="center"              or "random": see `genjax.data.transforms`
    flip=False                 mirror half of the training pictures; wrong for digits, and for captions with left/right
    batch_size                 the global batch of all processes
    num_workers=0              worker processes that read ahead; 0 reads in threads of this process
    tokenizer={}               how captions become tokens, see `genjax.data.tokenizers`; empty: they don't
    encoded=""                 a folder of `genjax.data.encoded`: its arrays instead of the pictures
"""

import functools
import json
import os
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from types import MappingProxyType
from typing import Any, NamedTuple, Protocol, runtime_checkable

import grain
import numpy as np
from absl import flags

from genjax.data import encoded, sources, tokenizers, transforms
from genjax.data.tokenizers import TextTokenizer
from genjax.typing import Batch, DataSpec

_CACHE_BYTES = 256 * 2**20
# Examples until a run would end: grain's own endless repetition overflows with batches of one.
_ENDLESS = 2**52


@runtime_checkable
class Settings(Protocol):
    """`config.data`: a dict, or a ConfigDict of ml_collections (which is no `Mapping`)."""

    def __contains__(self, field: str) -> bool: ...

    def __getitem__(self, field: str) -> Any: ...


class _Fields(NamedTuple):
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


def _read(settings: Settings) -> _Fields:
    """The fields of `config.data` that this module knows, checked."""
    missing = [field for field in ("name", "image_size") if field not in settings]
    if missing:
        raise ValueError(f"config.data lacks {missing}")
    read = _Fields(**{field: settings[field] for field in _Fields._fields if field in settings})
    if read.image_size < 1:
        raise ValueError(f"config.data.image_size must be at least 1 pixel, not {read.image_size}")
    if read.channels not in (1, 3):
        raise ValueError(f"config.data.channels must be 1 (grey) or 3 (RGB), not {read.channels}")
    if read.crop not in transforms.CROPS:
        raise ValueError(f"config.data.crop must be one of {transforms.CROPS}, not {read.crop!r}")
    if read.num_workers < 0:
        raise ValueError(f"config.data.num_workers must be 0 or more, not {read.num_workers}")
    if read.read_threads < 1:
        raise ValueError(f"config.data.read_threads must be 1 or more, not {read.read_threads}")
    return read


def _shard(batch_size: int, process_index: int, process_count: int) -> int:
    """The part of the global batch that one process makes."""
    if batch_size < 1 or batch_size % process_count:
        raise ValueError(
            f"config.data.batch_size {batch_size} must be a positive multiple of the {process_count} "
            "processes that share it"
        )
    if not 0 <= process_index < process_count:
        raise ValueError(f"process_index {process_index} must be in 0..{process_count - 1}")
    return batch_size // process_count


def describe(settings: Settings) -> DataSpec:
    """What a network has to know of the data: the shape of pictures as they leave here, classes, captions."""
    read = _read(settings)
    spec = sources.open_source(read.name, read.split, read.data_dir).spec
    tokenizer = _tokenizer(read)
    if tokenizer:
        spec = spec._replace(text_length=tokenizer.length, vocab_size=tokenizer.vocab_size)
    return spec._replace(image_shape=(read.image_size, read.image_size, read.channels))


def text_tokenizer(settings: Settings) -> TextTokenizer | None:
    """What makes tokens of captions; None where `config.data.tokenizer` is empty.

    Raises:
        ValueError: as `genjax.data.tokenizers.make`, or for data without captions.
    """
    return _tokenizer(_read(settings))


def captions(settings: Settings, split: str = "", count: int = 0) -> list[str]:
    """The first caption of each example of a split, in its order; no picture is decoded.

    Args:
        settings: `config.data`.
        split: the split; "" for `eval_split`.
        count: of the first so many examples; 0 for all.

    Raises:
        ValueError: for data without captions.
    """
    read = _read(settings)
    source = sources.open_source(read.name, split or read.eval_split, read.data_dir)
    if not source.spec.has_text:
        raise ValueError(f"{read.name!r} has no captions")
    records = source.records
    indices = range(min(count or len(records), len(records)))
    return [next(iter(records.captions(index)), "") for index in indices]


def _tokenizer(read: _Fields) -> TextTokenizer | None:
    """The tokenizer of a dataset; of a file that hasn't changed, and of captions, it is made once."""
    if not read.tokenizer:
        return None
    fields = dict(read.tokenizer)
    path = fields.get("file", "")
    stamp = os.stat(path).st_mtime_ns if path and os.path.exists(path) else 0
    return _made_tokenizer(json.dumps(fields, sort_keys=True), read.name, read.split, read.data_dir, stamp)


@functools.lru_cache(maxsize=8)
def _made_tokenizer(fields: str, name: str, split: str, data_dir: str, stamp: int) -> TextTokenizer:
    source = sources.open_source(name, split, data_dir)
    if not source.spec.has_text:
        raise ValueError(f"config.data.tokenizer is for captions, and {name!r} has none; leave it empty")

    def every_caption() -> Iterator[str]:
        for index in range(len(source.records)):
            yield from source.records.captions(index)

    return tokenizers.make(json.loads(fields), every_caption)


def train_iterator(settings: Settings, seed: int, process_index: int = 0, process_count: int = 1) -> "TrainIterator":
    """Endless shuffled batches of this process's share.

    Args:
        settings: `config.data`.
        seed: decides the order, the random crops and flips, and which of several captions is taken.
        process_index: which process this is, 0..process_count-1.
        process_count: how many processes share a batch.

    Returns:
        An iterator of dicts: `image` float32 [b, h, w, c] in [-1, 1]; `label` int32 [b] and `text` str
        objects [b] where the data has them, `tokens` int32 [b, s] of the texts where there is a tokenizer;
        b = batch_size / process_count. Of encoded data, its int32 fields
        instead of `image`. It has `get_state`, `set_state` and `close`.

    Raises:
        ValueError: a batch that the processes can't share equally or that is larger than the dataset, or a
            negative seed.
    """
    read = _read(settings)
    share = _shard(read.batch_size, process_index, process_count)
    examples = _open(read, read.split, training=True)
    size = len(examples)
    if seed < 0:
        raise ValueError(f"config.seed must be 0 or more, not {seed}")
    if read.batch_size > size:
        raise ValueError(
            f"config.data.batch_size {read.batch_size} is larger than the {size} examples of {read.name!r} "
            f"split {read.split!r}, so a batch would hold a picture twice: set config.data.batch_size to "
            f"{size} or less"
        )
    dataset = (
        grain.MapDataset.source(examples)
        .seed(seed)
        .shuffle()
        .repeat(_ENDLESS // size)
        .random_map(_Augment(read, _tokenizer(read)))
        .batch(share, batch_fn=_collate)[process_index::process_count]
    )
    return TrainIterator(dataset, read.num_workers, read.read_threads)


class TrainIterator(grain.DatasetIterator):
    """Batches of a random-access dataset from any position on, read ahead by threads or by worker processes.

    grain's own state depends on the number of workers; this one is the position alone. Closing stops all
    threads and workers. It's also a context manager.
    """

    def __init__(self, dataset: grain.MapDataset, num_workers: int = 0, read_threads: int = 2):
        super().__init__()
        self._dataset, self._num_workers = dataset, num_workers
        self._options = grain.ReadOptions(num_threads=read_threads, prefetch_buffer_size=2 * read_threads)
        self._position = 0
        self._inner: grain.DatasetIterator | None = None

    def __next__(self) -> Batch:
        if self._closed:
            raise ValueError("this iterator was closed")
        self.start_prefetch()
        batch = next(self._inner)
        self._position += 1
        return batch

    def start_prefetch(self) -> None:
        """Start to read ahead, without waiting for a batch."""
        if self._inner is None:
            ahead = self._dataset[self._position :].to_iter_dataset(self._options)
            if self._num_workers:
                # grain's workers read absl flags, which nobody has parsed outside an absl program.
                if not flags.FLAGS.is_parsed():
                    flags.FLAGS.mark_as_parsed()
                ahead = ahead.mp_prefetch(grain.MultiprocessingOptions(num_workers=self._num_workers))
            self._inner = iter(ahead)

    def get_state(self) -> dict[str, int]:
        """The number of batches drawn, as a dict that JSON can hold."""
        return {"next_index": self._position}

    def set_state(self, state: Mapping[str, int]) -> None:
        """Go on as if `state["next_index"]` batches had been drawn."""
        position = int(state["next_index"])
        if position < 0:
            raise ValueError(f"next_index must be 0 or more, not {position}")
        self._stop()
        self._position = position

    def close(self) -> None:
        """Stop reading ahead and end all threads and workers; may be called twice."""
        self._stop()
        self._closed = True

    def _stop(self) -> None:
        if self._inner is not None:
            self._inner.close()
            self._inner = None

    def __enter__(self) -> "TrainIterator":
        return self

    def __exit__(self, *_) -> None:
        self.close()


def eval_batches(
    settings: Settings,
    split: str = "",
    batch_size: int = 0,
    process_index: int = 0,
    process_count: int = 1,
) -> Iterator[Batch]:
    """One pass over a split in its own order, without augmentation.

    Args:
        settings: `config.data`.
        split: the split; "" for `eval_split`.
        batch_size: the global batch; 0 for the training batch size.
        process_index: which process this is.
        process_count: how many processes share a batch; all of them see the same number of batches.

    Yields:
        Batches as in training, and `mask` float32 [b]: 1 for an example, 0 for padding in the last batch
        (black pictures with label 0 and no text).
    """
    read = _read(settings)
    total = batch_size or read.batch_size
    share = _shard(total, process_index, process_count)
    examples = _open(read, split or read.eval_split, training=False)
    return _one_pass(examples, _tokenizer(read), total, share, process_index)


def _open(read: _Fields, split: str, training: bool) -> "_Prepared | encoded.Records":
    """The examples of a split, from pictures or as they were encoded."""
    if read.encoded:
        return encoded.Records(read.encoded, split, read._asdict())
    return _Prepared(sources.open_source(read.name, split, read.data_dir), read, training)


def _one_pass(
    prepared: "_Prepared | encoded.Records", tokenizer: TextTokenizer | None, total: int, share: int, process_index: int
) -> Iterator[Batch]:
    padding = _with_tokens(prepared.blank(), tokenizer)
    for start in range(0, len(prepared), total):
        first = start + process_index * share
        real = _read_many(prepared, tokenizer, range(first, min(first + share, len(prepared))))
        batch = _collate(real + [padding] * (share - len(real)))
        batch["mask"] = (np.arange(share) < len(real)).astype(np.float32)
        yield batch


def _read_many(
    prepared: "_Prepared | encoded.Records", tokenizer: TextTokenizer | None, indices: range
) -> list[dict[str, Any]]:
    """Examples with one caption each, decoded by as many threads as there are processors."""
    with ThreadPoolExecutor() as pool:
        return [_with_tokens(_first_caption(record), tokenizer) for record in pool.map(prepared.__getitem__, indices)]


def load_arrays(settings: Settings, split: str = "") -> dict[str, np.ndarray]:
    """A whole split in memory, in its own order, without augmentation.

    Returns:
        `image` uint8 [n, h, w, c]; `label` int32 [n], `text` str objects [n] and `tokens` int32 [n, s] as in
        batches.
    """
    read = _read(settings)
    source = sources.open_source(read.name, split or read.eval_split, read.data_dir)
    prepared = _Prepared(source, read, training=False)
    return _stack(_read_many(prepared, _tokenizer(read), range(len(prepared))))


class _Prepared:
    """Records after everything that isn't random: channels, and centre crop unless a random one follows.

    Small training data, if the whole of it fits into 256 MiB, is kept in memory once prepared: no picture is
    decoded twice.
    """

    def __init__(self, source: sources.Source, read: _Fields, training: bool):
        self._records = source.records
        self._spec = source.spec
        self._size, self._channels = read.image_size, read.channels
        self._crop = not (training and read.crop == "random")
        fits = len(source.records) * read.image_size**2 * read.channels <= _CACHE_BYTES
        self._cache: dict[int, dict[str, Any]] | None = {} if training and fits and self._crop else None

    def __len__(self) -> int:
        return len(self._records)

    def __getitem__(self, index: int) -> dict[str, Any]:
        if self._cache is not None and index in self._cache:
            return self._cache[index]
        record = self._records[index]
        pixels = transforms.to_channels(record["image"], self._channels)
        if self._crop:
            pixels = transforms.center_crop(pixels, self._size)
        prepared = {"image": pixels} | {key: record[key] for key in ("label", "text") if key in record}
        if self._cache is not None:
            self._cache[index] = prepared
        return prepared

    def __getstate__(self) -> dict[str, Any]:
        """A worker process starts with an empty cache."""
        return self.__dict__ | {"_cache": None if self._cache is None else {}}

    def blank(self) -> dict[str, Any]:
        """An example that stands for nothing."""
        blank = {"image": np.zeros((self._size, self._size, self._channels), np.uint8)}
        if self._spec.num_classes:
            blank["label"] = 0
        if self._spec.has_text:
            blank["text"] = ""
        return blank


class _Augment:
    """What is random in an example: crop, flip, which of several captions, and how it falls into tokens."""

    def __init__(self, read: _Fields, tokenizer: TextTokenizer | None):
        self._size, self._crop, self._flip = read.image_size, read.crop == "random", read.flip
        self._tokenizer = tokenizer

    def __call__(self, record: dict[str, Any], rng: np.random.Generator) -> dict[str, Any]:
        augmented = dict(record)
        if "image" in record and self._crop:
            augmented["image"] = transforms.random_crop(augmented["image"], self._size, rng)
        if "image" in record and self._flip:
            augmented["image"] = transforms.random_flip(augmented["image"], rng)
        captions = record.get("text")
        if isinstance(captions, tuple):
            augmented["text"] = captions[rng.integers(len(captions))] if captions else ""
        return _with_tokens(augmented, self._tokenizer, rng)


def _with_tokens(
    record: dict[str, Any], tokenizer: TextTokenizer | None, rng: np.random.Generator | None = None
) -> dict[str, Any]:
    return record | {"tokens": tokenizer.encode(record["text"], rng)} if tokenizer else record


def _first_caption(record: dict[str, Any]) -> dict[str, Any]:
    captions = record.get("text")
    return record | {"text": captions[0] if captions else ""} if isinstance(captions, tuple) else record


def _stack(records: list[dict[str, Any]]) -> dict[str, np.ndarray]:
    """Examples as arrays: uint8 images, int32 labels and codes, captions as str objects."""
    dtypes = {"image": np.uint8, "text": object}
    return {
        name: np.stack([np.asarray(record[name], dtypes.get(name, np.int32)) for record in records])
        for name in records[0]
    }


def _collate(records: list[dict[str, Any]]) -> dict[str, np.ndarray]:
    """Examples as a batch: as `_stack`, with images as float32 in [-1, 1]."""
    arrays = _stack(records)
    return arrays | ({"image": transforms.to_float(arrays["image"])} if "image" in arrays else {})
