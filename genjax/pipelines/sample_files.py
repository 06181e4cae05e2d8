"""Samples in files, of genjax or of another project, read as whatever they say they are.

    .npz     `arr_0` images, `arr_1` labels, `prompts`; without `arr_0` the only array that has the shape of images
    .npy     images
    folder   of .png, .jpg and .webp files, in the order of their names

Images are whole numbers 0..255, or floats in [0, 1], [-1, 1] or [0, 255]; [n, h, w, c], [n, c, h, w] or [n, h, w].
Labels are numbers of classes, or one-hot. What was taken for what is said in one line.
"""

import logging
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from genjax.core import files
from genjax.data import transforms
from genjax.generate import Drawn
from genjax.typing import DataSpec, ImageUint8, Int

log = logging.getLogger(__name__)

SUFFIXES = (".png", ".jpg", ".jpeg", ".webp")
CHANNELS = (1, 3)


def read(path: Path) -> Drawn:
    """The samples of a file or a folder.

    Raises:
        ValueError: for what isn't there, is damaged, or holds no images; names the file.
    """
    try:
        return _read(path)
    except (ValueError, OSError) as error:
        raise ValueError(f"--samples={path} can't be read: {error or type(error).__name__}") from error


def _read(path: Path) -> Drawn:
    if path.is_dir():
        return Drawn(_read_folder(path))
    if not path.exists():
        raise ValueError("there is no such file")
    if path.suffix.lower() in SUFFIXES:
        raise ValueError("it is one image: name a folder of them, or the samples.npz that is beside a samples.png")
    arrays = _arrays(path)
    name = "arr_0" if "arr_0" in arrays else _only_images(arrays)
    images = to_images(arrays[name])
    labels = _labels(arrays["arr_1"]) if "arr_1" in arrays and name != "arr_1" else None
    prompts = tuple(map(str, np.ravel(arrays["prompts"]))) if "prompts" in arrays else None
    beside: dict[str, Any] = {"labels": labels, "prompts": prompts}
    for what, found in beside.items():
        if found is not None and len(found) != len(images):
            raise ValueError(f"it has {len(images)} images and {len(found)} {what}")
    return Drawn(images, labels, None, prompts)


def _arrays(path: Path) -> Mapping[str, np.ndarray]:
    """Name -> array; that of a .npy is arr_0."""
    start = files.read_head(path)
    if found := files.instead(start):
        raise ValueError(f"it is {found}")
    if start[:4] not in (b"PK\x03\x04", b"PK\x05\x06") and start[:6] != b"\x93NUMPY":
        raise ValueError("it is neither .npz nor .npy, nor a folder of images")
    try:
        loaded = np.load(path, allow_pickle=False)
        if isinstance(loaded, np.ndarray):
            return {"arr_0": loaded}
        with loaded:
            return {name: loaded[name] for name in loaded.files}
    except OSError:
        raise
    except MemoryError as error:
        raise ValueError(f"its header says more than fits the memory: {error}") from error
    except Exception as error:  # zipfile and numpy raise many kinds of exceptions for damaged files
        if "allow_pickle" in str(error):
            raise ValueError("it holds Python objects, which are never read: save plain arrays of numbers") from error
        raise ValueError(f"it is cut or damaged: {error or type(error).__name__}") from error


def _only_images(arrays: Mapping[str, np.ndarray]) -> str:
    found = [name for name, array in arrays.items() if np.ndim(array) == 4]
    if len(found) != 1:
        raise ValueError(f"it has no arr_0 of images, but {sorted(arrays) or 'nothing'}")
    log.warning("the images are taken from %r: there is no arr_0", found[0])
    return found[0]


def _read_folder(folder: Path) -> ImageUint8:
    paths = sorted(path for path in folder.iterdir() if path.suffix.lower() in SUFFIXES)
    if not paths:
        raise ValueError(f"the folder has no images ({', '.join(SUFFIXES)})")
    images = [transforms.decode(path) for path in paths]
    shapes = {image.shape for image in images}
    if len(shapes) > 1:
        raise ValueError(f"its images have several shapes, {' and '.join(map(str, sorted(shapes)[:3]))}")
    return np.stack(images)


def to_images(array: np.ndarray) -> ImageUint8:
    """An array of images as uint8 [n, h, w, c], see the module's head.

    Raises:
        ValueError: for an array that holds none, NaN, or values of no known range.
    """
    if not array.size:
        raise ValueError(f"there are no images in an array of shape {array.shape}")
    if array.ndim == 3:
        array = array[..., None]
    if array.ndim == 4 and array.shape[-1] not in CHANNELS and array.shape[1] in CHANNELS:
        log.warning("images of shape %s are taken as [n, c, h, w]", array.shape)
        array = array.transpose(0, 2, 3, 1)
    if array.ndim != 4 or array.shape[-1] not in CHANNELS:
        raise ValueError(f"an array of shape {array.shape} holds no images [n, h, w, c] of 1 or 3 channels")
    return _to_uint8(array)


def _to_uint8(array: np.ndarray) -> ImageUint8:
    if array.dtype == np.uint8:
        return np.ascontiguousarray(array)
    if array.dtype.kind not in "uibf":
        raise ValueError(f"values of type {array.dtype} are no pixels")
    values = array.astype(np.float64)
    if not np.isfinite(values).all():
        raise ValueError("some values are NaN or infinite")
    low, high = float(values.min()), float(values.max())
    floats = array.dtype.kind in "bf"
    if floats and -1 <= low < 0 and high <= 1:
        scale, offset, known = 127.5, 127.5, "[-1, 1]"
    elif floats and 0 <= low and high <= 1:
        scale, offset, known = 255.0, 0.0, "[0, 1]"
    elif 0 <= low and high <= 255:
        scale, offset, known = 1.0, 0.0, "[0, 255]"
    else:
        raise ValueError(f"values from {low:g} to {high:g} are in none of [0, 255], [0, 1] and [-1, 1]")
    log.warning("values of type %s from %.3g to %.3g are taken as %s", array.dtype, low, high, known)
    return np.round(values * scale + offset).astype(np.uint8)


def _labels(array: np.ndarray) -> Int[np.ndarray, " n"]:
    """Labels as int32 [n]: numbers of classes, or one-hot rows."""
    if array.dtype.kind not in "uibf":
        raise ValueError(f"labels of type {array.dtype} are no numbers of classes")
    if array.ndim == 2 and array.shape[1] > 1:
        if not (((array == 0) | (array == 1)).all() and (array.sum(axis=1) == 1).all()):
            raise ValueError(f"labels of shape {array.shape} are neither numbers of classes nor one-hot")
        return array.argmax(axis=1).astype(np.int32)
    array = array.reshape(-1) if array.ndim == 2 else array
    if array.ndim != 1 or not np.isfinite(array).all() or (array != np.floor(array)).any():
        raise ValueError(f"labels of shape {array.shape} are no whole numbers of classes")
    beyond = array[(array < 0) | (array > np.iinfo(np.int32).max)]
    if beyond.size:
        raise ValueError(f"it has the label {beyond[0]:g}: classes are numbered from 0")
    return array.astype(np.int32)


def check(drawn: Drawn, spec: DataSpec) -> None:
    """Nothing, for samples of the shape and the classes of the data that they will be compared with.

    Raises:
        ValueError: for others.
    """
    if drawn.images.shape[1:] != tuple(spec.image_shape):
        shape = drawn.images.shape[1:]
        raise ValueError(f"--samples: its images of {shape} can't be compared with data of {spec.image_shape}")
    if drawn.labels is not None and not spec.num_classes:
        raise ValueError("--samples: it has labels, and the data has none")
    if drawn.labels is not None and not ((drawn.labels >= 0) & (drawn.labels < spec.num_classes)).all():
        wrong = drawn.labels[(drawn.labels < 0) | (drawn.labels >= spec.num_classes)][0]
        last = spec.num_classes - 1
        raise ValueError(f"--samples: it has the label {wrong}; the classes of the data are 0 to {last}")
