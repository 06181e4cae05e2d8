"""Thresholding: keep the x0 estimate in the range of the data, and re-derive eps from it.

Done to the denoiser, so the clipped x0 enters the posterior mean of the ancestral sampler and the eps of all
others.
"""

import jax.numpy as jnp

from genjax.core.arguments import ArgumentError, arg
from genjax.core.numerics import expand_to
from genjax.diffusion.denoisers import Denoiser, Guide, Prediction, replace_x0
from genjax.diffusion.schedules import NoiseLevel, Scalar
from genjax.typing import Array, Float, Key


def none() -> Guide:
    """Leave x0 as it is."""
    return lambda denoise: denoise


def static(low: Scalar = -1.0, high: Scalar = 1.0) -> Guide:
    """Clip x0 to [low, high] (DDPM's released sampler)."""
    return _on_x0(lambda x0: jnp.clip(x0, low, high))


def dynamic(quantile: Scalar = 0.995, cap: Scalar | None = None) -> Guide:
    """Clip x0 to [-s, s] and divide by s, the quantile of |x0| in each example (Imagen, arXiv:2205.11487).

    s is at least 1.

    Args:
        quantile: .995 in the paper; DeepFloyd IF uses .95 to .99.
        cap: greatest s (DeepFloyd: 1.7 and 1.0, the latter being a plain clip); None for no limit.
    """

    def limit(x0: Float[Array, "b ..."]) -> Float[Array, "b ..."]:
        s = jnp.maximum(jnp.quantile(jnp.abs(x0.reshape(x0.shape[0], -1)), quantile, axis=1), 1.0)
        s = expand_to(s if cap is None else jnp.minimum(s, cap), x0)
        return jnp.clip(x0, -s, s) / s

    return _on_x0(limit)


THRESHOLDS = {"none": none, "static": static, "dynamic": dynamic}


def make(name: str, **settings) -> Guide:
    """The thresholding of a name, "none", "static" or "dynamic", with its settings.

    Raises:
        ValueError: for another name.
    """
    if name not in THRESHOLDS:
        raise ArgumentError(f"unknown threshold {name!r}; {arg('name')} is one of {sorted(THRESHOLDS)}")
    return THRESHOLDS[name](**settings)


def _on_x0(change) -> Guide:
    def guide(denoise: Denoiser) -> Denoiser:
        def thresholded(x_t: Float[Array, "b ..."], level: NoiseLevel, key: Key) -> Prediction:
            prediction = denoise(x_t, level, key)
            return replace_x0(prediction, change(prediction.x0), x_t, level)

        return thresholded

    return guide
