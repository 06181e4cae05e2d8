"""Images edited by any trained diffusion model: what a person requests, as conditions of its sampling.

    --inpaint=IMAGE:MASK         what is black or transparent in MASK is made anew, what is white or opaque is kept
                                   (`genjax.pipelines.masks`; RePaint, arXiv:2201.09865)
    --outpaint=IMAGE:RIGHT,DOWN  IMAGE is moved so many pixels within its frame, and what opens is made
    --sdedit=IMAGE:STRENGTH      IMAGE is noised by that share of the steps and denoised (SDEdit, arXiv:2108.01073)
    --interpolate=FROM:TO          images between two, along a great circle of DDIM's latents (arXiv:2010.02502)

    edit = make("inpaint", "photo.png:mask.png")
    stage = stages.load("runs/ddpm", sampling=edit.sampling)
    images.draw(stage, 16, conditions=edit.conditions(stage, 16))

Files are brought to the model's size by their middle square, and to its channels. With guides, they add up.
"""

import logging
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import jax.numpy as jnp
import numpy as np

from genjax.data import transforms
from genjax.diffusion import editing
from genjax.families.interfaces import Conditions
from genjax.pipelines import masks
from genjax.pipelines.named_files import Named
from genjax.pipelines.trained import Trained
from genjax.typing import Float, UInt8

log = logging.getLogger(__name__)

RESAMPLES = 5
"""Times that inpainting walks each stretch of the grid."""
REACH = 0.95
"""Share of the steps that interpolation inverts: at the first, almost nothing of an image is left to come back to."""
USAGE = {
    "inpaint": "IMAGE:MASK, white or opaque = kept",
    "outpaint": "IMAGE:RIGHT,DOWN, in pixels",
    "sdedit": "IMAGE:STRENGTH, from 0 to 1",
    "interpolate": "FROM:TO, two images",
}


class Edit(NamedTuple):
    """What is to be done to images.

    Attributes:
        sampling: overrides of `config.sampling`, for `stages.load`.
        conditions: (stage, count) -> those of as many images, for `images.draw`.
        one_label: whether all images must be of one class, where the model knows of classes.
        named: the files that it reads, for `named_files.check` before the model is loaded.
    """

    sampling: dict[str, Any]
    conditions: Callable[[Trained, int], Conditions]
    one_label: bool = False
    named: Named = Named()


def make(name: str, text: str) -> Edit:
    """The edit that a command line requests.

    Args:
        name: one of `USAGE`.
        text: two parts with a colon between; the first may have colons itself.

    Raises:
        ValueError: for another form. Files are read, and the model looked at, by `conditions`; `named` says which.
    """
    first, _, second = text.rpartition(":")
    if not (first and second):
        raise ValueError(f"--{name}={text} can't be read; write {USAGE[name]}")
    return _EDITS[name](first, second)


def read_image(path: str | Path, stage: Trained) -> Float[np.ndarray, "h w c"]:
    """A file as the stage's model sees images: of its size and channels, in [-1, 1].

    Raises:
        ValueError: if the stage draws no images from noise.
        OSError: if it is no image or can't be read; names it.
    """
    expect_editor(stage)
    return read_as(path, stage.interface.image_shape)


def expect_editor(stage: Trained) -> None:
    """Refuse a stage that can't edit.

    Raises:
        ValueError: if it draws no images from noise.
    """
    interface = stage.interface
    if interface.low_res_shape is not None or (interface.guidable is None and not stage.weights.guides):
        raise ValueError(f"a run of the family {stage.config.family!r} can't edit; only diffusion models can")


def read_as(path: str | Path, image_shape: tuple[int, int, int]) -> Float[np.ndarray, "h w c"]:
    """A file as an image of (height, width, channels), in [-1, 1].

    Raises:
        OSError: if it is no image or can't be read; names it.
    """
    return _fit(transforms.decode(_path(path)), image_shape)


def _path(path: str | Path) -> Path:
    """A path with `~` understood, which a shell doesn't within `NAME=~/...`."""
    return Path(path).expanduser()


def _fit(pixels: UInt8[np.ndarray, "h w c"], image_shape: tuple[int, int, int]) -> Float[np.ndarray, "s s d"]:
    height, _, channels = image_shape
    return transforms.to_float(transforms.to_channels(transforms.center_crop(pixels, height), channels))


def _inpaint(image: str, mask: str) -> Edit:
    def conditions(stage: Trained, count: int) -> Conditions:
        expect_editor(stage)
        shape = stage.interface.image_shape
        pixels, kept = transforms.decode(_path(image)), masks.read(_path(mask))
        masks.check_proportions(mask, kept, image, pixels)
        small = masks.fit(kept, shape[0])
        _say_extremes(mask, small)
        return _repeated(count, known=_fit(pixels, shape), mask=small)

    return Edit({"resamples": RESAMPLES}, conditions, named=Named((image,), (mask,)))


def _say_extremes(mask: str, kept: np.ndarray) -> None:
    """Say when an edit would remake nothing, or everything."""
    size = f"{kept.shape[1]}x{kept.shape[0]} pixels of the model's middle square"
    if kept.all():
        log.warning("%s keeps all %s: nothing is remade; black or transparent is what is to be", mask, size)
    elif not kept.any():
        log.warning("%s keeps none of the %s: everything is remade; white or opaque is what is kept", mask, size)


def _outpaint(image: str, offset: str) -> Edit:
    try:
        right, down = (int(part) for part in offset.split(","))
    except ValueError:
        raise ValueError(f"--outpaint: {offset!r} is no pair of whole numbers; write {USAGE['outpaint']}") from None

    def conditions(stage: Trained, count: int) -> Conditions:
        expect_editor(stage)
        height, width, _ = stage.interface.image_shape
        if abs(right) >= width or abs(down) >= height:
            raise ValueError(
                f"--outpaint: moved by {right},{down} nothing of the image is left in a frame of {width}x{height} "
                f"pixels; RIGHT must be within +-{width - 1} and DOWN within +-{height - 1}"
            )
        if not right and not down:
            log.warning("--outpaint: moved by 0,0 the image fills its frame: nothing is made")
        whole = jnp.asarray(read_image(image, stage)[None])
        known, mask = editing.extend(whole, top=down, bottom=-down, left=right, right=-right)
        return _repeated(count, known=np.asarray(known[0]), mask=np.asarray(mask[0]))

    return Edit({"resamples": RESAMPLES}, conditions, named=Named((image,)))


def _sdedit(image: str, strength: str) -> Edit:
    try:
        share = float(strength)
    except ValueError:
        raise ValueError(f"--sdedit: the strength {strength!r} is no number; write {USAGE['sdedit']}") from None
    if not 0 < share <= 1:
        raise ValueError(f"--sdedit: strength={share:g} must be in (0, 1]: 1 forgets the image, near 0 keeps it")

    def conditions(stage: Trained, count: int) -> Conditions:
        return _repeated(count, source=read_image(image, stage))

    return Edit({"strength": share}, conditions, named=Named((image,)))


def _interpolate(first: str, second: str) -> Edit:
    def conditions(stage: Trained, count: int) -> Conditions:
        images = _repeated(count, source=read_image(first, stage), target=read_image(second, stage))
        return images._replace(weight=np.linspace(0, 1, count, dtype=np.float32))

    settings = {"sampler": {"name": "ddim"}, "strength": REACH}
    return Edit(settings, conditions, one_label=True, named=Named((first, second)))


def _repeated(count: int, **images: np.ndarray) -> Conditions:
    repeated: dict[str, Any] = {name: np.broadcast_to(image, (count, *image.shape)) for name, image in images.items()}
    return Conditions(**repeated)


_EDITS: Mapping[str, Callable[[str, str], Edit]] = {
    "inpaint": _inpaint,
    "outpaint": _outpaint,
    "sdedit": _sdedit,
    "interpolate": _interpolate,
}
