"""Files of public checkpoints as mappings from names to numpy arrays, without PyTorch.

`.safetensors` are read by the library of that name, what PyTorch writes by `genjax.pretrained.torch_files`. What a file
is, its first bytes tell, not its name. A folder of the hub is read by the file in it, or, where `*.index.json` says
that there are several, by all of them.

Two things that people do to state dicts before they save them are undone. Several in one file, such as `{"model": ...,
"ema": ...}`: the moving average is taken where there is one, which is said, or the one that `weights` names. And a
wrapper's name before all keys, such as `module.`, is taken off.
"""

import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import ml_dtypes  # noqa: F401  (numpy knows bfloat16 by its name once this is imported)
import numpy as np
from safetensors import SafetensorError
from safetensors.numpy import load_file

from genjax.core import files
from genjax.pretrained.torch_files import TorchFile, is_state_dict

NAMES = (
    "model.safetensors",
    "diffusion_pytorch_model.safetensors",
    "pytorch_model.bin",
    "diffusion_pytorch_model.bin",
)
"""What a checkpoint is called in a folder of the hub."""

RAW = ("state_dict", "model", "model_state_dict", "params", "net")
"""Entries that hold a network's weights, in files that have several; the first of these is taken."""

_WRAPPERS = re.compile(r"(^|\.)(_orig_mod|_fsdp_wrapped_module|_checkpoint_wrapped_module)\.")
"""Modules around a module, of torch.compile and the like, anywhere in a key."""

_PREFIXES = ("module.", "model.")
"""Names that are taken off where all keys begin with them: DataParallel's, AveragedModel's, a trainer's."""

_OTHER_FILES = (
    (rb"\s*<\?xml", "an XML text, and a file of weights is expected"),
    (rb"\s*[\[{]\s*[\"\]}]", "a JSON text, and a file of weights is expected"),
    (rb"\x80[\x02-\x05]", "a bare pickle, as PyTorch wrote before 1.6: torch.load it there and torch.save it again"),
    (rb"GGUF", "a GGUF file, whose weights are quantized: fetch the safetensors that it was made of"),
    (rb"\x89HDF", "an HDF5 file, and safetensors or a file of PyTorch is expected"),
    (rb"\x1f\x8b|BZh|\xfd7zXZ|7z\xbc\xaf", "a compressed file: unpack it first"),
    (rb"\x93NUMPY", "a single numpy array, and safetensors or a file of PyTorch is expected"),
)
"""How files begin that people take for weights, beside those of `genjax.core.files`, and what to say of them."""


def read_arrays(path: str | Path, weights: str = "") -> dict[str, np.ndarray]:
    """Name -> array, of a file or a folder.

    Args:
        path: of a file, or of a folder that holds one.
        weights: which of several state dicts in one file; "" for the moving average, or what there is.

    Raises:
        ValueError: in one line, if there is no checkpoint, or one that can't be read here.
    """
    path = Path(path)
    try:
        arrays = _read_folder(path, weights) if path.is_dir() else _read_file(path, weights)
    except OSError as error:
        raise ValueError(f"{path} can't be read: {error.strerror or error}") from error
    if not arrays:
        raise ValueError(f"{path} holds no tensors; fetch it again")
    return without_wrappers(arrays)


def _read_folder(folder: Path, weights: str) -> dict[str, np.ndarray]:
    """The arrays of all files of a checkpoint in a folder."""
    for name in NAMES:
        index = folder / f"{name}.index.json"
        if index.is_file():
            return _read_parts(index, weights)
        if (folder / name).is_file():
            return _read_file(folder / name, weights)
    raise ValueError(f"there is no checkpoint in the folder {folder}; looked for {', '.join(NAMES)}")


def _read_parts(index: Path, weights: str) -> dict[str, np.ndarray]:
    """The arrays of the files that an index names, each tensor from the file that the index says."""
    if found := files.instead(files.read_head(index)):
        raise ValueError(f"{index} is {found}")
    try:
        places = json.loads(index.read_text())["weight_map"]
        parts = sorted(set(places.values()))
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise ValueError(f"{index} is no index of a checkpoint: it has no whole weight_map") from error
    beside = {path.name for path in index.parent.iterdir() if path.is_file()}
    absent = [part for part in parts if part not in beside]
    if absent:
        raise ValueError(f"{index} names {len(absent)} files that aren't beside it, such as {absent[0]}")
    arrays: dict[str, np.ndarray] = {}
    for part in parts:
        read = _read_file(index.parent / part, weights)
        missing = [name for name, place in places.items() if place == part and name not in read]
        if missing:
            raise ValueError(f"{index}: {part} lacks {len(missing)} tensors, such as {missing[0]!r}; fetch it again")
        arrays |= read
    return arrays


def _read_file(path: Path, weights: str) -> dict[str, np.ndarray]:
    if not path.exists():
        raise ValueError(f"there is no checkpoint {path}")
    if not path.is_file():
        raise ValueError(f"{path} is neither a file nor a folder")
    start = files.read_head(path)
    if found := files.instead(start):
        raise ValueError(f"{path} is {found}")
    if start.startswith(b"PK\x03\x04"):
        return _read_torch(path, weights)
    for pattern, words in _OTHER_FILES:
        if re.match(pattern, start.removeprefix(b"\xef\xbb\xbf"), re.IGNORECASE):
            raise ValueError(f"{path} is {words}")
    if start[8:9] != b"{" and path.suffix != ".safetensors":
        raise ValueError(f"{path} is neither safetensors nor an archive as PyTorch writes them since version 1.6")
    return _read_safetensors(path, weights)


def _read_safetensors(path: Path, weights: str) -> dict[str, np.ndarray]:
    if weights:
        raise ValueError(f"{path} holds one set of weights: leave --weights={weights} out")
    try:
        return load_file(path)
    except SafetensorError as error:
        raise ValueError(f"{path} is no whole safetensors file: {error}") from error
    except (AttributeError, TypeError, KeyError, ValueError) as error:  # of types that numpy has no name for
        kind = str(error).rpartition("attribute ")[2].strip("'") or error
        raise ValueError(f"{path} holds tensors of the type {kind}; save it as float32, which can be read") from error


def _read_torch(path: Path, weights: str) -> dict[str, np.ndarray]:
    file = TorchFile(path)
    tensors = _choose(path, _state_dicts(file.content), weights)
    return {key: file.array(key, tensor) for key, tensor in tensors.items()}


def _state_dicts(found: Any, prefix: str = "") -> dict[str, Mapping[str, Any]]:
    """All mappings from names to tensors within a value, by their place in it: "" is the value itself."""
    if is_state_dict(found):
        return {prefix: found}
    nested = found.items() if isinstance(found, Mapping) and prefix.count(".") < 3 else ()
    inner = {f"{prefix}.{key}".lstrip("."): value for key, value in nested if isinstance(key, str)}
    return {place: tensors for key, value in inner.items() for place, tensors in _state_dicts(value, key).items()}


def _choose(path: Path, candidates: Mapping[str, Mapping[str, Any]], weights: str) -> Mapping[str, Any]:
    """The state dict that `weights` names, or the moving average, or the only one, or that with a usual name."""
    if not candidates:
        raise ValueError(f"{path} holds no state dict: a mapping from names to tensors is expected")
    names = list(candidates)
    if weights:
        if weights not in candidates:
            raise ValueError(f"{path} has no weights {weights!r}; --weights is one of {', '.join(names)}")
        return candidates[weights]
    averages = [name for name in names if re.search(r"(^|[._])ema", name, re.IGNORECASE)]
    usual = [name for usual in RAW for name in names if name.split(".")[-1] == usual]
    sure = averages if averages else usual[:1] or (names if len(names) == 1 else [])
    if len(sure) != 1:
        raise ValueError(f"{path} holds several sets of weights; name one, --weights={' or '.join(sure or names)}")
    if len(names) > 1:
        kind = " (moving average)" if averages else ""
        print(f"{path} holds {', '.join(names)}: took {sure[0]}{kind}; --weights=NAME takes another", flush=True)
    return candidates[sure[0]]


def without_wrappers(arrays: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    """The arrays without the names that wrappers around a network put before all its own."""
    named = {_unwrapped(name): array for name, array in arrays.items()}
    while True:
        rest = {name: array for name, array in named.items() if name != "n_averaged"}
        prefix = next((one for one in _PREFIXES if rest and all(name.startswith(one) for name in rest)), None)
        if prefix is None:
            return named if len(named) == len(arrays) else dict(arrays)
        arrays = rest
        named = {name.removeprefix(prefix): array for name, array in rest.items()}


def _unwrapped(name: str) -> str:
    while (shorter := _WRAPPERS.sub(r"\1", name)) != name:
        name = shorter
    return name
