"""The files and runs that a request names, looked at before anything is loaded or compiled."""

from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

from genjax.core import paths
from genjax.data import transforms
from genjax.pipelines import masks
from genjax.training import nesting, workdir


class Named(NamedTuple):
    """What a request names.

    Attributes:
        images: paths of images.
        masks: paths of masks of the first of them.
        runs: workdirs.
    """

    images: tuple[str, ...] = ()
    masks: tuple[str, ...] = ()
    runs: tuple[str, ...] = ()


def check(flag: str, named: Named) -> None:
    """Nothing, if all that a flag names is there and can be read.

    Args:
        flag: `--NAME=VALUE`, as typed.
        named: what it names.

    Raises:
        ValueError: in one line, with the flag, for a file that isn't there, isn't readable or is no image, a mask of
            other proportions than its image, or a run that isn't there or has no checkpoint.
    """
    pixels = [_read(flag, path, transforms.decode) for path in named.images]
    for path in named.masks:
        kept = _read(flag, path, masks.read)
        _read(flag, path, partial(masks.check_proportions, kept=kept, image=named.images[0], pixels=pixels[0]))
    for folder in named.runs:
        _read(flag, folder, _check_run)


def _read(flag: str, path: str, read: Callable[[Any], Any]) -> Any:
    """What a file holds, with errors that name the flag."""
    try:
        return read(paths.local(path))
    except FileNotFoundError as error:
        raise ValueError(f"{flag}: there is no file {paths.local(path)}") from error
    except OSError as error:
        reason = f"{paths.local(path)} can't be read: {error.strerror.lower()}" if error.strerror else error
        raise ValueError(f"{flag}: {reason}") from error
    except ValueError as error:
        raise ValueError(f"{flag}: {error}") from error


def _check_run(folder: Any) -> None:
    """A workdir with a checkpoint."""
    place = nesting.locate(folder)
    workdir.read_config(place)
    steps = place / "checkpoints"
    if not (steps.is_dir() and any(child.name.isdigit() for child in steps.iterdir())):
        raise ValueError(f"{place} holds no checkpoint yet; train it with genjax-train --workdir={place}")
