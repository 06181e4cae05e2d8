"""Loss weightings: how much a squared error of x0 counts at each noise level.

All are `NoiseLevel -> w` for the loss `w * |x0_hat - x0|^2`, whatever the network predicts. Since the errors
of predictions are multiples of each other (eps: alpha / sigma, v: sqrt(SNR + 1), network output: 1 / c_out),
a weight stated elsewhere for another prediction is converted once, here:

    simple          SNR                         plain eps error, L_simple (DDPM, arXiv:2006.11239, eq. 14)
    x0              1                           plain x0 error
    v               SNR + 1                     plain v error (arXiv:2202.00512)
    truncated_snr   max(SNR, 1)                 arXiv:2202.00512
    min_snr         min(SNR, gamma)             arXiv:2303.09556
    p2              SNR / (k + SNR)^gamma       arXiv:2204.00227, eq. 8 on L_simple
    edm             (s^2 + d^2) / (s d)^2       arXiv:2206.00364, table 1: unit weight on the network's output
    flow            ((alpha + sigma) / sigma)^2 plain velocity error
"""

from collections.abc import Callable

import jax.numpy as jnp

from genjax.diffusion.schedules import NoiseLevel, Scalar
from genjax.typing import Array, Float

Weighting = Callable[[NoiseLevel], Float[Array, "*b"]]
"""NoiseLevel -> weight of the squared x0 error, of the level's shape."""


def simple() -> Weighting:
    """Weight SNR: the plain squared error of eps, DDPM's L_simple."""
    return lambda level: level.snr


def x0() -> Weighting:
    """Weight 1: the plain squared error of x0."""
    return lambda level: jnp.ones_like(level.alpha)


def v() -> Weighting:
    """Weight SNR + 1: the plain squared error of v where variance is preserved."""
    return lambda level: level.snr + 1


def truncated_snr() -> Weighting:
    """Weight max(SNR, 1) (arXiv:2202.00512)."""
    return lambda level: jnp.maximum(level.snr, 1.0)


def min_snr(gamma: Scalar = 5.0) -> Weighting:
    """Weight min(SNR, gamma) (arXiv:2303.09556)."""
    return lambda level: jnp.minimum(level.snr, gamma)


def p2(k: Scalar = 1.0, gamma: Scalar = 1.0) -> Weighting:
    """Weight SNR / (k + SNR)**gamma: perception-prioritised L_simple (arXiv:2204.00227)."""
    return lambda level: level.snr / (k + level.snr) ** gamma


def edm(sigma_data: Scalar = 0.5) -> Weighting:
    """Weight (s**2 + d**2) / (s * d)**2 with s = sigma / alpha, d = sigma_data (arXiv:2206.00364)."""
    return lambda level: level.snr + 1 / sigma_data**2


def flow() -> Weighting:
    """Weight ((alpha + sigma) / sigma)**2: the plain squared error of the velocity eps - x0."""
    return lambda level: jnp.square((level.alpha + level.sigma) / level.sigma)


_MAKERS: dict[str, Callable[..., Weighting]] = {
    "simple": simple,
    "snr": simple,
    "x0": x0,
    "v": v,
    "truncated_snr": truncated_snr,
    "min_snr": min_snr,
    "p2": p2,
    "edm": edm,
    "flow": flow,
}


def make(name: str, **kwargs) -> Weighting:
    """The weighting called `name` ("snr" is another name of "simple").

    Raises:
        ValueError: an unknown name.
    """
    if name not in _MAKERS:
        raise ValueError(f"unknown weighting {name!r}; known: {', '.join(sorted(_MAKERS))}")
    return _MAKERS[name](**kwargs)
