"""Writes files as PyTorch does, without PyTorch: whole ones and harmful ones."""

import io
import pickle
import zipfile
from collections import OrderedDict

import numpy as np


class Spelled:
    """Pickles as a call of any function of any module, as PyTorch's tensors do."""

    def __init__(self, name, *arguments):
        self.name, self.arguments = name, arguments


class Stored:
    """Pickles as a reference to a storage of the archive."""

    def __init__(self, kind, entry, count):
        self.key = ("storage", Spelled(f"torch {kind}"), entry, "cpu", count)


class _Writer(pickle._Pickler):
    """Writes what PyTorch would, without PyTorch: names of classes that needn't exist here."""

    def persistent_id(self, value):
        return value.key if isinstance(value, Stored) else None

    def save(self, value, save_persistent_id=True):
        if not isinstance(value, Spelled):
            return super().save(value, save_persistent_id)
        self.write(f"c{value.name.replace(' ', chr(10))}\n".encode())
        if value.arguments:
            super().save(tuple(value.arguments))
            self.write(pickle.REDUCE)


def tensor(shape, strides, offset=0, kind="FloatStorage", entry="0", count=6):
    return Spelled(
        "torch._utils _rebuild_tensor_v2", Stored(kind, entry, count), offset, shape, strides, False, OrderedDict()
    )


def write(path, content, storages=None, compression=zipfile.ZIP_STORED, **entries):
    """An archive as PyTorch writes it."""
    data = io.BytesIO()
    _Writer(data, protocol=2).dump(content)
    with zipfile.ZipFile(path, "w", compression) as archive:
        archive.writestr("archive/data.pkl", data.getvalue())
        for name, values in (storages or {"0": np.arange(6, dtype=np.float32)}).items():
            archive.writestr(f"archive/data/{name}", values.tobytes())
        for name, text in entries.items():
            archive.writestr(f"archive/{name}", text)
    return path
