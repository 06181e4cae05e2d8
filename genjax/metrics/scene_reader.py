"""What an image of `captioned_shapes` shows, read back by a program: colour, shape, size and place of each object.

Nothing here is learned. An image is explained by drawing it again (analysis by synthesis): an object whose cover of
each pixel is m_i(x, y, d) in 0..1 and whose colour is c_i makes

    white - image = sum_i m_i (white - c_i)

for the shape, centre (x, y) and diameter d of each object i. Where objects are is seen in the smoothed darkness; then,
object by object and with the others subtracted, x, y and log d are fitted by Gauss-Newton's method for every shape with
the colour of the palette that leaves the least; the shape with the least sum of squares is what it is.

An image that was upsampled has soft edges, so everything is drawn as it would look at 64, 32 or 16 pixels and upsampled
by straight lines to the image's size; of these the one with the least error is taken.

The reader is strict: an object that no shape explains (`MAX_ERROR`), whose colour is between two of the palette, whose
size is neither small nor large or whose centre is at none of the nine places has None there, which is never right. What
is left over once all objects are subtracted counts as one more object, unless it is small.
"""

import functools
from typing import NamedTuple

import numpy as np
from scipy import ndimage

from genjax.data.builders import scenes
from genjax.typing import Bool, Float, UInt8

Dark = Float[np.ndarray, "h w 3"]
"""White minus an image, in 0..1."""

MAX_ERROR = 0.2
"""Largest share of an object's energy that may be left unexplained."""
MAX_COLOUR = 60.0
"""Largest distance of an object's mean colour from the palette's, in RGB of 0..255; palette colours are 90 apart."""
MAX_SIZE = 0.13
"""Largest deviation of log diameter from a size's; the two are 0.36 apart, and the dataset's own varies by 0.04."""
MAX_PLACE = 0.08
"""Largest deviation of a centre from a place, along an axis; places are 0.25 apart, the dataset's vary by 0.02."""
MIN_AREA = 0.01
"""Smallest area of what counts as an object, in that of the canvas; the smallest of the dataset has 0.03."""

_FINE = 64  # Pixels of the drawing from which all others are made, as in `scenes.render`.
_DARK = 0.22  # Darkness of a pixel that isn't background, where a whole step in one channel is 1.
_SMOOTH = 0.11  # Standard deviation of the smoothing that makes one peak of an object, in canvases.
_APART = 0.3  # Two peaks are at least so far apart.
_WINDOW = 0.34  # Half the side of the square in which an object is fitted.
_ROUNDS = 2  # Times that all objects are fitted, each with the others subtracted.
_LIKELY = 3  # Shapes that are fitted on after a first step.
_STEPS = 2  # Of Gauss-Newton's method, after that.
_NUDGES = np.array([0.01, 0.01, 0.03])  # Differences in x, y and log diameter by which covers are differentiated.
_NUDGED = np.concatenate([np.zeros((1, 3)), np.diag(_NUDGES)])
_LARGEST = np.array([0.05, 0.05, 0.2])  # Largest change in a step.
_SHAPES = tuple(scenes.SHAPES.values())
_PALETTE = (255.0 - np.array(list(scenes.COLOURS.values()))) / 255.0
_SIZES = np.log(list(scenes.SIZES.values()))


class Found(NamedTuple):
    """An object of an image.

    Attributes:
        colour, shape, size, place: indices into `scenes.COLOURS`, `SHAPES`, `SIZES` and `PLACES`; None where unclear.
        x, y: its centre, in fractions of the canvas.
        diameter: in the same.
        error: share of its energy that its drawing doesn't explain.
    """

    colour: int | None
    shape: int | None
    size: int | None
    place: int | None
    x: float
    y: float
    diameter: float
    error: float


class _Fit(NamedTuple):
    """A drawn object: what it is, its cover of the pixels of a window, and the sum of squares that it leaves there."""

    shape: int
    colour: int
    params: Float[np.ndarray, "3"]
    cover: Float[np.ndarray, "h w"]
    left: float
    window: tuple[slice, slice] = (slice(None), slice(None))

    def draw(self, size: int) -> Dark:
        """The object alone in an image of `size` pixels a side."""
        canvas = np.zeros((size, size, 3))
        canvas[self.window] = self.cover[..., None] * _PALETTE[self.colour]
        return canvas


def read(image: UInt8[np.ndarray, "h w 3"]) -> tuple[Found, ...]:
    """The objects of a square image, from left to right.

    Args:
        image: RGB, of 16 to 64 pixels a side.

    Raises:
        ValueError: for an image that is neither square nor RGB.
    """
    if image.shape[0] != image.shape[1] or image.shape[2:] != (3,):
        raise ValueError(f"images of scenes are square and RGB, not {image.shape}")
    dark = (255.0 - image.astype(np.float64)) / 255.0
    peaks, size = _peaks(dark), len(dark)
    if not peaks:
        return ()
    parts = _parts(dark, peaks)
    strongest = max(range(len(parts)), key=lambda number: np.sum(parts[number] ** 2))
    grids = [_upsample(grid, size) for grid in (_FINE, 32, 16) if grid <= max(16, size)]
    firsts = [_fit(parts[strongest], peaks[strongest], upsample) for upsample in grids]
    upsample = min(zip(firsts, grids), key=lambda pair: pair[0].left)[1]
    fits = [_fit(part, peak, upsample) for part, peak in zip(parts, peaks)]
    for _ in range(_ROUNDS - 1 if len(fits) > 1 else 0):
        for number, peak in enumerate(peaks):
            others = sum(fit.draw(size) for other, fit in enumerate(fits) if other != number)
            fits[number] = _fit(dark - others, peak, upsample)
    rest = dark - sum(fit.draw(size) for fit in fits)
    found = [_classify(fit, rest) for fit in fits]
    found += [Found(None, None, None, None, x, y, 0.0, 1.0) for x, y in _left_over(rest)]
    return tuple(sorted(found, key=lambda thing: thing.x))


def _peaks(dark: Dark) -> list[tuple[float, float]]:
    """Centres (x, y) of what isn't background: maxima of the smoothed image, in canvases."""
    size = len(dark)
    thing = _things(dark)
    smooth = ndimage.gaussian_filter(thing.astype(float), _SMOOTH * size, mode="constant")
    highest = (smooth == ndimage.maximum_filter(smooth, 3)) & (smooth > 0.02)
    places = sorted(zip(*np.nonzero(highest)), key=lambda at: -smooth[at])
    kept: list[tuple[float, float]] = []
    for row, column in places:
        x, y = (column + 0.5) / size, (row + 0.5) / size
        if all(np.hypot(x - a, y - b) >= _APART for a, b in kept):
            kept.append((x, y))
    return kept


def _things(dark: Dark) -> Bool[np.ndarray, "h w"]:
    """Pixels that aren't background, in pieces that are large enough to count."""
    labels, count = ndimage.label(np.linalg.norm(dark, axis=-1) > _DARK, np.ones((3, 3)))
    areas = ndimage.sum_labels(np.ones(labels.shape), labels, range(1, count + 1))
    large = [label for label, area in enumerate(areas, start=1) if area >= MIN_AREA * labels.size]
    return np.isin(labels, large)


def _parts(dark: Dark, peaks: list[tuple[float, float]]) -> list[Dark]:
    """The image around each peak, without what is nearer to another one."""
    centres = (np.arange(len(dark)) + 0.5) / len(dark)
    away = [np.hypot(centres[None, :] - x, centres[:, None] - y) for x, y in peaks]
    nearest = np.argmin(away, axis=0)
    return [dark * (nearest == number)[..., None] for number in range(len(peaks))]


@functools.cache
def _upsample(grid: int, size: int) -> Float[np.ndarray, "size fine"]:
    """The matrix that makes of 64 pixels block means on a grid, and of these `size` pixels by straight lines."""
    blocks = np.repeat(np.eye(grid), _FINE // grid, axis=1) * grid / _FINE
    if size <= grid:
        return np.repeat(np.eye(size), grid // size, axis=1) * size / grid @ blocks
    at = np.clip((np.arange(size) + 0.5) * grid / size - 0.5, 0, grid - 1)
    low = np.minimum(np.floor(at).astype(int), grid - 2)
    lines = np.zeros((size, grid))
    lines[np.arange(size), low], lines[np.arange(size), low + 1] = 1 - (at - low), at - low
    return lines @ blocks


Upsample = tuple[Float[np.ndarray, "h fine"], Float[np.ndarray, "w fine"]]
"""The rows of `_upsample` for the rows and for the columns of a window."""


def _covers(shape: int, params: Float[np.ndarray, "k 3"], upsample: Upsample) -> Float[np.ndarray, "k h w"]:
    """The cover of each pixel of a window by a shape of several (x, y, log diameter)."""
    x, y, radius = params[:, 0], params[:, 1], np.exp(params[:, 2]) / 2
    reach = radius.max() * 1.15 + 1 / _FINE
    rows, columns = (
        slice(max(0, int((at.min() - reach) * _FINE)), max(1, int(np.ceil((at.max() + reach) * _FINE))))
        for at in (y, x)
    )
    centres = (np.arange(_FINE) + 0.5) / _FINE
    u = ((centres[columns] - x[:, None]) / radius[:, None])[:, None, :]
    v = ((centres[rows] - y[:, None]) / radius[:, None])[:, :, None]
    distance = _SHAPES[shape](u, v) * radius[:, None, None] * _FINE
    return upsample[0][:, rows] @ np.clip(0.5 - distance, 0.0, 1.0) @ upsample[1][:, columns].T


def _fit(dark: Dark, peak: tuple[float, float], upsample: Float[np.ndarray, "size fine"]) -> _Fit:
    """The shape, colour, centre and diameter that explain best what is near a peak."""
    size = len(dark)
    columns, rows = (
        slice(max(0, round((at - _WINDOW) * size)), min(size, round((at + _WINDOW) * size))) for at in peak
    )
    near, axes = dark[rows, columns], (upsample[rows], upsample[columns])
    corner = np.array([columns.start, rows.start]) / size
    starts = [_from_moments(shape, near, corner, size) for shape in range(len(_SHAPES))]
    rough = [_fit_shape(shape, start, near, axes, 1) for shape, start in enumerate(starts)]
    likely = sorted(rough, key=lambda fit: fit.left)[:_LIKELY]
    fits = [_fit_shape(fit.shape, fit.params, near, axes, _STEPS) for fit in likely]
    return min(fits, key=lambda fit: fit.left)._replace(window=(rows, columns))


def _fit_shape(shape: int, params: Float[np.ndarray, "3"], dark: Dark, upsample: Upsample, steps: int) -> _Fit:
    """The same for one shape in a window, from (x, y, log diameter) on, by steps of Gauss-Newton's method."""
    energy, best = np.sum(dark**2), None
    for step in range(steps + 1):
        last = step == steps
        nudged = params[None] if last else params + _NUDGED
        covers = _covers(shape, nudged, upsample)
        colour, left = _best_colour(dark, covers[0], energy)
        if best is None or left < best.left:
            best = _Fit(shape, colour, params, covers[0], left)
        if not last:
            params = _step(dark @ _PALETTE[colour], _PALETTE[colour] @ _PALETTE[colour], covers, params)
    return best


def _step(
    shown: Float[np.ndarray, "h w"], tone: float, covers: Float[np.ndarray, "4 h w"], params: Float[np.ndarray, "3"]
) -> Float[np.ndarray, "3"]:
    """One step of Gauss-Newton's method.

    Args:
        shown: the window along the colour of the object.
        tone: square of the length of that colour.
        covers: at the parameters, and with each of them nudged.
        params: x, y and log diameter.
    """
    slopes = ((covers[1:] - covers[0]) / _NUDGES[:, None, None]).reshape(3, -1)
    change = np.linalg.solve(slopes @ slopes.T + 1e-6 * np.eye(3), slopes @ (shown / tone - covers[0]).ravel())
    params = params + np.clip(change, -_LARGEST, _LARGEST)
    return np.clip(params, [0.0, 0.0, np.log(0.15)], [1.0, 1.0, np.log(0.7)])


def _from_moments(shape: int, dark: Dark, corner: Float[np.ndarray, "2"], size: int) -> Float[np.ndarray, "3"]:
    """Centre and log diameter from the mass and the centre of mass, of which no smoothing takes anything."""
    area, offset = _MOMENTS[shape]
    mass = np.clip(dark, 0, None).sum(axis=(0, 1))
    tones = np.sum(_PALETTE**2, axis=1)
    colour = np.argmin(mass @ mass - (_PALETTE @ mass) ** 2 / tones)
    cover = np.clip(dark @ (_PALETTE[colour] / tones[colour]), 0, None)
    total = max(cover.sum(), 1e-6)
    across, down = ((np.arange(length) + 0.5) / size for length in reversed(cover.shape))
    x, y = corner + np.array([cover.sum(axis=0) @ across, cover.sum(axis=1) @ down]) / total
    diameter = np.clip(np.sqrt(total / size**2 / area), 0.2, 0.5)
    return np.array([x, y - offset * diameter, np.log(diameter)])


def _best_colour(dark: Dark, cover: Float[np.ndarray, "h w"], energy: float) -> tuple[int, float]:
    """The colour of the palette that leaves the least of a window under a cover, and the squares that it leaves."""
    shown = cover.ravel() @ dark.reshape(-1, 3)
    left = energy - 2 * _PALETTE @ shown + np.sum(_PALETTE**2, axis=1) * np.sum(cover**2)
    colour = int(np.argmin(left))
    return colour, float(left[colour])


def _classify(fit: _Fit, rest: Dark) -> Found:
    """What a fitted object is, with None for whatever is unclear."""
    near = ndimage.binary_dilation(fit.cover > 0.02, iterations=max(1, len(rest) // 16))
    unexplained = rest[fit.window]
    own = unexplained + fit.cover[..., None] * _PALETTE[fit.colour]
    error = float(np.sum(unexplained[near] ** 2) / max(np.sum(own[near] ** 2), 1e-9))
    mean = fit.cover.ravel() @ own.reshape(-1, 3) / max(np.sum(fit.cover**2), 1e-9)
    colours = np.linalg.norm(mean - _PALETTE, axis=1) * 255.0
    sizes = np.abs(fit.params[2] - _SIZES)
    x, y = fit.params[:2]
    column, row = (int(np.clip(round(4 * at), 1, 3)) for at in (x, y))
    placed = max(abs(x - column / 4), abs(y - row / 4)) <= MAX_PLACE
    return Found(
        colour=fit.colour if colours[fit.colour] <= MAX_COLOUR and colours.argmin() == fit.colour else None,
        shape=fit.shape if error <= MAX_ERROR else None,
        size=int(sizes.argmin()) if sizes.min() <= MAX_SIZE else None,
        place=3 * (row - 1) + column - 1 if placed else None,
        x=float(x),
        y=float(y),
        diameter=float(np.exp(fit.params[2])),
        error=error,
    )


def _left_over(rest: Dark) -> list[tuple[float, float]]:
    """Centres of what no fitted object explains and is too large to be a smear."""
    labels, count = ndimage.label(np.linalg.norm(rest, axis=-1) > 2 * _DARK, np.ones((3, 3)))
    found = []
    for label in range(1, count + 1):
        rows, columns = np.nonzero(labels == label)
        if len(rows) >= MIN_AREA * labels.size:
            found.append(((columns.mean() + 0.5) / len(rest), (rows.mean() + 0.5) / len(rest)))
    return found


def _moments_of(shape: int) -> tuple[float, float]:
    """Area over diameter squared, and how far the centre of mass is below the centre, in diameters."""
    centres = np.linspace(-1.2, 1.2, 481)
    inside = _SHAPES[shape](centres[None, :], centres[:, None]) < 0
    area = inside.sum() * (centres[1] - centres[0]) ** 2
    return float(area / 4), float(centres @ inside.sum(axis=1) / inside.sum() / 2)


_MOMENTS = [_moments_of(shape) for shape in range(len(_SHAPES))]
