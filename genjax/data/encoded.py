"""Images and captions that a stage has already encoded: arrays of fixed shape, kept as ArrayRecord.

A folder holds `SPLIT-PROCESS-of-PROCESSES.array_record` files and, once everything is written, `manifest.json`: the
fields of a record with their shapes and types, how many there are in each split, what images were encoded, and by
which checkpoint of which stage. A record is the bytes of its fields one after the other, as numpy lays out a structured
array, so it is read without parsing. What follows them are the captions, which are kept as they are: a stage that reads
them makes its own tokens of them.

Fields and what they mean to who trains on them:

    codes_0, codes_1, ..       of a tokenizer; they stand for the image
    image_embed, text_embed    of a CLIP; they come beside the image, at whatever size
    text_states, text_pooled   of a frozen language model; they come beside the image
    label                      of the image, where it has one

Images are encoded as they are evaluated: cropped at the centre, without flips. Of several captions all are kept
beside codes, and only the first, which is the one that was read, beside what was made of a text. Numbers of less than
32 bits come back as float32, exactly as they were rounded.
"""

import json
import os
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import Any, NamedTuple

import jax.numpy as jnp
import numpy as np

from genjax.core.arguments import ArgumentError, arg
from genjax.core.files import write_json
from genjax.data.records import DatasetNotFound, Record

MANIFEST = "manifest.json"
IMAGES = ("name", "image_size", "channels")
"""The fields of `config.data` that say which images were encoded."""
TEXT = "text"
"""The captions among what is written and read."""
_BETWEEN = "\0"
_AGAIN = "write it again with genjax-encode --workdir=STAGE"
_INT, _FLOAT = "int32", "float32"


class Manifest(NamedTuple):
    """What a folder holds.

    Attributes:
        fields: name -> shape of each array of a record.
        counts: split -> number of records.
        images: which images: fields `IMAGES` of `config.data`.
        stage: which checkpoint encoded them: {"step": ..., "checksum": ...}.
        processes: number of files a split.
        dtypes: name -> float32, float16 or bfloat16, of the fields that aren't int32.
        texts: whether the captions follow the arrays.
        batch_size: of the batches of all processes, which tells where in their files the n-th example is.
    """

    fields: Mapping[str, list[int]]
    counts: Mapping[str, int]
    images: Mapping[str, Any]
    stage: Mapping[str, int]
    processes: int = 1
    dtypes: Mapping[str, str] = MappingProxyType({})
    texts: bool = False
    batch_size: int = 0

    @property
    def dtype(self) -> np.dtype:
        """The arrays of a record as a structured dtype."""
        return np.dtype(
            [
                (name, jnp.dtype(self.dtypes.get(name, _INT)).newbyteorder("<"), tuple(shape))
                for name, shape in self.fields.items()
            ]
        )

    @property
    def has_codes(self) -> bool:
        """Whether the records stand for the images; else they come beside them."""
        return any(name.startswith("codes_") for name in self.fields)

    @property
    def of_images(self) -> bool:
        """Whether anything in them was made of an image."""
        return self.has_codes or any(name.startswith("image_") for name in self.fields)

    @property
    def of_texts(self) -> bool:
        """Whether anything in them was made of a caption."""
        return any(name.startswith("text_") for name in self.fields)


def describe(batch: Mapping[str, Any]) -> Manifest:
    """The part of a manifest that a batch tells of: fields, types, and whether there are texts."""
    arrays = {name: array for name, array in batch.items() if name != TEXT}
    dtypes = {name: str(array.dtype) for name, array in arrays.items() if str(array.dtype) != _INT}
    shapes = {name: list(array.shape[1:]) for name, array in arrays.items()}
    return Manifest(shapes, {}, {}, {}, dtypes=dtypes, texts=TEXT in batch)


def images_of(settings: Mapping[str, Any]) -> dict[str, Any]:
    """Which images `config.data` names."""
    return {name: settings[name] for name in IMAGES}


def write_split(
    folder: Path, split: str, batches: Iterable[Mapping[str, Any]], process_index: int = 0, processes: int = 1
) -> tuple[Manifest, int]:
    """Write one process's share of a split, batch by batch; returns what it says of the records, and their count.

    Args:
        folder: where; made if need be.
        split: its name.
        batches: field -> array [n, ...] of int32 or of a float type, and under "text" the captions of each example.
            The same fields in each batch.
        process_index: which process this is.
        processes: how many write files of this split.
    """
    from array_record.python.array_record_module import ArrayRecordWriter

    folder.mkdir(parents=True, exist_ok=True)
    path = _path(folder, split, process_index, processes)
    part = path.with_name(path.name + ".part")
    writer, what, count = ArrayRecordWriter(str(part), "group_size:1"), Manifest({}, {}, {}, {}), 0
    for batch in batches:
        what = describe(batch)
        records = np.empty(len(next(iter(batch.values()))), what.dtype)
        for name in what.fields:
            records[name] = batch[name]
        for number, record in enumerate(records):
            texts = _BETWEEN.join(batch[TEXT][number]) if what.texts else ""
            writer.write(record.tobytes() + texts.encode())
        count += len(records)
    writer.close()
    os.replace(part, path)
    return what, count


def write_manifest(folder: Path, manifest: Manifest) -> None:
    """Write `manifest.json`, whole or not at all: the last thing of all."""
    write_json(folder / MANIFEST, manifest._asdict() | {"dtypes": dict(manifest.dtypes)})


def read_manifest(folder: str | Path) -> Manifest:
    """What a folder holds.

    Raises:
        DatasetNotFound: if nothing was encoded there, or not to the end.
        ValueError: for a manifest that is cut or altered; names it.
    """
    path = Path(folder) / MANIFEST
    if not path.is_file():
        raise DatasetNotFound(
            f"no encoded images in {folder}: it has no {MANIFEST}; write them with genjax-encode --workdir=STAGE"
        )
    try:
        manifest = Manifest(**json.loads(path.read_bytes()))
        _check_manifest(manifest)
        return manifest
    except (ValueError, TypeError, LookupError, AttributeError, RecursionError) as error:
        raise ValueError(f"{path} is cut or altered ({error}): {_AGAIN}") from error


def _check_manifest(manifest: Manifest) -> None:
    """Raise one of the usual errors, unless a manifest has all that is read of it."""
    numbers = (*manifest.counts.values(), *manifest.stage.values(), manifest.processes)
    if not all(type(number) is int and number >= 0 for number in numbers) or not manifest.processes:
        raise ValueError("it has counts that are none")
    np.dtype(manifest.dtype)
    if manifest.of_images:
        images_of(manifest.images)


class Records:
    """Random access to the records of a split, in the dataset's order: field -> int32 or float32 array, and captions.

    Args:
        folder: the folder.
        split: one of its splits.
        settings: `config.data`: has to name the images that were encoded. What was made of captions alone, only
            their number and their words have to fit, which is for the reader to check.
        manifest: of the folder, where it was read already.

    Raises:
        DatasetNotFound: if there are none.
        ValueError: for other images, a split that wasn't encoded, or files that are damaged.
    """

    def __init__(self, folder: str | Path, split: str, settings: Mapping[str, Any], manifest: Manifest | None = None):
        from array_record.python.array_record_data_source import ArrayRecordDataSource

        self.manifest = manifest = manifest or read_manifest(folder)
        if split not in manifest.counts:
            raise ValueError(f"{folder} has the splits {sorted(manifest.counts)}, not {split!r}")
        wanted, found = images_of(settings), dict(manifest.images)
        compared = IMAGES if manifest.has_codes else ("name",)
        if manifest.of_images and any(_moved(wanted[name]) != _moved(found[name]) for name in compared):
            raise ArgumentError(
                f"{arg('encoded')}={folder} holds codes of {found}, and {arg('data')} describes {wanted}"
            )
        self._dtype = manifest.dtype
        paths = [_path(Path(folder), split, index, manifest.processes) for index in range(manifest.processes)]
        try:
            self._source = ArrayRecordDataSource([str(path) for path in paths])
            count = len(self._source)
            size = len(self._source[0]) if count else self._dtype.itemsize
        except RuntimeError as error:  # of the library, for files that are cut or aren't there
            raise ValueError(f"the records of {split} in {folder} can't be read ({error}): {_AGAIN}") from error
        if count != manifest.counts[split] or size < self._dtype.itemsize:
            raise ValueError(
                f"{folder} has {count} records of {split}, and its {MANIFEST} says {manifest.counts[split]} of "
                f"{self._dtype.itemsize} bytes: {_AGAIN}"
            )
        self._places = _places(len(self._source), manifest)

    def __len__(self) -> int:
        return len(self._source)

    def __getitem__(self, index: int) -> Record:
        contents = self._source[int(self._places[index])]
        record = np.frombuffer(contents, self._dtype, count=1)[0]
        read: dict[str, Any] = {name: _wide(record[name]) for name in self._dtype.names}
        if self.manifest.texts:
            captions = tuple(contents[self._dtype.itemsize :].decode().split(_BETWEEN))
            read[TEXT] = captions if len(captions) > 1 else captions[0]
        return read

    def blank(self) -> Record:
        """A record that stands for nothing: zeros, and no words."""
        blank = {name: _wide(np.zeros(self._dtype[name].shape, self._dtype[name].base)) for name in self._dtype.names}
        return blank | ({TEXT: ""} if self.manifest.texts else {})


def _moved(value: Any) -> Any:
    """A setting without the place of a folder of images: one that lies elsewhere now is the same by its own name."""
    return f"folder:{Path(value).name}" if str(value).startswith("folder:") else value


def _wide(array: Any) -> np.ndarray:
    """An array of its own, as int32 or float32."""
    array = np.asarray(array)
    return np.array(array, _INT if array.dtype.kind == "i" else _FLOAT)


def _places(count: int, manifest: Manifest) -> Sequence[int] | np.ndarray:
    """The place of each example in the files, one file after the other: process p wrote the p-th part of each batch."""
    total, processes = manifest.batch_size, manifest.processes
    if processes == 1 or not total:
        return range(count)
    share, index = total // processes, np.arange(count)
    writer = index % total // share
    lengths = np.bincount(writer, minlength=processes)
    first = np.concatenate([[0], np.cumsum(lengths)[:-1]])
    return first[writer] + index // total * share + index % share


def _path(folder: Path, split: str, process_index: int, processes: int) -> Path:
    return folder / f"{split}-{process_index:05d}-of-{processes:05d}.array_record"
