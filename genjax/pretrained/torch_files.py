"""Files that PyTorch writes, read without PyTorch and without running what they hold.

Since PyTorch 1.6 such a file is a zip archive of uncompressed entries: a pickle of tensors, each of which names another
entry, its storage: the raw numbers. The pickle is read by a machine that knows a few harmless operations and names
(`_OPCODES`, `_Reader.find_class`); a pickle with any other is refused before anything is built. A tensor is a view of
its storage by offset, shape and strides: those are checked against the storage, so that nothing beyond it is read, and
only the storages of tensors that somebody wants are read at all.
"""

import io
import math
import pickle
import pickletools
import re
import zipfile
from collections import OrderedDict
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import ml_dtypes
import numpy as np

_DTYPES = {
    "FloatStorage": np.float32,
    "HalfStorage": np.float16,
    "BFloat16Storage": ml_dtypes.bfloat16,
    "DoubleStorage": np.float64,
    "LongStorage": np.int64,
    "IntStorage": np.int32,
    "ShortStorage": np.int16,
    "CharStorage": np.int8,
    "ByteStorage": np.uint8,
    "BoolStorage": np.bool_,
}
"""Kinds of storage of `torch` -> type of their numbers."""

_DTYPE_NAME = re.compile(r"(float|bfloat|int|uint|complex|bool|qint|quint)\w*")
"""Types as `torch` calls them; named in an error, where they can't be read."""

_OPCODES = frozenset(
    "PROTO FRAME STOP MARK POP_MARK MEMOIZE PUT BINPUT LONG_BINPUT GET BINGET LONG_BINGET GLOBAL STACK_GLOBAL REDUCE "
    "BUILD BINPERSID NONE NEWTRUE NEWFALSE INT BININT BININT1 BININT2 LONG LONG1 FLOAT BINFLOAT UNICODE BINUNICODE "
    "SHORT_BINUNICODE BINUNICODE8 BINSTRING SHORT_BINSTRING BINBYTES SHORT_BINBYTES EMPTY_TUPLE TUPLE TUPLE1 TUPLE2 "
    "TUPLE3 EMPTY_LIST LIST APPEND APPENDS EMPTY_DICT DICT SETITEM SETITEMS EMPTY_SET ADDITEMS".split()
)
"""Operations of a pickle that build plain values, name a class, or call one. None of them runs code by itself."""


class Storage(NamedTuple):
    """The numbers behind tensors: an entry of the archive, their type, and how many they should be."""

    entry: str
    dtype: str
    count: int  # type: ignore[assignment]  # tuple.count


class Tensor(NamedTuple):
    """A view of a storage; `offset` and `strides` count numbers, not bytes."""

    storage: Storage
    offset: int
    shape: tuple[int, ...]
    strides: tuple[int, ...]


class _Callable:
    """A function that a pickle may call, and can do nothing else with."""

    __slots__ = ("_function",)

    def __init__(self, function):
        object.__setattr__(self, "_function", function)

    def __call__(self, *arguments):
        return self._function(*arguments)

    def __setattr__(self, name, value):
        raise pickle.UnpicklingError(f"it sets {name} of a function")


def _ordered_dict(*arguments: Any) -> dict:
    """An empty mapping, or one of pairs; plain, so that a pickle can hang nothing on it."""
    return OrderedDict(*arguments)


def _tensor_of_unknown_type(storage, offset, shape, strides, requires_grad, hooks, dtype, *others):
    raise pickle.UnpicklingError(f"it holds tensors of the type {dtype}, which can't be read here; save it as float32")


_KNOWN = {
    ("collections", "OrderedDict"): _Callable(_ordered_dict),
    ("torch._utils", "_rebuild_tensor_v2"): _Callable(lambda *fields: Tensor(*fields[:4])),
    ("torch._utils", "_rebuild_tensor_v3"): _Callable(_tensor_of_unknown_type),
    ("torch._utils", "_rebuild_parameter"): _Callable(lambda tensor, *others: tensor),
    ("torch", "Size"): _Callable(tuple),
}


class _Reader(pickle.Unpickler):
    """A pickle of tensors; each comes back as a `Tensor`."""

    def __init__(self, data: bytes, folder: str):
        super().__init__(io.BytesIO(data))
        self._folder = folder

    def find_class(self, module: str, name: str):
        if module == "torch.storage" or (module == "torch" and (name in _DTYPES or _DTYPE_NAME.fullmatch(name))):
            return name
        if (module, name) not in _KNOWN:
            raise pickle.UnpicklingError(f"it holds a {module}.{name}, and only tensors are read")
        return _KNOWN[module, name]

    def persistent_load(self, key):
        kind, dtype, name, _, count = key
        if kind != "storage" or not isinstance(dtype, str) or not isinstance(count, int):
            raise pickle.UnpicklingError(f"it holds a {kind} of {dtype}, and only tensors are read")
        return Storage(f"{self._folder}data/{name}", dtype, count)


class TorchFile:
    """An open archive of PyTorch.

    Args:
        path: of the file.

    Raises:
        ValueError: in one line, if it is no such archive, is cut short, or holds something else than tensors.
    """

    def __init__(self, path: Path):
        self._path = path
        try:
            self._archive = zipfile.ZipFile(path)
        except zipfile.BadZipFile as error:
            raise ValueError(
                f"{path} is cut short or damaged: it begins as an archive of PyTorch and has no end; fetch it again"
            ) from error
        pickles = [name for name in self._archive.namelist() if name.endswith("/data.pkl") or name == "data.pkl"]
        if len(pickles) != 1:
            raise ValueError(f"{path} is a zip archive, but not one of PyTorch's: it has no data.pkl")
        self._folder = pickles[0].removesuffix("data.pkl")
        order = f"{self._folder}byteorder"
        self._big = order in self._archive.namelist() and self._read(order).strip() == b"big"
        self.content = self._load(pickles[0])

    def _read(self, entry: str) -> bytes:
        """An entry's bytes; compressed ones, which PyTorch never writes, could unfold to any size."""
        try:
            if self._archive.getinfo(entry).compress_type != zipfile.ZIP_STORED:
                raise ValueError(f"{self._path} is not as PyTorch writes it: its entry {entry} is compressed")
            return self._archive.read(entry)
        except (zipfile.BadZipFile, KeyError, EOFError, NotImplementedError, RuntimeError) as error:
            raise ValueError(f"{self._path} is damaged: its entry {entry} can't be read; fetch it again") from error

    def _load(self, entry: str) -> Any:
        """The pickled value with `Tensor`s in it."""
        data = self._read(entry)
        try:
            foreign = {op.name for op, _, _ in pickletools.genops(data)} - _OPCODES
            if foreign:
                raise pickle.UnpicklingError(f"it would do {', '.join(sorted(foreign))}, and only tensors are read")
            return _Reader(data, self._folder).load()
        except Exception as error:  # a harmful pickle chooses what it raises
            raise ValueError(f"{self._path} can't be read: {error}") from error

    def array(self, name: str, tensor: Tensor) -> np.ndarray:
        """The numbers of the tensor called `name`.

        Raises:
            ValueError: naming the tensor, if it reaches beyond its storage or that isn't whole.
        """
        whose = f"{self._path}: the tensor {name}"
        storage = tensor.storage
        if not isinstance(storage, Storage) or storage.dtype not in _DTYPES:
            kind = storage.dtype if isinstance(storage, Storage) else type(storage).__name__
            raise ValueError(f"{whose} is of the type {kind}, which can't be read here; save it as float32")
        dtype = np.dtype(_DTYPES[storage.dtype])
        _check_view(whose, tensor)
        data = self._read(storage.entry)
        if len(data) != storage.count * dtype.itemsize:
            raise ValueError(f"{whose} needs {storage.count} numbers of {dtype}, and its storage has {len(data)} bytes")
        values = np.frombuffer(data, dtype)
        if self._big and dtype.itemsize > 1:
            values = values.byteswap()
        steps = [stride * dtype.itemsize for stride in tensor.strides]
        return np.lib.stride_tricks.as_strided(values[tensor.offset :], tensor.shape, steps, writeable=False)


def _check_view(whose: str, tensor: Tensor) -> None:
    """That offset, shape and strides stay within the storage, by Python's integers, which don't overflow."""
    storage, offset, shape, strides = tensor
    tuples = isinstance(shape, tuple) and isinstance(strides, tuple) and len(shape) == len(strides)
    if not tuples or not all(type(number) is int and number >= 0 for number in (offset, *shape, *strides)):
        raise ValueError(f"{whose} has offset {offset}, shape {shape} and strides {strides}, which is no tensor")
    count = math.prod(shape)
    last = offset + sum((size - 1) * stride for size, stride in zip(shape, strides)) if count else offset - 1
    if last >= storage.count or offset > storage.count or count > max(storage.count, 1):
        raise ValueError(
            f"{whose} reaches beyond its storage: offset {offset}, shape {shape} and strides {strides} of "
            f"{storage.count} numbers"
        )


def is_state_dict(value: Any) -> bool:
    """Whether a pickled value is a mapping from names to tensors, and not empty."""
    return (
        isinstance(value, Mapping)
        and bool(value)
        and all(isinstance(name, str) and isinstance(leaf, Tensor) for name, leaf in value.items())
    )
