"""Files of public checkpoints as mappings from names to numpy arrays, without PyTorch.

`.safetensors` are read by the library of that name (extra `[text]`). `.pt`, `.bin` and `.pth`, since PyTorch 1.6, are
zip archives: a pickle of tensors that point to the archive's other entries, the raw numbers. Only what tensors need is
unpickled; any other class in the pickle is refused, so that no code of the file is ever run. A folder of the hub is
read by the file in it, or, where `*.index.json` says that there are several, by all of them.
"""

import io
import json
import pickle
import zipfile
from collections import OrderedDict
from collections.abc import Mapping
from pathlib import Path

import ml_dtypes
import numpy as np

NAMES = (
    "model.safetensors",
    "diffusion_pytorch_model.safetensors",
    "pytorch_model.bin",
    "diffusion_pytorch_model.bin",
)
"""What a checkpoint is called in a folder of the hub."""

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


def read_arrays(path: str | Path) -> dict[str, np.ndarray]:
    """Name -> array, of a file or a folder.

    Raises:
        ValueError: if there is no checkpoint, or one that can't be read here.
    """
    path = Path(path)
    if path.is_dir():
        return {name: array for part in _parts(path) for name, array in read_arrays(part).items()}
    if not path.is_file():
        raise ValueError(f"there is no checkpoint {path}")
    return _read_safetensors(path) if path.suffix == ".safetensors" else _read_torch(path)


def _parts(folder: Path) -> list[Path]:
    """The files of a checkpoint in a folder."""
    for name in NAMES:
        index = folder / f"{name}.index.json"
        if index.is_file():
            return [folder / part for part in sorted(set(json.loads(index.read_text())["weight_map"].values()))]
        if (folder / name).is_file():
            return [folder / name]
    raise ValueError(f"there is no checkpoint in {folder}; looked for {', '.join(NAMES)}")


def _read_safetensors(path: Path) -> dict[str, np.ndarray]:
    try:
        from safetensors import SafetensorError
        from safetensors.numpy import load_file
    except ImportError as error:
        raise ValueError(f"{path} needs the extra [text]: pip install 'genjax[text]'") from error
    try:
        return load_file(path)
    except SafetensorError as error:
        raise ValueError(f"{path} is no whole safetensors file: {error}") from error


def _read_torch(path: Path) -> dict[str, np.ndarray]:
    if not zipfile.is_zipfile(path):
        raise ValueError(f"{path} is neither safetensors nor an archive as PyTorch writes them since version 1.6")
    with zipfile.ZipFile(path) as archive:
        pickles = [name for name in archive.namelist() if name.endswith("data.pkl")]
        if len(pickles) != 1:
            raise ValueError(f"{path} is an archive, but not of PyTorch's")
        try:
            found = _Reader(archive, pickles[0]).load()
        except pickle.UnpicklingError as error:
            raise ValueError(f"{path} can't be read: {error}") from error
    for key in ("state_dict", "model", "ema"):
        if isinstance(found, Mapping) and isinstance(found.get(key), Mapping):
            found = found[key]
    if not isinstance(found, Mapping) or not all(isinstance(value, np.ndarray) for value in found.values()):
        raise ValueError(f"{path} holds no state dict: it should be a mapping from names to tensors")
    return dict(found)


class _Reader(pickle.Unpickler):
    """A pickle of tensors; each comes back as the array that it is."""

    def __init__(self, archive: zipfile.ZipFile, name: str):
        super().__init__(io.BytesIO(archive.read(name)))
        self._archive, self._folder = archive, name.removesuffix("data.pkl")

    def find_class(self, module: str, name: str):
        if module == "torch" and name in _DTYPES:
            return name
        known = {
            ("collections", "OrderedDict"): OrderedDict,
            ("torch._utils", "_rebuild_tensor_v2"): _strided,
            ("torch._utils", "_rebuild_parameter"): lambda array, *others: array,
        }
        if (module, name) not in known:
            raise pickle.UnpicklingError(f"it holds a {module}.{name}, and only tensors are read")
        return known[module, name]

    def persistent_load(self, key):
        kind, dtype, name, *_ = key
        if kind != "storage" or dtype not in _DTYPES:
            raise pickle.UnpicklingError(f"it holds a {kind} of {dtype}, and only tensors are read")
        return np.frombuffer(self._archive.read(f"{self._folder}data/{name}"), _DTYPES[dtype])


def _strided(storage: np.ndarray, offset: int, shape: tuple[int, ...], strides: tuple[int, ...], *others) -> np.ndarray:
    """The tensor of a storage; strides are in elements."""
    steps = [stride * storage.itemsize for stride in strides]
    return np.lib.stride_tricks.as_strided(storage[offset:], shape, steps, writeable=False)
