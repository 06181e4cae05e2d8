"""Low-resolution images made worse, as those are that a stage before has drawn: BSR degradation (BSRGAN,
arXiv:2103.14006).

unCLIP's second upsampler (arXiv:2204.06125, section 2.3) and latent diffusion's are trained with it. In random order,

    blur, twice    a Gaussian, in half of the cases of two axes and any direction
    resize         down to a random size and up again, each by boxes, triangles or cubics
    noise          Gaussian, of the same value in all channels, of independent ones, or of correlated ones
    JPEG           the 8x8 cosine transforms of luma and halved chroma, rounded to a random quality; at 9 of 10 only

and JPEG once more. Images, [b, h, w, 3] or [b, h, w, 1], have values in [-1, 1].

Deviations: the paper blurs the high-resolution image before it makes it small; here all is done to the small one,
with the widths of the blurs in its pixels, that is divided by the factor. The order is drawn once for a batch, all
else for each image. Sensor noise, which needs a model of a camera, is omitted, as in latent diffusion's variant.
JPEG's entropy coding, which loses nothing, isn't carried out.
"""

import jax
import jax.numpy as jnp
import numpy as np

from genjax.core.numerics import expand_to
from genjax.typing import Array, Float, Image, Key, PerExample

RADIUS = 3
"""Of the blur's kernels, in pixels."""
JPEG_SHARE = 0.9
QUALITIES = (30.0, 95.0)
NOISE = (2 / 127.5, 25 / 127.5)
"""Standard deviations of the noise: 2 to 25 levels of 255."""
RESIZE_SHARE = 0.75
LEAST_SIZE = 0.5

LUMA = np.array(
    (
        "16 11 10 16 24 40 51 61 12 12 14 19 26 58 60 55 14 13 16 24 40 57 69 56 14 17 22 29 51 87 80 62 "
        "18 22 37 56 68 109 103 77 24 35 55 64 81 104 113 92 49 64 78 87 103 121 120 101 72 92 95 98 112 100 103 99"
    ).split(),
    np.float32,
).reshape(8, 8)
"""Steps of the transform's values at quality 50 (ITU T.81, table K.1)."""
CHROMA = np.full((8, 8), 99, np.float32)
CHROMA[:4, :4] = [[17, 18, 24, 47], [18, 21, 26, 66], [24, 26, 56, 99], [47, 66, 99, 99]]
YCC = np.array([[0.299, 0.587, 0.114], [-0.168736, -0.331264, 0.5], [0.5, -0.418688, -0.081312]], np.float32)
"""RGB to luma and chroma (JFIF)."""


def bsr(images: Image, factor: int, key: Key) -> Image:
    """Low-resolution images, degraded.

    Args:
        images: in [-1, 1].
        factor: how many times larger the image is that is to be made of them.
        key: of everything.
    """
    steps = (
        lambda x, k: random_blur(x, factor, k),
        lambda x, k: random_blur(x, factor, k),
        random_resize,
        random_noise,
        lambda x, k: _sometimes(random_jpeg, JPEG_SHARE, x, k),
    )
    order = jax.random.permutation(jax.random.fold_in(key, 0), len(steps))

    def body(x, inputs):
        return jnp.clip(jax.lax.switch(inputs[0], steps, x, inputs[1]), -1, 1), None

    degraded, _ = jax.lax.scan(body, images, (order, jax.random.split(jax.random.fold_in(key, 1), len(steps))))
    return random_jpeg(degraded, jax.random.fold_in(key, 2))


def _sometimes(change, share: float, images: Image, key: Key) -> Image:
    """The change, of a share of the images."""
    chance = jax.random.uniform(jax.random.fold_in(key, 0), images.shape[:1])
    return jnp.where(expand_to(chance, images) < share, change(images, jax.random.fold_in(key, 1)), images)


def random_blur(images: Image, factor: int, key: Key) -> Image:
    """A Gaussian blur with its own covariance for each image, as BSRGAN draws them for an upsampling by `factor`."""
    shape = images.shape[:1]
    round_key, std_key, axes_key, angle_key = jax.random.split(key, 4)
    even = jax.random.uniform(std_key, shape, maxval=(2 + 0.2 * factor) / factor) ** 2
    variances = jax.random.uniform(axes_key, (2, *shape), maxval=(4 + factor) / factor**2)
    variances = jnp.where(jax.random.bernoulli(round_key, 0.5, shape), even, variances)
    angle = jax.random.uniform(angle_key, shape, maxval=jnp.pi)
    along, across = jnp.maximum(variances, 1e-4)
    return blur(images, along, across, angle)


def blur(images: Image, along: PerExample, across: PerExample, angle: PerExample) -> Image:
    """A Gaussian blur, with pixels mirrored at the edges.

    Args:
        images: of at least 4x4 pixels.
        along: variance in the direction of the angle, in square pixels, greater than 0.
        across: variance at a right angle to it.
        angle: in radians, from the horizontal.
    """
    offsets = jnp.arange(-RADIUS, RADIUS + 1.0)
    y, x = (grid.reshape(-1) for grid in jnp.meshgrid(offsets, offsets, indexing="ij"))
    cos, sin = jnp.cos(angle)[:, None], jnp.sin(angle)[:, None]
    first, second = cos * x + sin * y, cos * y - sin * x
    kernel = jax.nn.softmax(-0.5 * (first**2 / along[:, None] + second**2 / across[:, None]), axis=1)
    width = ((0, 0), (RADIUS, RADIUS), (RADIUS, RADIUS), (0, 0))
    padded, side = jnp.pad(images, width, mode="reflect"), 2 * RADIUS + 1

    def add(place, total):
        start = (0, place // side, place % side, 0)
        return total + expand_to(kernel[:, place], images) * jax.lax.dynamic_slice(padded, start, images.shape)

    return jax.lax.fori_loop(0, side**2, add, jnp.zeros_like(images))


def random_resize(images: Image, key: Key) -> Image:
    """Some of the images at a random share of their size, and back at their size; each way by a method of its own."""
    shape = images.shape[:1]
    share_key, size_key, down_key, up_key = jax.random.split(key, 4)
    share = jax.random.uniform(size_key, shape, minval=LEAST_SIZE)
    share = jnp.where(jax.random.bernoulli(share_key, RESIZE_SHARE, shape), share, 1.0)
    down, up = (jax.random.randint(one, shape, 0, len(KERNELS)) for one in (down_key, up_key))
    return down_and_up(images, share, down, up)


def down_and_up(images: Image, share: PerExample, down: Array, up: Array) -> Image:
    """Each image resized to a share of its height and width, rounded to whole pixels, and resized back.

    Args:
        images: the images.
        share: at most 1; 1 leaves an image as it is.
        down, up: int32 [b], which of `KERNELS` is used in either direction.
    """
    rows, columns = (jax.vmap(_there_and_back, (None, 0, 0, 0))(side, share, down, up) for side in images.shape[1:3])
    return jnp.einsum("bih,bhwc,bjw->bijc", rows, images, columns, precision="highest")


KERNELS = (
    lambda x: (jnp.abs(x) <= 0.5).astype(jnp.float32),
    lambda x: jnp.maximum(1 - jnp.abs(x), 0),
    lambda x: jnp.select(
        [jnp.abs(x) <= 1, jnp.abs(x) < 2],
        [1.5 * jnp.abs(x) ** 3 - 2.5 * x**2 + 1, -0.5 * jnp.abs(x) ** 3 + 2.5 * x**2 - 4 * jnp.abs(x) + 2],
        0.0,
    ),
)
"""Of interpolation, by distance: a box (the nearest pixel, or the mean over those below one), a triangle, a cubic."""


def _there_and_back(size: int, share: Array, down: Array, up: Array) -> Float[Array, "n n"]:
    """The matrix of a resize to `share` of `size` pixels and back. The smaller image has room for all pixels."""
    small = jnp.maximum(jnp.round(share * size), 1)
    places, step = jnp.arange(size) + 0.5, size / small
    smaller = _weights((places[None] - places[:, None] * step) / step, down)
    larger = _weights(places[None] - places[:, None] / step, up, places[None] < small)
    return larger @ smaller


def _weights(distances: Float[Array, "n n"], kernel: Array, real: Array | bool = True) -> Float[Array, "n n"]:
    weights = jnp.where(real, jax.lax.switch(kernel, KERNELS, distances), 0)
    total = jnp.sum(weights, axis=1, keepdims=True)
    return jnp.where(total > 1e-6, weights / jnp.where(total > 1e-6, total, 1), 0)


def random_noise(images: Image, key: Key) -> Image:
    """Gaussian noise of a random deviation: in two fifths of the images alike in all channels, in as many independent
    ones, in the others correlated at random.
    """
    count, channels = images.shape[0], images.shape[-1]
    kind_key, level_key, mix_key, noise_key = jax.random.split(key, 4)
    kind = jax.random.uniform(kind_key, (count, 1, 1))
    grey, single = jnp.zeros((channels, channels)).at[0].set(1.0), jnp.eye(channels)
    frame = jnp.linalg.qr(jax.random.normal(mix_key, (count, channels, channels)))[0]
    spread = jnp.sqrt(jax.random.uniform(jax.random.fold_in(mix_key, 1), (count, channels, 1)))
    mixing = jnp.where(kind < 0.4, grey, jnp.where(kind < 0.8, single, spread * frame))
    level = jax.random.uniform(level_key, (count,), minval=NOISE[0], maxval=NOISE[1])
    noise = jnp.einsum("bhwc,bcd->bhwd", jax.random.normal(noise_key, images.shape), mixing)
    return images + expand_to(level, images) * noise


def random_jpeg(images: Image, key: Key) -> Image:
    """What JPEG makes of images, each at a random quality."""
    low, high = QUALITIES
    return jpeg(images, jax.random.uniform(key, images.shape[:1], minval=low, maxval=high))


def jpeg(images: Image, quality: PerExample) -> Image:
    """What JPEG makes of images: chroma of half the size, and rounded cosine transforms of blocks of 8x8.

    Args:
        images: 1 or 3 channels, in [-1, 1]; repeated at their edges to whole blocks.
        quality: 1 to 100 of each, as libjpeg scales the steps.
    """
    height, width, channels = images.shape[1:]
    padding = ((0, 0), (0, -height % 16), (0, -width % 16), (0, 0))
    pixels = 127.5 * jnp.pad(images, padding, mode="edge") - 0.5  # levels of 255, less 128
    scale = jnp.where(quality < 50, 5000 / quality, 200 - 2 * quality) / 100
    if channels == 1:
        coded = _code_blocks(pixels, LUMA, scale)
    else:
        luma, chroma = jnp.split(pixels @ YCC.T, [1], axis=-1)
        b, h, w, c = chroma.shape
        halved = chroma.reshape(b, h // 2, 2, w // 2, 2, c).mean(axis=(2, 4))
        chroma = _code_blocks(halved, CHROMA, scale).repeat(2, axis=1).repeat(2, axis=2)
        coded = jnp.concatenate([_code_blocks(luma, LUMA, scale), chroma], axis=-1) @ np.linalg.inv(YCC).T
    return jnp.clip((coded[:, :height, :width] + 0.5) / 127.5, -1, 1)


def _code_blocks(pixels: Image, steps: np.ndarray, scale: PerExample) -> Image:
    """Values around 0, their transforms rounded to multiples of the steps."""
    b, h, w, c = pixels.shape
    blocks = pixels.reshape(b, h // 8, 8, w // 8, 8, c)
    table = jnp.clip(jnp.floor(steps * expand_to(scale, jnp.zeros((1, 1, 1))) + 0.5), 1, 255)[:, None, :, None, :, None]
    values = jnp.einsum("ui,byixjc,vj->byuxvc", COSINES, blocks, COSINES, precision="highest")
    values = jnp.round(values / table) * table
    return jnp.einsum("ui,byuxvc,vj->byixjc", COSINES, values, COSINES, precision="highest").reshape(pixels.shape)


def _cosines() -> np.ndarray:
    """The orthonormal cosine transform of 8 values: rows are frequencies."""
    places = np.cos(np.pi * np.arange(8)[:, None] * (2 * np.arange(8) + 1) / 16)
    return (places * np.sqrt(np.where(np.arange(8) == 0, 1, 2) / 8)[:, None]).astype(np.float32)


COSINES = _cosines()
