"""The forward process between any two noise levels, its posterior, and the noise that drives it.

For a noisier level `cur` (c) and a cleaner one `nxt` (n), with `x = alpha * x0 + sigma * eps` at each, let

    r = alpha_c sigma_n / (alpha_n sigma_c) = exp((logsnr_c - logsnr_n) / 2), in [0, 1]

Then the step from n up to c, x_c = (alpha_c / alpha_n) x_n + noise, adds the variance

    sigma_c^2 (1 - r^2)                                        (DDPM's beta where alpha^2 + sigma^2 = 1)

and its posterior q(x_n | x_c, x0) is Gaussian with

    mean      alpha_n (1 - r^2) x0 + r (sigma_n / sigma_c) x_c
    variance  sigma_n^2 (1 - r^2)                              (DDPM's beta tilde)

which are eqs. 6-7 of arXiv:2006.11239 for neighbours of any distance, so respacing needs no betas. `1 - r^2`
from the levels keeps float32 accurate where `1 - alpha_bar ratios` would cancel, and a step to sigma = 0
gives x0.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp

from genjax.core.numerics import expand_to
from genjax.diffusion.schedules import NoiseLevel
from genjax.typing import Array, Float, Key

VARIANCES = ("fixed_small", "fixed_large", "learned_range")


class Gaussian(NamedTuple):
    """A diagonal Gaussian; the variance broadcasts against the mean."""

    mean: Float[Array, "b ..."]
    variance: Float[Array, "..."]


def diffuse(x0: Float[Array, "b ..."], eps: Float[Array, "b ..."], level: NoiseLevel) -> Float[Array, "b ..."]:
    """`x_t = alpha * x0 + sigma * eps`."""
    alpha, sigma = level.expand(x0)
    return alpha * x0 + sigma * eps


def x0_from_eps(x_t: Float[Array, "b ..."], eps: Float[Array, "b ..."], level: NoiseLevel) -> Float[Array, "b ..."]:
    """`x0 = (x_t - sigma * eps) / alpha`."""
    alpha, sigma = level.expand(x_t)
    return (x_t - sigma * eps) / alpha


def eps_from_x0(x_t: Float[Array, "b ..."], x0: Float[Array, "b ..."], level: NoiseLevel) -> Float[Array, "b ..."]:
    """`eps = (x_t - alpha * x0) / sigma`."""
    alpha, sigma = level.expand(x_t)
    return (x_t - alpha * x0) / sigma


def decay(cur: NoiseLevel, nxt: NoiseLevel) -> Float[Array, "*b"]:
    """r of this module's docstring, `alpha_c sigma_n / (alpha_n sigma_c)`: 0 on a step to clean data."""
    return (cur.alpha * nxt.sigma) / (nxt.alpha * cur.sigma)


def transition_variance(cur: NoiseLevel, nxt: NoiseLevel) -> Float[Array, "*b"]:
    """Variance of q(x_c | x_n): DDPM's beta."""
    return jnp.square(cur.sigma) * (1 - jnp.square(decay(cur, nxt)))


def posterior_variance(cur: NoiseLevel, nxt: NoiseLevel) -> Float[Array, "*b"]:
    """Variance of q(x_n | x_c, x0): DDPM's beta tilde."""
    return jnp.square(nxt.sigma) * (1 - jnp.square(decay(cur, nxt)))


def posterior(x0: Float[Array, "b ..."], x_t: Float[Array, "b ..."], cur: NoiseLevel, nxt: NoiseLevel) -> Gaussian:
    """q(x_n | x_c = x_t, x0) between the levels `cur` and `nxt` (arXiv:2006.11239, eqs. 6-7)."""
    r = decay(cur, nxt)
    of_x0 = expand_to(nxt.alpha * (1 - jnp.square(r)), x_t)
    of_x_t = expand_to(r * nxt.sigma / cur.sigma, x_t)
    return Gaussian(of_x0 * x0 + of_x_t * x_t, expand_to(posterior_variance(cur, nxt), x_t))


def variance_floor(levels: NoiseLevel) -> Float[Array, ""]:
    """The least posterior variance of a grid [N + 1] that isn't zero: beta tilde of its last step but one.

    Published code uses it in place of the last step's, which is 0 and has no logarithm. A grid of a single
    step has no other: its transition variance stands in.
    """
    if levels.alpha.shape[0] < 3:
        return transition_variance(levels.at(-2), levels.at(-1))
    return posterior_variance(levels.at(-3), levels.at(-2))


def model_log_variance(
    variance: str,
    var_frac: Float[Array, "b ..."] | None,
    like: Float[Array, "b ..."],
    cur: NoiseLevel,
    nxt: NoiseLevel,
    floor: Float[Array, ""],
) -> Float[Array, "..."]:
    """Logarithm of the model's variance of x_n given x_c, broadcasting against `like`.

    - "fixed_small": beta tilde, or `floor` on the step to clean data.
    - "fixed_large": beta, or `floor` on the step to clean data ("for a better decoder likelihood", DDPM).
    - "learned_range": `exp(frac * log beta + (1 - frac) * log beta_tilde)` (IDDPM, arXiv:2102.09672, eq. 15),
      again with `floor` for beta tilde on the last step; beta there stays beta.

    Args:
        variance: one of `VARIANCES`.
        var_frac: the network's fraction, `(v + 1) / 2`, unclipped; needed by "learned_range" alone.
        like: data whose rank the result broadcasts to.
        cur, nxt: the step's levels.
        floor: `variance_floor` of the grid.

    Raises:
        ValueError: unknown `variance`, or "learned_range" without `var_frac`.
    """
    if variance not in VARIANCES:
        raise ValueError(f"unknown variance {variance!r}; known: {', '.join(VARIANCES)}")
    last = nxt.sigma == 0
    small = jnp.log(jnp.where(last, floor, posterior_variance(cur, nxt)))
    large = jnp.log(transition_variance(cur, nxt))
    if variance == "fixed_small":
        return expand_to(small, like)
    if variance == "fixed_large":
        return expand_to(jnp.where(last, small, large), like)
    if var_frac is None:
        raise ValueError("'learned_range' needs a denoiser with learned variance; use 'fixed_small' with others")
    return var_frac * expand_to(large, like) + (1 - var_frac) * expand_to(small, like)


def fold(key: Key, data: int | Array) -> Key:
    """`jax.random.fold_in` for one key, or for a vector of keys, one an example."""
    if is_batched(key):
        return jax.vmap(lambda one: jax.random.fold_in(one, data))(key)
    return jax.random.fold_in(key, data)


def noise_like(key: Key, x: Float[Array, "b ..."]) -> Float[Array, "b ..."]:
    """Standard normal noise in the shape of `x`.

    Given one key an example, [b] keys, each example's noise depends on its own key alone, so an image
    doesn't change with the batch that it is drawn in.
    """
    if is_batched(key):
        return jax.vmap(lambda one: jax.random.normal(one, x.shape[1:], x.dtype))(key)
    return jax.random.normal(key, x.shape, x.dtype)


def is_batched(key: Key) -> bool:
    """Whether `key` is a vector of keys (typed or raw) rather than one key."""
    typed = jnp.issubdtype(key.dtype, jax.dtypes.prng_key)
    return key.ndim == (1 if typed else 2)


def sample_prior(key: Key, shape: tuple[int, ...], levels: NoiseLevel) -> Float[Array, "b ..."]:
    """Noise at the first level of a grid: where sampling starts, x_T [b, ...].

    Its standard deviation is `sqrt(alpha**2 + sigma**2)`, that of x_T for data of unit variance: 1 as
    published where variance is preserved, and sigma_max but for one part in 2 sigma_max**2 where it explodes.
    """
    first = levels.at(0)
    return jnp.hypot(first.alpha, first.sigma) * noise_like(key, jnp.zeros(shape, first.alpha.dtype))
