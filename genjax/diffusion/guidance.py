"""Guidance: denoisers steered towards a condition, each a function from denoiser to denoiser.

Classifier-free (arXiv:2207.12598), in the convention of GLIDE and unCLIP,

    x0 = x0_uncond + scale * (x0_cond - x0_uncond)           (scale = 1 + w of Ho & Salimans)

equally for eps, to which x0 is affine. Written from the conditional side, `cond + (scale - 1) * (cond -
uncond)`, it is exactly the conditional at scale 1. Only the mean is guided: a learned variance stays the
conditional half's.

By a gradient g = scale * grad log p(y | x_t), of a classifier or of any energy, in two ways that differ:

    "mean"    the ancestral mean is shifted by Sigma g, x0 untouched       (arXiv:2105.05233, algorithm 1)
    "score"   eps - sigma g, and x0 from it                                (algorithm 2, for DDIM and others)

Several such guides stand side by side (`together`): each takes its gradient at the unguided denoiser, and they add up,
in any order. One after the other, each would differentiate through the gradients of those before it.

To do as the published samplers do, threshold first, `classifier(...)(static()(denoise))`: there x0 is clipped
before the gradient acts and not again after.
"""

from collections.abc import Callable, Sequence

import jax
import jax.numpy as jnp

from genjax.core.numerics import expand_to
from genjax.diffusion.denoisers import Denoiser, Guide, Prediction, replace_x0
from genjax.diffusion.process import fold, is_batched, x0_from_eps
from genjax.diffusion.schedules import NoiseLevel, Scalar
from genjax.typing import Array, Float, Key, PyTree

MODES = ("mean", "score")


def classifier_free(
    scale: Scalar | Float[Array, " b"],
    interval: tuple[Scalar, ...] | None = None,
    rescale: Scalar | None = None,
) -> Guide:
    """Classifier-free guidance in one batched forward pass.

    The guide takes a *paired* denoiser, bound to 2b conditions, the b real ones and then b null ones, and
    gives a denoiser for b examples: it doubles x_t, calls the network once, and combines the halves.

    Args:
        scale: 1 is the conditional model, 0 the unconditional; [] or one an example [b]; may be traced.
        interval: (low, high) in sigma / alpha: guide only where low < sigma / alpha <= high
            (arXiv:2404.07724), elsewhere the conditional prediction.
        rescale: phi of arXiv:2305.08891, section 3.4: 0 none, 1 gives the guided x0 the conditional x0's
            standard deviation in each example; the paper uses .7. Deviation: the paper's code rescales the
            raw network output.
    """

    def guide(paired: Denoiser) -> Denoiser:
        def denoise(x_t: Float[Array, "b ..."], level: NoiseLevel, key: Key) -> Prediction:
            cond, uncond = _halves(paired, x_t, level, key)
            extra = jnp.asarray(scale, x_t.dtype) - 1
            if interval is not None:
                ratio = level.ratio
                extra = jnp.where((interval[0] < ratio) & (ratio <= interval[1]), extra, 0)
            extra = expand_to(extra, x_t)
            x0 = cond.x0 + extra * (cond.x0 - uncond.x0)
            eps = cond.eps + extra * (cond.eps - uncond.eps)
            guided = cond._replace(x0=x0, eps=eps)
            if rescale is None:
                return guided
            return replace_x0(guided, _rescaled(x0, cond.x0, rescale), x_t, level)

        return denoise

    return guide


def pair(cond: PyTree, null_cond: PyTree) -> PyTree:
    """The conditions of a paired denoiser: b real ones and then b null ones, each leaf [b, ...] to [2b, ...]."""
    return jax.tree.map(lambda one, null: jnp.concatenate([one, null]), cond, null_cond)


def _halves(paired: Denoiser, x_t: Array, level: NoiseLevel, key: Key) -> tuple[Prediction, Prediction]:
    """The paired denoiser on x_t twice over: (conditional, unconditional)."""
    half = x_t.shape[0]
    twice = NoiseLevel(*(jnp.concatenate([leaf, leaf]) if leaf.ndim else leaf for leaf in level))
    keys = jnp.concatenate([key, key]) if is_batched(key) else key
    both = paired(jnp.concatenate([x_t, x_t]), twice, keys)
    return jax.tree.map(lambda leaf: leaf[:half], both), jax.tree.map(lambda leaf: leaf[half:], both)


def _rescaled(guided: Array, cond: Array, phi: Scalar) -> Array:
    """The guided x0, its standard deviation in each example drawn by phi towards the conditional one's."""
    dims = tuple(range(1, guided.ndim))
    wanted, spread = jnp.std(cond, axis=dims, keepdims=True), jnp.std(guided, axis=dims, keepdims=True)
    return guided * (1 + phi * (wanted / jnp.maximum(spread, 1e-12) - 1))


def classifier(
    log_prob: Callable[[Array, NoiseLevel], Array],
    scale: Scalar | Float[Array, " b"] = 1.0,
    mode: str = "mean",
) -> Guide:
    """Guidance by a classifier of noisy data (arXiv:2105.05233).

    Args:
        log_prob: (x_t, level with entries [b]) -> log p(y | x_t) [b] in nats; `level.t` is the original
            timestep.
        scale: multiplies the gradient of the summed log-probability.
        mode: "mean" for the ancestral sampler, "score" for all others.

    Raises:
        ValueError: an unknown mode.
    """
    _check_mode(mode)

    def guide(denoise: Denoiser) -> Denoiser:
        def guided(x_t: Float[Array, "b ..."], level: NoiseLevel, key: Key) -> Prediction:
            each = NoiseLevel(*(jnp.broadcast_to(leaf, x_t.shape[:1]) for leaf in level))
            grad = jax.grad(lambda x: jnp.sum(log_prob(x, each)))(x_t)
            return _push(denoise(x_t, level, key), _times(scale, grad), x_t, level, mode)

        return guided

    return guide


def energy(
    energy_fn: Callable[[Array, Array, NoiseLevel, Key], Array],
    scale: Scalar | Float[Array, " b"] = 1.0,
    mode: str = "score",
) -> Guide:
    """Guidance down any energy of the denoised estimate: CLIP distance, style, a reference image, features.

    The gradient runs through the denoiser (universal guidance, arXiv:2302.07121; the CLIP-guided line):
    g = -scale * d/dx_t sum E(x0(x_t), x_t, level, key).

    Args:
        energy_fn: (x0 estimate, x_t, level, key) -> energies [b], less is better; in nats if it is to act as
            -log p(y | x).
        scale: multiplies the gradient.
        mode: "mean" for the ancestral sampler, "score" for all others.

    Raises:
        ValueError: an unknown mode.
    """
    _check_mode(mode)

    def guide(denoise: Denoiser) -> Denoiser:
        def guided(x_t: Float[Array, "b ..."], level: NoiseLevel, key: Key) -> Prediction:
            def total(x: Array) -> tuple[Array, Prediction]:
                prediction = denoise(x, level, fold(key, 0))
                return jnp.sum(energy_fn(prediction.x0, x, level, fold(key, 1))), prediction

            grad, prediction = jax.grad(total, has_aux=True)(x_t)
            return _push(prediction, -_times(scale, grad), x_t, level, mode)

        return guided

    return guide


def together(guides: Sequence[Guide]) -> Guide:
    """Guides side by side: each guides the denoiser as it is, and their changes add up; a single guide is itself."""
    if len(guides) == 1:
        return guides[0]

    def guide(denoise: Denoiser) -> Denoiser:
        all_guided = [one(denoise) for one in guides]

        def guided(x_t: Float[Array, "b ..."], level: NoiseLevel, key: Key) -> Prediction:
            plain = denoise(x_t, level, key)
            predictions = [one(x_t, level, key) for one in all_guided]
            grads = [one.mean_grad for one in predictions if one.mean_grad is not None]
            return plain._replace(
                x0=plain.x0 + sum(one.x0 - plain.x0 for one in predictions),
                eps=plain.eps + sum(one.eps - plain.eps for one in predictions),
                mean_grad=sum(grads[1:], grads[0]) if grads else None,
            )

        return guided

    return guide


def _times(scale: Scalar, x: Array) -> Array:
    return expand_to(jnp.asarray(scale, x.dtype), x) * x


def _check_mode(mode: str) -> None:
    if mode not in MODES:
        raise ValueError(f"unknown mode {mode!r}; 'mean' goes with the ancestral sampler, 'score' with all others")


def _push(prediction: Prediction, grad: Array, x_t: Array, level: NoiseLevel, mode: str) -> Prediction:
    """The prediction with a scaled log-probability gradient put in, by the mean or by the score."""
    if mode == "mean":
        earlier = 0 if prediction.mean_grad is None else prediction.mean_grad
        return prediction._replace(mean_grad=earlier + grad)
    _, sigma = level.expand(x_t)
    eps = prediction.eps - sigma * grad
    return prediction._replace(x0=x0_from_eps(x_t, eps, level), eps=eps)
