"""Image files, opened as their camera was held, with errors that name them.

with upright("photo.jpg") as image:     # a loaded PIL image, whatever its metadata holds
    ...
"""

import contextlib
import errno
import functools
import io
import logging
import math
import os
import re
import warnings
from collections.abc import Iterator

from PIL import ExifTags, Image, UnidentifiedImageError

from genjax.core import files

log = logging.getLogger(__name__)

SIXTEEN_BIT = ("I;16", "I;16L", "I;16B", "I;16N")
"""Modes of grey in 16 bits."""

_TURNS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
"""EXIF's orientation -> what makes the image upright; every other value is upright already."""

_KEY_SCALES = {"L;2": 85, "L;4": 17}

_HEAD = 2**16
_INSTEAD = (
    (rb"(?s)....ftyp(hei|hev|mif1|msf1)", "an image of HEIC, which Pillow can't read: save it as JPEG or PNG"),
    (rb"(?s)....ftypavi[fs]", "an image of AVIF that is cut short or damaged"),
    (rb"(?s)....ftyp", "a video or an image of a kind that Pillow can't read: save it as JPEG or PNG"),
    (rb"\s*(<\?xml[^>]*>\s*)?<svg", "a drawing of SVG, which has no pixels: save it as PNG"),
    (rb"%PDF", "a PDF and no image: save it as PNG"),
    (rb"PK\x03\x04|\x1f\x8b|7z\xbc\xaf|Rar!", "an archive and no image: unpack it"),
    (rb"\x93NUMPY", "an array of numpy and no image: save it as PNG"),
    (rb"(?s)\xff\xd8.*?\xff[\xc0-\xc3]\x00.\x0c", "a JPEG of 12 bits, which Pillow can't read: save it with 8"),
)

warnings.filterwarnings("ignore", category=Image.DecompressionBombWarning)  # `_say_large` names the file.


@contextlib.contextmanager
def upright(image: bytes | str | os.PathLike | Image.Image, name: str = "") -> Iterator[Image.Image]:
    """An image, loaded, as its camera was held; of an animation the first frame.

    Args:
        image: encoded bytes, a path, or an open PIL image.
        name: what errors call it; by default its path.

    Raises:
        OSError: bytes that are no image, or one that is broken or cut short; also for what fails within the block.
            Names the image, in one line.
    """
    name = name or _name(image)
    with _named(name, image):
        if isinstance(image, Image.Image):
            yield _upright(image)
            return
        with Image.open(io.BytesIO(image) if isinstance(image, bytes) else image) as opened:
            if opened.width * opened.height > (Image.MAX_IMAGE_PIXELS or math.inf):
                _say_large(name, opened.width, opened.height)
            yield _upright(opened)


def _name(image: bytes | str | os.PathLike | Image.Image) -> str:
    """What errors call an image: its path where it has one, in characters that can be printed on a line."""
    if isinstance(image, bytes):
        return f"an image of {len(image)} bytes"
    if isinstance(image, Image.Image):
        image = getattr(image, "filename", "") or "an image"
    characters = os.fsdecode(image)
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in characters)


@contextlib.contextmanager
def _named(name: str, image: bytes | str | os.PathLike | Image.Image) -> Iterator[None]:
    """Every error of Pillow's decoders, which are of many kinds, as an OSError that names the image in one line.

    What the operating system says keeps its number and kind, for these files may be whole.
    """
    try:
        yield
    except UnidentifiedImageError as error:
        raise OSError(f"{name} is {_what_instead(image)}") from error
    except Image.DecompressionBombError as error:
        limit = 2 * (Image.MAX_IMAGE_PIXELS or 0) // 10**6
        raise OSError(f"{name} has more than {limit} million pixels: make it smaller") from error
    except MemoryError as error:
        raise OSError(errno.ENOMEM, "not enough memory to read it", name) from error
    except Exception as error:
        if isinstance(error, OSError) and error.filename is not None:
            raise
        if isinstance(error, OSError) and error.errno is not None:
            raise type(error)(error.errno, error.strerror, name) from error
        reason = " ".join(str(error).split()) or type(error).__name__
        raise OSError(f"{name} can't be decoded: {reason}") from error


def _what_instead(image: bytes | str | os.PathLike | Image.Image) -> str:
    """What bytes are that Pillow doesn't know: what people most often have in place of an image."""
    if isinstance(image, Image.Image):
        return "no image"
    head = image[:_HEAD] if isinstance(image, bytes) else _read_head(image)
    known = next((said for pattern, said in _INSTEAD if re.match(pattern, head)), "no image that Pillow can read")
    return files.instead(head[: files.HEAD]) or known


def _read_head(path: str | os.PathLike) -> bytes:
    with open(path, "rb") as file:
        return file.read(_HEAD)


@functools.lru_cache(maxsize=1024)
def _say_large(name: str, width: int, height: int) -> None:
    """Say, once of an image, that reading it takes long."""
    log.warning(
        "%s has %dx%d pixels, which takes long to read, and memory, each time: make it smaller", name, width, height
    )


def _upright(image: Image.Image) -> Image.Image:
    """An image as its camera was held. Nothing but the orientation is read of its metadata."""
    if not image.width or not image.height:
        raise OSError(f"it has {image.width}x{image.height} pixels")
    key, raw = image.info.get("transparency"), _raw_mode(image)
    image.load()
    if raw in _KEY_SCALES and isinstance(key, int):
        image.info["transparency"] = key * _KEY_SCALES[raw]  # Pillow scales the pixels but not their key.
    elif raw == "RGB;16B" and isinstance(key, tuple):
        image.info["transparency"] = tuple(value >> 8 for value in key)
    try:
        turn = _TURNS.get(image.getexif().get(ExifTags.Base.Orientation))
    except Exception:  # Pillow's parsers raise many kinds of exceptions on broken metadata.
        turn = None
    return image if turn is None else image.transpose(turn)


def _raw_mode(image: Image.Image) -> str:
    """How the pixels of a PNG are packed in its file, "" of other images or once it is loaded."""
    tiles = getattr(image, "tile", None) if image.format == "PNG" else None
    args = tiles[0].args if tiles else ""
    return args if isinstance(args, str) else str(args[0]) if args else ""
