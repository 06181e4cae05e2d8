"""The discretized mixture of logistics of PixelCNN++ (arXiv:1701.05517, section 2.1 and 2.2).

A channel has 256 levels, 2/255 apart in [-1, 1]. Each component is a logistic distribution of which a level gets what
lies within half a step of it; the lowest and the highest level get all beyond them too, so that nothing is lost:

    P(x) = sum_k pi_k [ sigmoid((x + 1/255 - mu_k) / s_k) - sigmoid((x - 1/255 - mu_k) / s_k) ]

Channels of RGB share the component, and their means are linear in the channels before, by coefficients in (-1, 1):

    mu_r,   mu_g + c0 r,   mu_b + c1 r + c2 g

**Parameters of a pixel**, in the order of OpenAI's code: K logits of pi; then for each channel K means, K log-scales
(>= -7) and, of RGB only, K raw coefficients, tanh of which are c0 (at red's place), c1 (green's), c2 (blue's). That is
3 K of a grey image and 10 K of RGB.

**Exactness.** The difference of sigmoids is taken as a product, none of whose factors cancels:

    log[sigmoid(a) - sigmoid(b)] = log sigmoid(a) + log sigmoid(-b) + log(1 - exp(b - a)),   a > b

Deviations: OpenAI's code replaces probabilities below 1e-5 by density times width, and samples the logistic itself,
clipped; here samples are rounded to the 256 levels, channel by channel, as the likelihood has it.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp

from genjax.core.arguments import ArgumentError, arg
from genjax.typing import Array, Float, Image, Key, PerExample

LEVELS = 256
STEP = 2.0 / (LEVELS - 1)
MIN_LOG_SCALE = -7.0
PARAMS_PER_COMPONENT = {1: 3, 3: 10}

Raw = Float[Array, "b h w p"]


class Mixture(NamedTuple):
    """What a pixel's raw parameters mean, for K components.

    Attributes:
        log_weights: log pi, normalised, [b, h, w, k].
        means: of each channel, before what the channels before add, [b, h, w, c, k].
        log_scales: log s, at least -7, [b, h, w, c, k].
        coefficients: c0, c1, c2 in (-1, 1), [b, h, w, 3, k]; none of grey images, [b, h, w, 0, k].
    """

    log_weights: Float[Array, "b h w k"]
    means: Float[Array, "b h w c k"]
    log_scales: Float[Array, "b h w c k"]
    coefficients: Float[Array, "b h w m k"]


def num_params(channels: int, num_components: int) -> int:
    """Raw parameters of a pixel.

    Raises:
        ValueError: for images that are neither grey nor RGB.
    """
    if channels not in PARAMS_PER_COMPONENT:
        raise ArgumentError(
            f"a mixture of logistics is for 1 or 3 channels, and the images have {channels}; set {arg('channels')}"
        )
    return PARAMS_PER_COMPONENT[channels] * num_components


def unpack(raw: Raw, channels: int) -> Mixture:
    """The parts of the raw parameters, in float32 at least."""
    raw = raw.astype(jnp.promote_types(raw.dtype, jnp.float32))
    components = raw.shape[-1] // PARAMS_PER_COMPONENT[channels]
    rest = raw[..., components:].reshape(*raw.shape[:-1], channels, -1, components)
    coefficients = jnp.tanh(rest[..., 2, :]) if channels == 3 else rest[..., 2:2, 0, :]
    return Mixture(
        jax.nn.log_softmax(raw[..., :components]),
        rest[..., 0, :],
        jnp.maximum(rest[..., 1, :], MIN_LOG_SCALE),
        coefficients,
    )


def log_prob(raw: Raw, x: Image) -> PerExample:
    """log P(x) of whole images in nats, given each pixel's parameters.

    Args:
        raw: parameters, computed from the pixels before each.
        x: images in [-1, 1], on the 256 levels.
    """
    mixture = unpack(raw, x.shape[-1])
    x = x.astype(mixture.means.dtype)[..., None]
    by_channel = _log_level(x, _means_given(mixture, x), mixture.log_scales)
    by_pixel = jax.nn.logsumexp(mixture.log_weights + by_channel.sum(-2), axis=-1)
    return by_pixel.sum((1, 2))


def _log_level(x: Array, mean: Array, log_scale: Array) -> Array:
    """log probability of the level x under one discretized logistic."""
    inverse = jnp.exp(-log_scale)
    above = (x - mean + STEP / 2) * inverse
    below = (x - mean - STEP / 2) * inverse
    up_to, from_on = jax.nn.log_sigmoid(above), jax.nn.log_sigmoid(-below)
    inside = up_to + from_on + jnp.log(-jnp.expm1(-STEP * inverse))
    edge = 1 - STEP / 2
    return jnp.where(x < -edge, up_to, jnp.where(x > edge, from_on, inside))


def _means_given(mixture: Mixture, x: Array) -> Array:
    """Means [b, h, w, c, k], of each channel given those before it in x [b, h, w, c, 1 or k]."""
    if x.shape[-2] == 1:
        return mixture.means
    red, green = x[..., 0, :], x[..., 1, :]
    c0, c1, c2 = (mixture.coefficients[..., i, :] for i in range(3))
    return mixture.means + jnp.stack([jnp.zeros_like(c0), c0 * red, c1 * red + c2 * green], axis=-2)


def sample(raw: Raw, channels: int, keys: Key) -> Image:
    """Images on the 256 levels, each pixel drawn by its own parameters.

    Args:
        raw: parameters.
        channels: 1 or 3.
        keys: one for each example, [b], so that it doesn't depend on the rest of the batch.
    """
    mixture = unpack(raw, channels)
    height, width, components = mixture.log_weights.shape[1:]

    def draw(key):
        of_component, of_level = jax.random.split(key)
        gumbel = jax.random.gumbel(of_component, (height, width, components))
        return gumbel, jax.random.logistic(of_level, (height, width, channels))

    gumbel, noise = jax.vmap(draw)(keys)
    chosen = _choose(mixture, jnp.argmax(mixture.log_weights + gumbel, axis=-1))
    x = jnp.zeros_like(noise)
    for channel in range(channels):
        mean = _means_given(chosen, x[..., None])[..., channel, 0]
        value = mean + jnp.exp(chosen.log_scales[..., channel, 0]) * noise[..., channel]
        x = x.at[..., channel].set(_nearest_level(value))
    return x


def _choose(mixture: Mixture, component: Array) -> Mixture:
    """One component of each pixel's mixture: its means, scales and coefficients with a last axis of 1."""

    def pick(part):
        return jnp.take_along_axis(part, component[..., None, None], axis=-1)

    _, means, log_scales, coefficients = mixture
    return mixture._replace(means=pick(means), log_scales=pick(log_scales), coefficients=pick(coefficients))


def _nearest_level(x: Array) -> Array:
    """x on the nearest of the 256 levels, within [-1, 1]."""
    return jnp.clip(jnp.round((x + 1) / STEP), 0, LEVELS - 1) / ((LEVELS - 1) / 2) - 1


def mean(raw: Raw, channels: int) -> Image:
    """The mean of each pixel's mixture before it is cut into levels; of green and blue, over what comes before."""
    mixture = unpack(raw, channels)
    means = mixture.means
    for _ in range(channels - 1):  # green needs red's mean, blue green's
        means = _means_given(mixture, means)
    return jnp.sum(jnp.exp(mixture.log_weights)[..., None, :] * means, axis=-1)
