"""One name, one source: embedded datasets, any TFDS dataset, or a folder of a person's own images.

`find(name)` understands

    "digits", "captioned_shapes/32", "captioned_shapes/64"     built on first use, in seconds, with no network
    "mnist", "imagenet_resized/64x64", "coco_captions:1.1.0"   any TFDS dataset, prepared in the data folder
    "folder:/path/to/images"                                 see `genjax.data.folder`

The data folder is `data_dir`, or else `$TFDS_DATA_DIR`, or else `~/tensorflow_datasets`, as in TFDS itself.
Prepared data is found by its place there (`name/config/version`), so the code that prepared it need not be
present.

No TensorFlow: records are read as ArrayRecord, and images are decoded by `genjax.data.transforms.decode`.
Nothing touches the network unless requested, by `download=True` or the environment variable `GENJAX_DOWNLOAD=1`:
offline, TFDS would retry for minutes.
"""

import contextlib
import io
import os
import re
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any

import numpy as np

from genjax.core import paths
from genjax.core.arguments import ArgumentError, arg
from genjax.data import folder, identity, preparation, transforms
from genjax.data.broken import BrokenImage, decoded
from genjax.data.records import About, DatasetNotFound, Record, Source, SplitNotFound
from genjax.typing import DataSpec

_READ_AT_ONCE = 256


Dataset = Callable[[str], Source]
"""A dataset that was found: split -> its examples.

The split is one of the dataset's, or of TFDS a slice in its notation such as "train[:90%]". One that there isn't raises
`SplitNotFound`, a data format that can't be read a ValueError.
"""


def find(name: str, data_dir: str = "", download: bool = False) -> Dataset:
    """Find a dataset by name; a folder is looked at once, and all its splits are as it was then.

    Args:
        name: see the module's docstring.
        data_dir: where prepared data lies; "" for TFDS's own default.
        download: let TFDS download and prepare a dataset that is missing, for which most need TensorFlow.

    Raises:
        DatasetNotFound: nothing under that name (both a FileNotFoundError and a ValueError).
        ValueError: a configuration or data format that can't be read.
    """
    if name.startswith("folder:"):
        return folder.look(name.removeprefix("folder:")).open
    wanted = preparation.parse(name)
    root = data_folder(data_dir)
    found = preparation.find(wanted, root)
    if found is None and wanted.dataset in preparation.EMBEDDED:
        found = preparation.build(wanted, root)
    if found is None and (download or os.environ.get("GENJAX_DOWNLOAD", "") not in ("", "0")):
        found = preparation.download(wanted, root)
    if found is None:
        return partial(_from_registry, wanted, root)
    return _prepared(name, found)


def open_source(name: str, split: str, data_dir: str = "", download: bool = False) -> Source:
    """Find a dataset and open one split of it; see `find`."""
    return find(name, data_dir, download)(split)


def data_folder(data_dir: str = "") -> str:
    """The folder of prepared data: `data_dir`, `$TFDS_DATA_DIR` or `~/tensorflow_datasets`.

    Raises:
        ValueError: for other storage than local files, or where there is no home.
    """
    chosen = data_dir or os.environ.get("TFDS_DATA_DIR", "") or os.path.join("~", "tensorflow_datasets")
    try:
        return str(paths.local(chosen))
    except ValueError as error:
        raise ArgumentError(f"set {arg('data_dir')} or TFDS_DATA_DIR to another folder: {error}") from error


def _from_registry(wanted: preparation.Name, root: str, split: str) -> Source:
    """A dataset outside the data folder, through TFDS's registry, which `tfds.testing.mock_data` patches.

    Outside such a test it can't be read, and the error says whether the name is unknown or only the data
    missing.
    """
    import difflib

    import tensorflow_datasets as tfds

    known = tfds.list_builders(with_community_datasets=False)
    if wanted.dataset not in known:
        names = dict.fromkeys([*preparation.EMBEDDED, *known])
        close = difflib.get_close_matches(wanted.dataset.lower(), names, n=3)
        raise DatasetNotFound(
            f"dataset {wanted.dataset!r} isn't in {root} and TFDS knows no such name"
            + (f"; is it {' or '.join(map(repr, close))}?" if close else "")
            + f"; {arg('data_dir')} or TFDS_DATA_DIR says where prepared data lies, "
            "'folder:/path' reads your own images"
        )
    try:
        # Constructing some builders fails without TensorFlow; reading unprepared data always fails.
        with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
            builder = tfds.builder(str(wanted), data_dir=root)
            data = builder.as_data_source(split=split)
    except Exception as error:
        raise DatasetNotFound(
            f"dataset '{wanted}' isn't prepared in {root}, and nothing is downloaded unasked: point "
            f"{arg('data_dir')} or TFDS_DATA_DIR to where it is, or on a machine with network and "
            'tensorflow set GENJAX_DOWNLOAD=1, or run: python -c "import tensorflow_datasets as tfds; '
            f"tfds.builder('{wanted}', data_dir='{root}', file_format='array_record')"
            '.download_and_prepare()"'
        ) from error
    return _source(str(wanted), split, builder.info, data)


def _prepared(name: str, place) -> Dataset:
    """A dataset that lies prepared in `place`."""
    import tensorflow_datasets as tfds

    try:
        builder = tfds.builder_from_directory(place)
        builder.info.features  # noqa: B018  read now, so that what is wrong is said here
    except Exception as error:  # of several kinds, for files that are cut, altered or missing
        raise _damaged(name, place, error) from error
    return partial(_open_prepared, name, place, builder)


def _open_prepared(name: str, place, builder, split: str) -> Source:
    """Read one split of a dataset that lies prepared in `place`."""
    import tensorflow_datasets as tfds

    features = builder.info.features
    base = re.split(r"[\[+]", split)[0]
    if base != "all" and base not in builder.info.splits:
        splits = sorted(builder.info.splits)
        raise SplitNotFound(f"dataset {name!r} has the splits {splits}, not {split!r}", splits)
    image = _image_key(name, features)
    try:
        data = builder.as_data_source(split=split, decoders={image: tfds.decode.SkipDecoding()})
        if not len(data):
            raise ValueError("it is empty")
        data[0]  # Opens the files, which nothing else does before training.
    except NotImplementedError as error:
        raise ValueError(
            f"dataset {name!r} in {place} is stored as {builder.info.file_format.value}, which can't "
            "be read without TensorFlow: prepare it again with file_format='array_record'"
        ) from error
    except RuntimeError as error:
        raise _damaged(name, place, error) from error
    except ValueError as error:
        raise ValueError(
            f"dataset {name!r}: the split {split!r} can't be read ({_last_line(error)}): write it as 'train', "
            "'train[:90%]' or 'train[100:]'"
        ) from error
    text = _text_key(features)
    parse_text = tfds.features.FeaturesDict({text: features[text]}) if text else None
    return _source(name, split, builder.info, data, parse_text)


def _damaged(name: str, place, error: BaseException) -> DatasetNotFound:
    return DatasetNotFound(
        f"dataset {name!r} lies damaged or half written in {place} ({_last_line(error)}): delete this folder, and "
        "prepare it again"
    )


def _last_line(error: BaseException) -> str:
    lines = str(error).strip().splitlines()
    return lines[-1] if lines else type(error).__name__


def _source(name: str, split: str, info, data, parse_text=None) -> Source:
    """Wrap a TFDS data source, knowing from its features which field is what; `parse_text` reads captions alone."""
    features = info.features
    image, label, text = _image_key(name, features), _label_key(info), _text_key(features)
    shape = features[image].shape
    known = len(shape) == 3 and None not in shape
    channels = {2: 1, 4: 3}.get(shape[-1], shape[-1]) if known else 0
    spec = DataSpec(
        image_shape=(shape[0], shape[1], channels) if known else (0, 0, 0),
        num_classes=features[label].num_classes if label else 0,
        class_names=tuple(features[label].names) if label else (),
        num_examples=len(data),
        has_text=bool(text),
        fingerprint=identity.fingerprint(
            {
                split: (found.num_examples, [str(info.version), *map(str, found.shard_lengths)], [])
                for split, found in info.splits.items()
            }
        ),
    )
    about = About(
        f"dataset {name}",
        {split: found.num_examples for split, found in info.splits.items()},
        sizes=((shape[1], shape[0]),) if known else (),
    )
    records = _TfdsRecords(data, image, label, text, parse_text, f"{about.title} ({split})", spec.num_classes)
    return Source(records, spec, about)


def _image_key(name: str, features) -> str:
    """The field with the image: `image` if there is one, else the only image field."""
    import tensorflow_datasets as tfds

    images = [key for key, feature in features.items() if type(feature) is tfds.features.Image]
    if "image" in images:
        return "image"
    if len(images) != 1:
        raise ValueError(f"dataset {name!r} has the fields {sorted(features)}: no single image, but {images}")
    return images[0]


def _label_key(info) -> str:
    """The field with the class: `label`, or else the target that TFDS calls supervised; else ''."""
    import tensorflow_datasets as tfds

    for key in ("label", *(info.supervised_keys or ())[1:2]):
        if key in info.features and isinstance(info.features[key], tfds.features.ClassLabel):
            return key
    return ""


def _text_key(features) -> str:
    """The field with the captions, else ''. File names are texts too, so only known names count."""
    import tensorflow_datasets as tfds

    for key in ("text", "caption", "captions"):
        inner = features[key] if key in features else None
        inner = getattr(inner, "feature", inner)
        if isinstance(inner, tfds.features.FeaturesDict):
            inner = inner["text"] if "text" in inner else None
        scalar = isinstance(inner, tfds.features.Tensor) and inner.shape == ()
        if scalar and np.dtype(inner.np_dtype).kind == "O":
            return key
    return ""


class _TfdsRecords:
    """TFDS examples as records: image decoded here, class as int, captions as str, the rest as it comes.

    An example that can't be read or decoded, or whose class is -1, as TFDS writes one that isn't known, is broken.
    """

    def __init__(self, data, image: str, label: str, text: str, parse_text=None, title: str = "", classes: int = 0):
        self._data, self._image, self._label, self._text = data, image, label, text
        self._parse_text, self._title, self._classes = parse_text, title, classes

    def __len__(self) -> int:
        return len(self._data)

    def __getitem__(self, index: int) -> Record:
        name = f"example {index} of {self._title}"
        example = decoded(lambda place, _: self._data[place], index, name)
        known = (self._image, self._label, self._text)
        record = {key: value for key, value in example.items() if key not in known}
        image = example[self._image]
        decode = transforms.decode if isinstance(image, bytes) else lambda pixels, _: transforms.from_array(pixels)
        record["image"] = decoded(decode, image, name)
        if self._label:
            record["label"] = int(example[self._label])
            if not 0 <= record["label"] < self._classes:
                raise BrokenImage(f"{name} has the label {record['label']}: its classes are 0 to {self._classes - 1}")
        if self._text:
            record["text"] = _captions(example[self._text])
        return record

    def captions(self, indices: Sequence[int]) -> list[tuple[str, ...]]:
        """The captions of examples, without their images: where it can be, only this field is parsed."""
        if not self._text:
            return [() for _ in indices]
        found = []
        for start in range(0, len(indices), _READ_AT_ONCE):
            part = indices[start : start + _READ_AT_ONCE]
            if self._parse_text is None:
                found += [self._data[index][self._text] for index in part]
            else:
                raw = self._data.data_source.__getitems__(list(part))
                found += [self._parse_text.deserialize_example_np(record)[self._text] for record in raw]
        captions = [_captions(value) for value in found]
        return [(caption,) if isinstance(caption, str) else caption for caption in captions]


def _captions(value: Any) -> str | tuple[str, ...]:
    """One caption as str, several as a tuple of str, from any of the shapes in which TFDS gives them."""
    if isinstance(value, Mapping):
        value = value["text"]
    if isinstance(value, np.ndarray):
        value = value.tolist()
    if isinstance(value, (list, tuple)):
        texts = [item["text"] if isinstance(item, Mapping) else item for item in value]
        return tuple(map(transforms.as_text, texts))
    return transforms.as_text(value)
