"""CLIP guidance: images that a CLIP finds near to a text wherever it looks (the line of K. Crowson's notebooks).

    --guide=clip:WORKDIR,TEXT:SCALE

    E = mean over cutouts of 2 asin(|z_i - z_t| / 2)^2 + .15 tv(x_in) + .05 range(x0)
    x_in = x0 f + x_t (1 - f),   f = sigma / sqrt(alpha^2 + sigma^2)       (sqrt(1 - alpha_bar) where variance is kept)

The CLIP is one of clean images. It sees squares cut at random out of x_in, resized to its size, each with noise of a
random strength: a single look is fooled by patterns that no one sees, many random ones are not. The gradient runs
through the denoiser. The notebooks (2021) have a scale of 1000, 16 cutouts, 150 for `tv`, the mean squared difference
of neighbours, and 50 for `range`, the mean squared excess over [-1, 1]: here relative to the scale. The latter acts on
models without thresholding (`config.sampling.threshold.name="none"`), as there; a thresholded x0 has no excess.

Cutouts forget where things are and how large: of a text about places, `--guide=text` (`genjax.pipelines.guides.text`)
asks of the whole image. It also takes noisy CLIPs.

Deviations: no affine or perspective changes of the cutouts; their sizes and places are drawn for each image.
"""

import jax
import jax.numpy as jnp

from genjax import stages
from genjax.diffusion import process
from genjax.diffusion.schedules import NoiseLevel
from genjax.losses import perceptual
from genjax.pipelines.guides import energies, registry, text
from genjax.pipelines.named_files import Named
from genjax.stages import Stage
from genjax.typing import Array, Float, Image, Key, PerExample, PyTree

CUTOUTS = 16
NOISE = 0.1
"""Greatest standard deviation of the noise on a cutout, in [-1, 1]."""
TV = 0.15
RANGE = 0.05


def make(argument: str, scale: float, stage: Stage) -> registry.Guide:
    """The guide by "WORKDIR,TEXT".

    Raises:
        ValueError: for another form, a run that is no CLIP of clean images or that doesn't fit, or a stage that can't
            be guided.
    """
    folder, words = text.read_argument("clip", argument, scale)
    registry.expect_guidable(stage)
    return from_stage(stages.load(folder), words, scale, stage, folder)


def named(argument: str, scale: float) -> Named:
    """The encoder's workdir.

    Raises:
        ValueError: for another form than "WORKDIR,TEXT".
    """
    return Named(runs=(text.read_argument("clip", argument, scale)[0],))


def from_stage(encoder: Stage, words: str, scale: float, stage: Stage, name: str = "the encoder") -> registry.Guide:
    """The guide by a loaded CLIP and a text; `name` is what errors call it. Else as `make`."""
    registry.expect_guidable(stage)
    interface = text.check_encoder("clip", encoder, stage, name)
    if interface.schedule is not None:
        raise ValueError(f"{name} is a clip of noisy images, which has no use for cutouts: --guide=text takes it")

    def energy(arrays: PyTree, x0: Image, x_t: Image, level: NoiseLevel, key: Key) -> PerExample:
        weights, wanted = arrays
        x_in = blend(x0, x_t, level)
        looks = random_looks(key, x_in, interface.image_shape[0])
        z_i = interface.encode_image(weights, looks.reshape(-1, *looks.shape[2:]), None)
        distance = perceptual.spherical_distance(z_i.reshape(*looks.shape[:2], -1), wanted).mean(axis=1)
        return distance + TV * perceptual.total_variation(x_in) + RANGE * perceptual.range_energy(x0)

    return energies.make_noisy(energy, (encoder.weights, text.embed(encoder, words)), scale, stage)


def blend(x0: Image, x_t: Image, level: NoiseLevel) -> Image:
    """x0 f + x_t (1 - f): the estimate where there is much noise, the image itself where there is little."""
    alpha, sigma = level.expand(x0)
    size = jnp.hypot(alpha, sigma)
    return x0 * (sigma / size) + x_t * (1 - sigma / size)


def random_looks(key: Key, images: Image, size: int) -> Float[Array, "b n size size c"]:
    """`CUTOUTS` squares of each image with noise on them, by the image's own key."""
    keys = key if process.is_batched(key) else jax.random.split(key, images.shape[0])

    def looks(key: Key, image: Array) -> Array:
        cut = perceptual.cutouts(process.fold(key, 0), image[None], CUTOUTS, size)[:, 0]
        strength = NOISE * jax.random.uniform(process.fold(key, 1), (CUTOUTS, 1, 1, 1))
        return cut + strength * jax.random.normal(process.fold(key, 2), cut.shape)

    return jax.vmap(looks)(keys, images)
