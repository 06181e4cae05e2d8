"""Pictures that a stage has already encoded: arrays of fixed shape, kept as ArrayRecord.

A folder holds `SPLIT-PROCESS-of-PROCESSES.array_record` files and, once everything is written, `manifest.json`: the
fields of a record with their shapes, how many there are in each split, what pictures were encoded, and by which
checkpoint of which stage. A record is the bytes of its fields one after the other, as numpy lays out a structured
array, so it is read without parsing.

Pictures are encoded as they are evaluated: cropped at the centre, without flips.
"""

import json
import os
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from genjax.core.files import write_json
from genjax.data.records import DatasetNotFound, Record

MANIFEST = "manifest.json"
PICTURES = ("name", "image_size", "channels")
"""The fields of `config.data` that say which pictures were encoded."""


class Manifest(NamedTuple):
    """What a folder holds.

    Attributes:
        fields: name -> shape of each array of a record; all are int32.
        counts: split -> number of records.
        pictures: which pictures: fields `PICTURES` of `config.data`.
        stage: which checkpoint encoded them: {"step": ..., "checksum": ...}.
        processes: number of files a split.
    """

    fields: Mapping[str, list[int]]
    counts: Mapping[str, int]
    pictures: Mapping[str, Any]
    stage: Mapping[str, int]
    processes: int = 1

    @property
    def dtype(self) -> np.dtype:
        """A record as a structured dtype."""
        return np.dtype([(name, "<i4", tuple(shape)) for name, shape in self.fields.items()])


def pictures_of(settings: Mapping[str, Any]) -> dict[str, Any]:
    """Which pictures `config.data` names."""
    return {name: settings[name] for name in PICTURES}


def write_split(
    folder: Path, split: str, batches: Iterable[Mapping[str, np.ndarray]], process_index: int = 0, processes: int = 1
) -> tuple[dict[str, list[int]], int]:
    """Write one process's share of a split, batch by batch; returns the shapes of the fields and the count.

    Args:
        folder: where; made if need be.
        split: its name.
        batches: field -> int32 [n, ...], the same fields in each.
        process_index: which process this is.
        processes: how many write files of this split.
    """
    from array_record.python.array_record_module import ArrayRecordWriter

    folder.mkdir(parents=True, exist_ok=True)
    path = _path(folder, split, process_index, processes)
    part = path.with_name(path.name + ".part")
    writer, fields, count = ArrayRecordWriter(str(part), "group_size:1"), {}, 0
    for batch in batches:
        fields = {name: list(array.shape[1:]) for name, array in batch.items()}
        records = np.empty(len(next(iter(batch.values()))), Manifest(fields, {}, {}, {}).dtype)
        for name, array in batch.items():
            records[name] = array
        for record in records:
            writer.write(record.tobytes())
        count += len(records)
    writer.close()
    os.replace(part, path)
    return fields, count


def write_manifest(folder: Path, manifest: Manifest) -> None:
    """Write `manifest.json`, whole or not at all: the last thing of all."""
    write_json(folder / MANIFEST, manifest._asdict())


def read_manifest(folder: str | Path) -> Manifest:
    """What a folder holds.

    Raises:
        DatasetNotFound: if nothing was encoded there, or not to the end.
    """
    path = Path(folder) / MANIFEST
    if not path.is_file():
        raise DatasetNotFound(
            f"no encoded pictures in {folder}: it has no {MANIFEST}; write them with launch/encode.py --workdir=STAGE"
        )
    return Manifest(**json.loads(path.read_text()))


class Records:
    """Random access to the records of a split: field -> int32 array, scalars as int.

    Args:
        folder: the folder.
        split: one of its splits.
        settings: `config.data`: has to name the pictures that were encoded.

    Raises:
        DatasetNotFound: if there are none.
        ValueError: for other pictures, or a split that wasn't encoded.
    """

    def __init__(self, folder: str | Path, split: str, settings: Mapping[str, Any]):
        from array_record.python.array_record_data_source import ArrayRecordDataSource

        manifest = read_manifest(folder)
        if split not in manifest.counts:
            raise ValueError(f"{folder} has the splits {sorted(manifest.counts)}, not {split!r}")
        wanted, found = pictures_of(settings), dict(manifest.pictures)
        if wanted != found:
            raise ValueError(f"config.data.encoded={folder} holds codes of {found}, and config.data asks for {wanted}")
        self._dtype = manifest.dtype
        paths = [_path(Path(folder), split, index, manifest.processes) for index in range(manifest.processes)]
        self._source = ArrayRecordDataSource([str(path) for path in paths])

    def __len__(self) -> int:
        return len(self._source)

    def __getitem__(self, index: int) -> Record:
        record = np.frombuffer(self._source[index], self._dtype)[0]
        return {name: np.array(record[name], np.int32) for name in self._dtype.names}

    def blank(self) -> Record:
        """A record that stands for nothing: zeros."""
        return {name: np.zeros(self._dtype[name].shape, np.int32) for name in self._dtype.names}


def _path(folder: Path, split: str, process_index: int, processes: int) -> Path:
    return folder / f"{split}-{process_index:05d}-of-{processes:05d}.array_record"
