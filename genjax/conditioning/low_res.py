"""Super-resolution: low-resolution images as conditioning, made from x0 in training, given in sampling.

A super-resolution model draws x0 from p(x0 | z, s), where in training the low-resolution image z is made of x0 itself,

    z = augment(blur(area mean of x0), s),    augment(z, s) = cos(pi s / 2) z + sin(pi s / 2) eps

and in sampling it is what the stage before has drawn. Its mistakes are of a kind that training never showed: noise on
z hides them, at a level s that is an input of the network, drawn anew for each example in training and chosen in
sampling (conditioning augmentation of CDM, arXiv:2106.15282, section 4, and Imagen, arXiv:2205.11487, section 2.3). s
= 0 is z itself. Before the network sees it, z is upsampled by bilinear interpolation and laid beside x_t as more
channels (arXiv:2102.09672 and 2105.05233, whose super-resolution models blur nothing and add no noise).

Training on crops (unCLIP, arXiv:2204.06125, appendix C) cuts x0 at whole pixels of z: the low-resolution image of a
crop is the crop of the low-resolution image.

An inpainting model sees, beside x_t, what is known of x0 and where (GLIDE, arXiv:2112.10741, section 2.5): the channels
[x0 m, m] with a mask m of 0 or 1, 1 = known. In training the region that isn't known is drawn at random.

Deviations: noise and blur act on z as it is, before it is upsampled. CDM states s as a step of its own schedule; here
it is the time of a continuous cosine schedule in [0, 1], as in Imagen. GLIDE says "random regions"; here they are
rectangles, and for a share of the examples the whole image.
"""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from genjax.conditioning import degradation
from genjax.conditioning.inputs import Cond
from genjax.core import images as images_lib
from genjax.core import rng
from genjax.core.arguments import ArgumentError, arg
from genjax.core.numerics import expand_to
from genjax.diffusion import process
from genjax.typing import Array, Float, Image, Key, PerExample


class LowRes(NamedTuple):
    """What the low-resolution image is in training.

    Attributes:
        size: its height in pixels, a divisor of the large one's.
        blur: (low, high), between which the standard deviation of a 3x3 Gaussian blur is drawn for each example, in
            its pixels: (.6, .6) in unCLIP's first upsampler, (.4, .6) in CDM; () = none.
        blur_share: share of the examples that are blurred; .5 in CDM.
        max_aug_level: levels of noise are drawn between 0 and this, at most 1; 0 = no noise, and the level is no input.
        crop_fraction: height and width of the crops that are trained on, in those of the image; .25 in unCLIP.
        dropout: share of the examples whose low-resolution image is replaced by grey, for classifier-free guidance.
        bsr: whether it is degraded at random, `genjax.conditioning.degradation`, as in unCLIP's second upsampler.
    """

    size: int
    blur: tuple[float, ...] = ()
    blur_share: float = 1.0
    max_aug_level: float = 0.0
    crop_fraction: float = 1.0
    dropout: float = 0.0
    bsr: bool = False


def check(settings: LowRes, image_shape: tuple[int, int, int], aug_level: float = 0.0) -> tuple[int, int, int]:
    """The low-resolution image's (height, width, channels).

    Args:
        settings: see `LowRes`.
        image_shape: (height, width, channels) of the high-resolution image.
        aug_level: the level that sampling is to use.

    Raises:
        ValueError: for settings that aren't possible.
    """
    height, width, channels = image_shape
    if settings.size < 1 or height % settings.size or width % (height // settings.size):
        raise ArgumentError(
            f"{arg('size')}={settings.size} must divide the height and width of images of {height}x{width} pixels"
        )
    factor = height // settings.size
    if settings.blur and (len(settings.blur) != 2 or not 0 <= settings.blur[0] <= settings.blur[1]):
        raise ArgumentError(f"{arg('blur')}={settings.blur} must be (low, high) in pixels, or () for none")
    for name in ("blur_share", "max_aug_level", "dropout"):
        if not 0 <= getattr(settings, name) <= 1:
            raise ArgumentError(f"{arg(name)}={getattr(settings, name)} must be in [0, 1]")
    crop = crop_size(settings, image_shape)
    if not 0 < settings.crop_fraction <= 1 or not all(side and side % factor == 0 for side in crop):
        raise ArgumentError(
            f"{arg('crop_fraction')}={settings.crop_fraction} makes crops of {crop[0]}x{crop[1]} pixels; "
            f"they must be whole multiples of {factor} pixels, and not larger than the image"
        )
    if not 0 <= aug_level <= settings.max_aug_level:
        raise ArgumentError(
            f"{arg('aug_level')}={aug_level} is none of the levels that the model is trained on, "
            f"0 to {arg('max_aug_level')}={settings.max_aug_level}"
        )
    return height // factor, width // factor, channels


def network_fields(settings: LowRes, image_shape: tuple[int, int, int]) -> dict[str, Any]:
    """What has to be said to a network that is trained with low-resolution images, beside its own fields.

    It takes levels of noise where there are any, and on crops `attention_resolutions` go on to mean the whole image.
    """
    fields: dict[str, Any] = {"aug_embed": True} if settings.max_aug_level else {}
    return fields | ({"image_size": min(image_shape[:2])} if settings.crop_fraction < 1 else {})


def crop_size(settings: LowRes, image_shape: tuple[int, ...]) -> tuple[int, int]:
    """Height and width of the crops that are trained on."""
    return round(settings.crop_fraction * image_shape[0]), round(settings.crop_fraction * image_shape[1])


def downsample(images: Image, shape: tuple[int, int, int]) -> Float[Array, "b h2 w2 c"]:
    """Images at the size of the small one, by the mean over blocks of pixels."""
    return images_lib.resize(images, shape[:2], "area")


def upsample(low_res: Image, size: tuple[int, int]) -> Float[Array, "b h2 w2 c"]:
    """Low-resolution images at the large one's (height, width), by bilinear interpolation: the network's other
    channels.
    """
    return images_lib.resize(low_res, size, "bilinear")


def gaussian_blur(images: Image, std: PerExample) -> Image:
    """A 3x3 Gaussian blur, with pixels mirrored at the edges.

    Args:
        images: [b, h, w, c], of at least 2x2 pixels.
        std: standard deviation of each example's, in pixels; 0 leaves it as it is.
    """
    side = jnp.exp(-0.5 / jnp.square(std))
    side = expand_to(side / (1 + 2 * side), images)
    for axis in (1, 2):
        padded = jnp.pad(images, [(1, 1) if dim == axis else (0, 0) for dim in range(4)], mode="reflect")
        length = images.shape[axis]
        before, after = (jax.lax.slice_in_dim(padded, start, start + length, axis=axis) for start in (0, 2))
        images = (1 - 2 * side) * images + side * (before + after)
    return images


def augment(low_res: Image, aug_level: PerExample, key: Key) -> Image:
    """Low-resolution images under noise of their levels, cos(pi s / 2) z + sin(pi s / 2) eps; s = 0 is z itself.

    Args:
        low_res: z [b, h, w, c].
        aug_level: s of each, in [0, 1].
        key: one, or one an example.
    """
    angle = expand_to(0.5 * jnp.pi * aug_level, low_res)
    return jnp.cos(angle) * low_res + jnp.sin(angle) * process.noise_like(key, low_res)


def random_crop(images: Image, size: tuple[int, int], multiple: int, key: Key) -> Float[Array, "b h2 w2 c"]:
    """A crop of (height, width) `size` of each image, at a random corner whose place is a multiple of `multiple`."""
    b, height, width, channels = images.shape
    room = jnp.array([height - size[0], width - size[1]]) // multiple
    corners = multiple * jax.random.randint(key, (b, 2), 0, room + 1)

    def cut(image: Array, corner: Array) -> Array:
        return jax.lax.dynamic_slice(image, (corner[0], corner[1], 0), (*size, channels))

    return jax.vmap(cut)(images, corners)


def training_pair(settings: LowRes, x0: Image, key: Key) -> tuple[Float[Array, "b h2 w2 c"], Cond]:
    """What a super-resolution model is trained on: (x0 or crops of it, their conditioning but for the class).

    Args:
        settings: of the low-resolution image, see `LowRes`.
        x0: images in [-1, 1].
        key: of crops, blur and noise.
    """
    factor = x0.shape[1] // settings.size
    if settings.crop_fraction < 1:
        x0 = random_crop(x0, crop_size(settings, x0.shape[1:]), factor, rng.stream(key, "crop"))
    count, height, width, channels = x0.shape
    low_res = downsample(x0, (height // factor, width // factor, channels))
    if settings.blur:
        low, high = settings.blur
        std = jax.random.uniform(rng.stream(key, "blur"), (count,), minval=low, maxval=high)
        blurred = jax.random.bernoulli(rng.stream(key, "blurred"), settings.blur_share, (count,))
        low_res = gaussian_blur(low_res, jnp.where(blurred, std, 0.0))
    if settings.bsr:
        low_res = degradation.bsr(low_res, factor, rng.stream(key, "bsr"))
    aug_level = None
    if settings.max_aug_level:
        aug_level = jax.random.uniform(rng.stream(key, "aug_level"), (count,), maxval=settings.max_aug_level)
        low_res = augment(low_res, aug_level, rng.stream(key, "aug_noise"))
    return x0, Cond(None, upsample(low_res, (height, width)), aug_level)


def conditioning_from(
    settings: LowRes, image_shape: tuple[int, int, int], low_res: Image | None, aug_level: Any, key: Key | None
) -> Cond:
    """The conditioning of images that are to be upsampled, but for their class.

    Args:
        settings: of the low-resolution image in training.
        image_shape: (height, width, channels) of the high-resolution image.
        low_res: the low-resolution images.
        aug_level: of the noise to lay on them; None: 0.
        key: of the noise, or keys [b].

    Raises:
        ValueError: for no low-resolution images, those of another size, or a level of a model that knows of none.
    """
    shape = check(settings, image_shape)
    if low_res is None or low_res.shape[1:] != shape:
        found = "none" if low_res is None else low_res.shape[1:]
        raise ValueError(
            f"this model upsamples images of {shape}, and was given {found}; "
            "give them as low_res of its conditions, or sample the whole cascade's folder "
            "(configs/cascade_digits_pipeline.py)"
        )
    if not settings.max_aug_level:
        if aug_level is not None:
            raise ArgumentError(f"an aug_level needs a model trained with {arg('max_aug_level')} > 0")
        return Cond(low_res=upsample(low_res, image_shape[:2]))
    level = jnp.asarray(0.0 if aug_level is None else aug_level, low_res.dtype)
    levels = jnp.broadcast_to(level, low_res.shape[:1])
    return Cond(None, upsample(augment(low_res, levels, key), image_shape[:2]), levels)
