"""Prepared TFDS datasets in the data folder: found by their place, built where they are our own, or downloaded."""

import contextlib
import importlib
import io
import logging
import re
from typing import NamedTuple

from genjax.core.arguments import arg
from genjax.data.records import DatasetNotFound

log = logging.getLogger(__name__)

EMBEDDED = {
    "digits": ("genjax.data.builders.digits", "Digits"),
    "captioned_shapes": ("genjax.data.builders.captioned_shapes", "CaptionedShapes"),
}
"""Datasets of our own: name -> (module, TFDS builder class)."""


class Name(NamedTuple):
    """A TFDS name taken apart: `dataset/config:version`."""

    dataset: str
    config: str = ""
    version: str = ""

    def __str__(self) -> str:
        config, version = self.config and f"/{self.config}", self.version and f":{self.version}"
        return f"{self.dataset}{config}{version}"


def parse(name: str) -> Name:
    """A name taken apart.

    Raises:
        ValueError: if it is none.
    """
    match = re.fullmatch(r"(\w+)(?:/([\w.+-]+(?:/[\w.+-]+)*))?(?::(\d+\.\d+\.\d+))?", name)
    if not match:
        raise ValueError(
            f"dataset name {name!r} is none of 'dataset', 'dataset/config', 'dataset/config:1.0.0', 'folder:/path'"
        )
    dataset, config, version = match.groups(default="")
    return Name(dataset, config, version)


def find(wanted: Name, root: str):
    """The folder that holds a prepared dataset, newest version first, or None.

    Raises:
        ValueError: where there are several configurations, and none is named.
    """
    from etils import epath

    home = epath.Path(root) / wanted.dataset
    if not home.is_dir():
        return None
    if wanted.config:
        return _newest_version(home / wanted.config, wanted.version)
    direct = _newest_version(home, wanted.version)
    if direct is not None:
        return direct
    configs = {
        child.name: version
        for child in home.iterdir()
        if child.is_dir() and (version := _newest_version(child, wanted.version)) is not None
    }
    if len(configs) > 1:
        raise ValueError(
            f"dataset {wanted.dataset!r} is prepared in {root} in several configurations: write one of "
            + ", ".join(f"'{wanted.dataset}/{config}'" for config in sorted(configs))
        )
    return next(iter(configs.values()), None)


def _newest_version(home, version: str):
    """The subfolder of one version, or of the newest, that TFDS finished writing."""
    if not home.is_dir():
        return None
    found = [
        child
        for child in home.iterdir()
        if re.fullmatch(r"\d+\.\d+\.\d+", child.name)
        and (not version or child.name == version)
        and (child / "dataset_info.json").exists()
    ]
    return max(found, key=lambda child: tuple(map(int, child.name.split("."))), default=None)


def build(wanted: Name, root: str):
    """Build an embedded dataset into the data folder and return where it lies.

    Raises:
        ValueError: for a configuration or version that it hasn't.
        DatasetNotFound: where it can't be built.
    """
    import tensorflow_datasets as tfds

    builder_class = _embedded_class(wanted)
    log.info("building %s in %s", wanted, root)
    tfds.display_progress_bar(False)
    try:
        with contextlib.redirect_stdout(io.StringIO()):
            builder = builder_class(data_dir=root, config=wanted.config or None, file_format="array_record")
            builder.download_and_prepare(download_config=tfds.download.DownloadConfig(try_download_gcs=False))
        problem = f"lies half written in {builder.data_path}: delete this folder and start again"
    except OSError as error:
        problem = (
            f"can't be built in {root} ({error}): set {arg('data_dir')} or TFDS_DATA_DIR to a folder that "
            "can be written to"
        )
    finally:
        tfds.display_progress_bar(True)
    # Where another process builds the same, the slower of the two fails on the folder's name; here it is.
    found = find(wanted, root)
    if found is None:
        raise DatasetNotFound(f"dataset '{wanted}' {problem}")
    return found


def _embedded_class(wanted: Name):
    """The builder class of an embedded dataset, once the name is known to fit it."""
    module, class_name = EMBEDDED[wanted.dataset]
    builder_class = getattr(importlib.import_module(module), class_name)
    configs = [config.name for config in builder_class.BUILDER_CONFIGS]
    if configs and not wanted.config:
        raise ValueError(
            f"dataset {wanted.dataset!r} comes in several sizes: write one of "
            + ", ".join(f"'{wanted.dataset}/{config}'" for config in configs)
        )
    if wanted.config and not configs:
        raise ValueError(f"dataset {wanted.dataset!r} comes in one size: write '{wanted.dataset}'")
    if wanted.config and wanted.config not in configs:
        raise ValueError(f"dataset {wanted.dataset!r} has the sizes {configs}, not {wanted.config!r}")
    if wanted.version and wanted.version != str(builder_class.VERSION):
        raise ValueError(f"dataset {wanted.dataset!r} has version {builder_class.VERSION}, not {wanted.version}")
    return builder_class


def download(wanted: Name, root: str):
    """Let TFDS download and prepare a dataset as ArrayRecord, and return where it lies.

    Raises:
        DatasetNotFound: where that fails, with the reason.
    """
    import tensorflow_datasets as tfds

    try:
        tfds.builder(str(wanted), data_dir=root, file_format="array_record").download_and_prepare()
    except Exception as error:
        raise DatasetNotFound(
            f"dataset '{wanted}' can't be downloaded and prepared in {root}: {type(error).__name__}: "
            f"{_first_line(error)}; preparing most TFDS datasets needs network and an installed tensorflow"
        ) from error
    return find(wanted, root)


def _first_line(error: BaseException) -> str:
    lines = str(error).strip().splitlines()
    return lines[0] if lines else "no message"
