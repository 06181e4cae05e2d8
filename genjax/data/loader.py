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
    image_size, channels=3     images are cropped to a square and resized to image_size, made grey or RGB
    crop="center"              or "random": see `genjax.data.transforms`
    flip=False                 mirror half of the training images; wrong for digits, and for captions with left/right
    batch_size                 the global batch of all processes
    num_workers=0              worker processes that read ahead; 0 reads in threads of this process
    tokenizer={}               how captions become tokens, see `genjax.data.tokenizers`; empty: they don't
    encoded=""                 a folder of `genjax.data.encoded`: its codes instead of the images, or its embeddings
                               beside them
    keep_images=False        with codes, the images too
    max_broken=0.01            the share of images that may turn out to be broken while they are read: each is skipped,
                               counted and named, and above it the run ends
"""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import cached_property
from itertools import chain
from typing import Any

import grain
import numpy as np

from genjax.core.arguments import ArgumentError, arg
from genjax.data import encoded, sources, tokenizers
from genjax.data.announce import open_split, say_encoded
from genjax.data.examples import (
    Augment,
    Beside,
    Examples,
    Prepared,
    Settings,
    check_encoded,
    collate,
    first_caption,
    read_fields,
    stack,
    with_tokens,
)
from genjax.data.records import Source, SplitNotFound
from genjax.data.tokenizers import TextTokenizer
from genjax.data.train_iterator import IN_CONFIG, TrainIterator
from genjax.data.workers import WorkerDied
from genjax.typing import Batch, DataSpec

__all__ = ["Data", "TrainIterator", "WorkerDied"]

START = {"next_index": 0}
"""The state of an iterator that has drawn nothing."""

# Examples until a run would end: grain's own endless repetition overflows with batches of one.
_ENDLESS = 2**52


def _shard(batch_size: int, process_index: int, process_count: int) -> int:
    """The part of the global batch that one process makes."""
    if batch_size < 1 or batch_size % process_count:
        raise ArgumentError(
            f"{arg('batch_size')} {batch_size} must be a positive multiple of the {process_count} "
            "processes that share it"
        )
    if not 0 <= process_index < process_count:
        raise ValueError(f"process_index {process_index} must be in 0..{process_count - 1}")
    return batch_size // process_count


class Data:
    """What `config.data` names, opened once: every part of it that is needed is made when it is first needed, and kept.

    A folder is seen as it is when it is first looked at, whatever happens to it from there on.

    Args:
        settings: `config.data`.

    Raises:
        ValueError: for a value that can't be, or a field that is missing.
    """

    @IN_CONFIG
    def __init__(self, settings: Settings):
        self.fields = read_fields(settings)
        self._sources: dict[str, Source] = {}

    @cached_property
    @IN_CONFIG
    def spec(self) -> DataSpec:
        """What a network has to know of the data: the shape of images as they leave here, classes, captions.

        Raises:
            ValueError: if it isn't there, or has no captions to make tokens of.
        """
        read, tokenizer = self.fields, self.tokenizer
        spec = self._source(read.split).spec._replace(image_shape=(read.image_size, read.image_size, read.channels))
        return spec._replace(text_length=tokenizer.length, vocab_size=tokenizer.vocab_size) if tokenizer else spec

    @cached_property
    @IN_CONFIG
    def tokenizer(self) -> TextTokenizer | None:
        """What makes tokens of captions; None where `config.data.tokenizer` is empty.

        Raises:
            ValueError: as `genjax.data.tokenizers.make`, or for data without captions.
        """
        read = self.fields
        if not read.tokenizer:
            return None
        records, spec, _ = self._source(read.split)
        if not spec.has_text:
            raise ArgumentError(f"{arg('tokenizer')} is for captions, and {read.name!r} has none; leave it empty")
        return tokenizers.make(dict(read.tokenizer), lambda: chain.from_iterable(records.captions(range(len(records)))))

    @cached_property
    @IN_CONFIG
    def manifest(self) -> encoded.Manifest | None:
        """What `config.data.encoded` holds; None where it is empty.

        Raises:
            ValueError: if nothing was encoded there, or the manifest is damaged.
        """
        return encoded.read_manifest(self.fields.encoded) if self.fields.encoded else None

    @IN_CONFIG
    def check_eval_split(self) -> None:
        """Nothing, if there is data to evaluate on: `config.data.eval_split`, or the one that is taken in its place.

        Raises:
            ValueError: if there is none; says what to do.
        """
        split = self.fields.eval_split
        try:
            self._examples(split, training=False)
        except SplitNotFound as error:
            raise SplitNotFound(
                f"{arg('eval_split')}={split!r}: {error}; set {arg('eval_split')} to one of them"
            ) from error

    @IN_CONFIG
    def captions(self, split: str = "", count: int = 0) -> list[tuple[str, ...]]:
        """The captions of each example of a split, one or several, in its order; no image is decoded.

        Args:
            split: the split; "" for `eval_split`.
            count: of the first so many examples; 0 for all.

        Raises:
            ValueError: for data without captions.
        """
        source = self._source(split or self.fields.eval_split)
        if not source.spec.has_text:
            raise ValueError(f"{self.fields.name!r} has no captions")
        total = len(source.records)
        return source.records.captions(range(min(count or total, total)))

    @IN_CONFIG
    def train_iterator(self, seed: int, process_index: int = 0, process_count: int = 1) -> TrainIterator:
        """Endless shuffled batches of this process's share.

        Args:
            seed: decides the order, the random crops and flips, and which of several captions is taken.
            process_index: which process this is, 0..process_count-1.
            process_count: how many processes share a batch.

        Returns:
            An iterator of dicts: `image` float32 [b, h, w, c] in [-1, 1]; `label` int32 [b] and `text` str
            objects [b] where the data has them, `tokens` int32 [b, s] of the texts where there is a tokenizer;
            b = batch_size / process_count. Of encoded data, its fields
            beside `image`, or instead of it. It has `get_state`, `set_state` and `close`.

        Raises:
            ValueError: a batch that the processes can't share equally or that is larger than the dataset, or a
                negative seed.
        """
        read = self.fields
        share = _shard(read.batch_size, process_index, process_count)
        examples = self._examples(read.split, training=True)
        size = len(examples)
        if seed < 0:
            raise ArgumentError(f"{arg('seed')} must be 0 or more, not {seed}")
        if read.batch_size > size:
            raise ArgumentError(
                f"{arg('batch_size')} {read.batch_size} is larger than the {size} examples of {read.name!r} "
                f"split {read.split!r}, so a batch would hold an image twice: set {arg('batch_size')} to "
                f"{size} or less"
            )
        dataset = (
            grain.MapDataset.source(examples)
            .seed(seed)
            .shuffle()
            .repeat(_ENDLESS // size)
            .random_map(Augment(read, self.tokenizer))
            .batch(share, batch_fn=collate)[process_index::process_count]
        )
        return TrainIterator(dataset, read.num_workers, read.read_threads)

    @IN_CONFIG
    def eval_batches(
        self, split: str = "", batch_size: int = 0, process_index: int = 0, process_count: int = 1
    ) -> Iterator[Batch]:
        """One pass over a split in its own order, without augmentation.

        Args:
            split: the split; "" for `eval_split`.
            batch_size: the global batch; 0 for the training batch size.
            process_index: which process this is.
            process_count: how many processes share a batch; all of them see the same number of batches.

        Yields:
            Batches as in training, and `mask` float32 [b]: 1 for an example, 0 for padding in the last batch
            (black images with label 0 and no text).
        """
        total = batch_size or self.fields.batch_size
        share = _shard(total, process_index, process_count)
        examples = self._examples(split or self.fields.eval_split, training=False)
        return _one_pass(examples, self.tokenizer, total, share, process_index)

    @IN_CONFIG
    def load_arrays(self, split: str = "", count: int = 0) -> dict[str, np.ndarray]:
        """A whole split in memory, in its own order, without augmentation.

        Args:
            split: the split; "" for `eval_split`.
            count: the first so many examples only; 0 for all.

        Returns:
            `image` uint8 [n, h, w, c]; `label` int32 [n], `text` str objects [n] and `tokens` int32 [n, s] as in
            batches.
        """
        prepared = Prepared(self._source(split or self.fields.eval_split), self.fields, training=False)
        kept = range(min(count or len(prepared), len(prepared)))
        return stack(_read_many(prepared, self.tokenizer, kept))

    @cached_property
    def _dataset(self) -> sources.Dataset:
        return sources.find(self.fields.name, self.fields.data_dir)

    def _source(self, split: str) -> Source:
        """A split; for a held-out split that isn't there, the one in its place."""
        if split not in self._sources:
            self._sources[split] = open_split(self._dataset, split, self.fields.eval_split, self.fields.image_size)
        return self._sources[split]

    def _examples(self, split: str, training: bool) -> Examples:
        """The examples of a split, from images or as they were encoded, or both.

        Raises:
            ValueError: for a split that there isn't, or encoded data that fits neither the images nor the settings.
        """
        if self.manifest is None:
            return Prepared(self._source(split), self.fields, training)
        records = encoded.Records(self.fields.encoded, split, self.fields._asdict(), self.manifest)
        say_encoded(self.fields.encoded, self.manifest)
        check_encoded(self.fields, self.manifest, training)
        if self.manifest.has_codes and not self.fields.keep_images:
            return records
        return Beside(Prepared(self._source(split), self.fields, training), records, self.fields)


def _one_pass(
    prepared: Examples, tokenizer: TextTokenizer | None, total: int, share: int, process_index: int
) -> Iterator[Batch]:
    padding = with_tokens(prepared.blank(), tokenizer)
    read = IN_CONFIG(_read_many)
    for start in range(0, len(prepared), total):
        first = start + process_index * share
        real = read(prepared, tokenizer, range(first, min(first + share, len(prepared))))
        batch = collate(real + [padding] * (share - len(real)))
        batch["mask"] = (np.arange(share) < len(real)).astype(np.float32)
        yield batch


def _read_many(prepared: Examples, tokenizer: TextTokenizer | None, indices: range) -> list[dict[str, Any]]:
    """Examples with one caption each, decoded by as many threads as there are processors."""
    with ThreadPoolExecutor() as pool:
        return [with_tokens(first_caption(record), tokenizer) for record in pool.map(prepared.__getitem__, indices)]
