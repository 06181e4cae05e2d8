"""Editing: images remade in part, from a sketch, or between two others, without training.

Inpainting, of what `known` shows where `mask` is 1, in three ways, ever closer to the conditional distribution:

    replace_known              the x0 estimate is overwritten            (GLIDE's release, arXiv:2112.10741)
    inpaint, on a plain grid   x_n is overwritten by known data diffused to its level (arXiv:2011.13456, I.2)
    inpaint, on a resampling_walk   and noise is added and removed again and again, so that both parts come to
                               agree                                     (RePaint, arXiv:2201.09865)

A walk makes the steps of a grid more than once. Where its next step starts from a noisier level c than the last one
came to (n), `inpaint` first adds the noise between the two,

    x_c = (alpha_c / alpha_n) x_n + sqrt(sigma_c^2 - (alpha_c / alpha_n)^2 sigma_n^2) z

so that RePaint too is one scan, with no more calls of the denoiser than steps down. Outpainting is inpainting of a
image set in a wider frame (`extend`).

From a source image: `tail` and `diffuse_source` begin part of the way down (SDEdit, arXiv:2108.01073). `invert`
walks DDIM's steps (arXiv:2010.02502, section 4.3) upward, from x_n at level n to x_c at the noisier level c,

    x_c = (alpha_c / alpha_n) x_n + (sigma_c - sigma_n alpha_c / alpha_n) eps

with eps taken at (x_n, n), of order 1, or, refined, at (x_c, c) by fixed-point iteration, which undoes the steps of
DDIM themselves. `slerp` between two such latents, sampled down, is an image between two images.

Images, masks and sources are arrays that may be traced: another one doesn't recompile. A walk's turns and the
length of a tail are static.

Deviations: RePaint's release climbs a jump step by step; here it is one draw from the same distribution. Clean data has
no eps to invert with: the first step takes it at its end, from the rescaled image.
"""

import jax
import jax.numpy as jnp

from genjax.core.numerics import expand_to
from genjax.diffusion import process
from genjax.diffusion.denoisers import Denoiser, Guide, Prediction, replace_x0
from genjax.diffusion.grids import Walk
from genjax.diffusion.samplers import Sampler
from genjax.diffusion.schedules import NoiseLevel, Scalar
from genjax.typing import Array, Float, Key

INVERSION_REFINEMENTS = 2
"""Of an image's latent, at each step: 25 steps on the digits return it within .017 (root mean square) instead of .052,
and within .004 instead of .043 if the first of them, of almost no signal, is skipped (SDEdit's strength)."""


def replace_known(known: Float[Array, "b ..."], mask: Float[Array, "..."]) -> Guide:
    """Overwrite x0 where it is known, at every step: inpainting as in GLIDE's release (arXiv:2112.10741).

    Apply it last: guide, threshold, then replace. A gradient for the ancestral mean is silenced where the data is
    known, so that known entries come out exactly with every sampler.

    Args:
        known: clean data, right where the mask is 1.
        mask: 1 where known, 0 where to be made; broadcasts against the data.
    """

    def guide(denoise: Denoiser) -> Denoiser:
        def replaced(x_t: Float[Array, "b ..."], level: NoiseLevel, key: Key) -> Prediction:
            prediction = denoise(x_t, level, key)
            if prediction.mean_grad is not None:
                prediction = prediction._replace(mean_grad=jnp.where(mask > 0.5, 0, prediction.mean_grad))
            return replace_x0(prediction, jnp.where(mask > 0.5, known, prediction.x0), x_t, level)

        return replaced

    return guide


def inpaint(sampler: Sampler, known: Float[Array, "b ..."], mask: Float[Array, "..."]) -> Sampler:
    """A sampler whose every step ends with the known entries diffused afresh to the level it comes to.

    On a grid of falling noise this is the replacement method of score SDEs (arXiv:2011.13456, appendix I.2); on a
    `resampling_walk` it is RePaint (arXiv:2201.09865, algorithm 1). Known entries come out exactly.

    Args:
        sampler: any; what it remembers from step to step is forgotten where a walk climbs.
        known: clean data, right where the mask is 1.
        mask: 1 where known, 0 where to be made; broadcasts against the data.
    """

    def init(x_T: Array, levels: NoiseLevel):
        fresh = sampler.init(x_T, levels)
        return levels.at(0), fresh, fresh

    def step(denoise, x, carry, cur, nxt, key):
        here, fresh, memory = carry
        climbed = cur.t > here.t
        x = jnp.where(climbed, add_noise(x, here, cur, process.fold(key, 3)), x)
        memory = jax.tree.map(lambda first, last: jnp.where(climbed, first, last), fresh, memory)
        x, memory = sampler.step(denoise, x, memory, cur, nxt, key)
        diffused = process.diffuse(known, process.noise_like(process.fold(key, 4), x), nxt)
        return jnp.where(mask > 0.5, diffused, x), (nxt, fresh, memory)

    return Sampler(init, step)


def add_noise(x: Float[Array, "b ..."], here: NoiseLevel, there: NoiseLevel, key: Key) -> Float[Array, "b ..."]:
    """A draw of the forward process from x at `here` up to the noisier level `there`."""
    scale = there.alpha / here.alpha
    variance = jnp.square(there.sigma) - jnp.square(scale * here.sigma)
    std = jnp.sqrt(jnp.maximum(variance, 0))
    return expand_to(scale, x) * x + expand_to(std, x) * process.noise_like(key, x)


def resampling_walk(levels: NoiseLevel, jump: int = 10, resamples: int = 10) -> Walk:
    """RePaint's walk over a grid: whenever `jump` more steps are done, back up by them, `resamples` - 1 times.

    As `get_schedule_jump` of the release, where 250 steps, 10 and 10 are 2,410 steps down.

    Args:
        levels: a grid [N + 1].
        jump: steps undone at a time; the paper's j.
        resamples: times that each stretch is walked; the paper's r. 1 is the plain grid.

    Raises:
        ValueError: a jump that is longer than the grid, or counts below 1.
    """
    count = levels.alpha.shape[0] - 1
    if not 1 <= jump < count:
        raise ValueError(f"jump={jump} must be at least 1 and less than the grid's {count} steps")
    if resamples < 1:
        raise ValueError(f"resamples={resamples} must be at least 1")
    turns = {count - 1 - left: resamples - 1 for left in range(0, count - jump, jump)}
    order, here = [], 0
    while here < count:
        if turns.get(here, 0) > 0:
            turns[here] -= 1
            here -= jump
        order.append(here)
        here += 1
    return Walk(levels, jnp.asarray(order))


def extend(
    image: Float[Array, "b h w c"], top: int = 0, bottom: int = 0, left: int = 0, right: int = 0
) -> tuple[Float[Array, "b h2 w2 c"], Float[Array, "1 h2 w2 1"]]:
    """Outpainting as inpainting: (known, mask) of the image in a frame so many pixels wider at each side.

    Negative widths crop: `left=-8, right=8` moves an image by 8 within its own size.

    Raises:
        ValueError: if nothing of the image is left.
    """
    rows, columns = image.shape[1:3]
    for size, before, after in ((rows, top, bottom), (columns, left, right)):
        if size + min(before, 0) + min(after, 0) < 1:
            raise ValueError(f"a crop of {-min(before, 0)} and {-min(after, 0)} leaves nothing of {size} pixels")
    frame = ((0, 0, 0), (top, bottom, 0), (left, right, 0), (0, 0, 0))
    zero = jnp.zeros((), image.dtype)
    return jax.lax.pad(image, zero, frame), jax.lax.pad(jnp.ones((1, rows, columns, 1), image.dtype), zero, frame)


def tail(levels: NoiseLevel, strength: float) -> NoiseLevel:
    """The last part of a grid, where SDEdit (arXiv:2108.01073) begins.

    Args:
        levels: a grid [N + 1].
        strength: share of its steps that are kept, at least one: 1 forgets almost all of the source, near 0 keeps it.

    Raises:
        ValueError: a strength outside (0, 1].
    """
    if not 0 < strength <= 1:
        raise ValueError(f"strength={strength} must be in (0, 1]: 1 is sampling from noise, near 0 keeps the source")
    count = levels.alpha.shape[0] - 1
    return levels.at(slice(count - max(1, round(strength * count)), None))


def diffuse_source(source: Float[Array, "b ..."], levels: NoiseLevel, key: Key) -> Float[Array, "b ..."]:
    """x_t of a source image at the first level of a (tail of a) grid, to sample from."""
    return process.diffuse(source, process.noise_like(key, source), levels.at(0))


def invert(
    denoise: Denoiser, levels: NoiseLevel, x0: Float[Array, "b ..."], key: Key, refinements: int = 0
) -> Float[Array, "b ..."]:
    """The x_T from which DDIM at eta 0 would come to x0, one `lax.scan` up the grid.

    Args:
        denoise: the denoiser, guided or not. Inversion of a guided one is the less stable the stronger the guide.
        levels: the grid [N + 1], as for sampling.
        x0: clean data.
        key: of denoisers that draw.
        refinements: 0 as in the paper: sampling returns x0 up to an error of order 1 in the step. Each more calls the
            denoiser once again a step, and the error falls geometrically for steps that are small enough.
    """
    upward = levels.at(slice(None, None, -1))

    def body(x, inputs):
        low, high, index = inputs
        step_key = process.fold(key, index)
        scale = high.alpha / low.alpha
        start = scale * x
        clean = low.sigma == 0
        at = NoiseLevel(*(jnp.where(clean, of_high, of_low) for of_high, of_low in zip(high, low)))
        eps = denoise(jnp.where(clean, start, x), at, process.fold(step_key, 0)).eps
        reach = high.sigma - scale * low.sigma

        def refine(again, eps):
            return denoise(start + reach * eps, high, process.fold(step_key, 1 + again)).eps

        if refinements:
            eps = jax.lax.fori_loop(0, refinements, refine, eps)
        return (start + reach * eps).astype(x.dtype), None

    steps = jnp.arange(levels.alpha.shape[0] - 1)
    pairs = (upward.at(slice(None, -1)), upward.at(slice(1, None)), steps)
    return jax.lax.scan(body, x0.astype(jnp.result_type(x0, levels.alpha)), pairs)[0]


def slerp(
    first: Float[Array, "b ..."], second: Float[Array, "b ..."], weight: Scalar | Float[Array, " b"]
) -> Float[Array, "b ..."]:
    """Spherical interpolation of each example (DDIM, arXiv:2010.02502, appendix D.5): noise stays of noise's size.

    With theta the angle between the two, `(sin((1 - w) theta) first + sin(w theta) second) / sin(theta)`; the straight
    line where they are parallel.

    Args:
        first, second: latents, such as `invert` gives.
        weight: 0 is the first, 1 the second; [] or one an example.
    """
    dims = tuple(range(1, first.ndim))

    def dot(a: Array, b: Array) -> Array:
        return jnp.sum(a * b, axis=dims, keepdims=True)

    weight = expand_to(jnp.asarray(weight, first.dtype), first)
    cosine = dot(first, second) / jnp.sqrt(dot(first, first) * dot(second, second))
    theta = jnp.arccos(jnp.clip(cosine, -1, 1))
    sine = jnp.sin(theta)
    parallel = sine < 1e-4
    safe = jnp.where(parallel, 1, sine)
    of_first = jnp.where(parallel, 1 - weight, jnp.sin((1 - weight) * theta) / safe)
    of_second = jnp.where(parallel, weight, jnp.sin(weight * theta) / safe)
    return of_first * first + of_second * second


def start(
    denoise: Denoiser, levels: NoiseLevel, keys: Key, shape: tuple[int, ...], source: Array | None = None,
    target: Array | None = None, weight: Array | None = None, latent: Array | None = None,
) -> Float[Array, "b ..."]:  # fmt: skip
    """x_T: noise, or what an image is at the first level, or x_T itself where it is given.

    Args:
        denoise: the denoiser that will be sampled with.
        levels: the grid, or its tail.
        keys: one an example [b].
        shape: of one example.
        source, target, weight: an image [b, ...] to start from, or two between whose latents to start.
        latent: x_T [b, ...].
    """
    if latent is not None:
        return latent
    if target is not None:
        ends = jnp.stack([source, target])
        first, second = jax.lax.map(lambda x0: invert(denoise, levels, x0, keys, INVERSION_REFINEMENTS), ends)
        return slerp(first, second, weight)
    if source is not None:
        return diffuse_source(source, levels, keys)
    return process.sample_prior(keys, (keys.shape[0], *shape), levels)


def keep_known(
    sampler: Sampler, levels: NoiseLevel, known: Array | None = None, mask: Array | None = None, resamples: int = 1
) -> tuple[Sampler, NoiseLevel | Walk]:
    """The sampler and its steps, which keep what is known, if anything is.

    Args:
        sampler: any.
        levels: the grid.
        known: clean data, right where the mask is 1.
        mask: 1 where known, 0 where to be made.
        resamples: times that each stretch is walked; 1 = no RePaint. Its jumps are as long as RePaint's, 1 / 25.
    """
    if known is None:
        return sampler, levels
    sampler = inpaint(sampler, known, mask)
    if resamples == 1:
        return sampler, levels
    return sampler, resampling_walk(levels, max(1, (levels.alpha.shape[0] - 1) // 25), resamples)
