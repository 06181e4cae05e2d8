"""The evidence lower bound and its parts: divergences, log-likelihoods of pixels, bounds, in nats.

With a posterior q(z | x), a prior p(z) and a decoder p(x | z) (arXiv:1312.6114, eq. 2 and 3),

    log p(x) >= ELBO = E_q [log p(x | z)] - KL(q(z | x) || p(z)) = E_q [log w],    w = p(x | z) p(z) / q(z | x)

and with k draws from the posterior (importance weighting, arXiv:1509.00519, eq. 8)

    log p(x) >= E log (1 / k) sum_i w_i =: IWAE_k,    IWAE_1 = ELBO,    non-decreasing in k, -> log p(x)

By Jensen's inequality mean(log w) <= log mean(w) for every set of draws, so that the two estimates from the same
draws are in the right order for each example, not only on average.

Log-likelihoods are sums over all dimensions of an example. Bernoulli's and the discretized logistic's are
probabilities of discrete pixels; the Gaussian's and the logit-Laplace's are densities, which bits per dimension
turn into the probability of an 8-bit pixel by its width in the units of x:

    bits/dim = -(log p(x) / dims + log(width)) / log 2

which bounds the discrete likelihood if x carried uniform noise of that width (arXiv:1511.01844, section 3.1).
"""

import math

import jax
import jax.numpy as jnp

from genjax.typing import Array, Float, Int, PerExample

LOG_2PI = math.log(2 * math.pi)
MIN_LOG_SCALE = -7.0
"""Least log-scale of the discretized logistic, PixelCNN++'s: about a tenth of the width of a pixel's bin."""

Data = Float[Array, "b ..."]


def sum_flat(x: Data) -> PerExample:
    """Sum over all dimensions but the first: [b, ...] to [b]."""
    return jnp.sum(x.reshape(x.shape[0], -1), axis=1)


# ------------------------------------------------------------------------------------------------ divergences


def gaussian_kl_per_dim(mu: Data, logvar: Data) -> Data:
    """KL(N(mu, exp(logvar)) || N(0, 1)) of each dimension in nats, shape of mu (arXiv:1312.6114, appendix B)."""
    return 0.5 * (jnp.exp(logvar) + jnp.square(mu) - 1.0 - logvar)


def gaussian_kl(mu: Data, logvar: Data) -> PerExample:
    """KL(N(mu, diag exp(logvar)) || N(0, I)) in nats, [b]."""
    return sum_flat(gaussian_kl_per_dim(mu, logvar))


def free_bits(kl: Float[Array, "b d"], floor: int | float) -> Float[Array, ""]:
    """The KL term with `floor` nats free in each dimension: sum_j max(floor, mean_b kl[b, j]).

    The mean over the batch is inside, so that a dimension is pushed to the prior until it costs `floor` on average
    (arXiv:1606.04934, appendix C.8); for that reason this is no number an example, but the batch's mean.

    Args:
        kl: of each example and latent dimension, nats.
        floor: nats a dimension; 0 gives the plain mean of the sums.
    """
    return jnp.sum(jnp.maximum(jnp.mean(kl, axis=0), floor))


def uniform_kl(logits: Float[Array, "b ... k"]) -> PerExample:
    """KL(Categorical(logits) || uniform over k) in nats, summed over all positions: log k - entropy each."""
    log_q = jax.nn.log_softmax(logits)
    return sum_flat(jnp.sum(jnp.exp(log_q) * (log_q + math.log(logits.shape[-1])), axis=-1))


# ------------------------------------------------------------------------------------------------ log-likelihoods


def gaussian_log_likelihood(x: Data, mean: Data, log_scale: Data | Float[Array, ""]) -> PerExample:
    """log N(x; mean, exp(2 log_scale)) in nats, summed; a density."""
    return sum_flat(-0.5 * jnp.square((x - mean) * jnp.exp(-log_scale)) - log_scale - 0.5 * LOG_2PI)


def standard_normal_log_prob(z: Data) -> PerExample:
    """log N(z; 0, I) in nats, summed; a density."""
    return sum_flat(-0.5 * (jnp.square(z) + LOG_2PI))


def bernoulli_log_likelihood(x: Data, logits: Data) -> PerExample:
    """log Bernoulli(x; sigmoid(logits)) in nats, summed, for x in {0, 1}."""
    return sum_flat(x * logits - jax.nn.softplus(logits))


def discretized_logistic_log_likelihood(x: Data, mean: Data, log_scale: Data | Float[Array, ""]) -> PerExample:
    """log-probability of 8-bit pixels under a rounded logistic distribution, in nats, summed.

        P(x) = sigmoid((x + 1/255 - mean) / s) - sigmoid((x - 1/255 - mean) / s),    s = exp(log_scale)

    with the tails beyond -1 and 1 given to the extreme pixels (arXiv:1606.04934, appendix C.4; arXiv:1701.05517,
    eq. 2). It sums to one over the 256 values. In logarithms throughout,

        log P = log sigmoid(upper) + log sigmoid(-lower) + log(1 - exp(lower - upper))

    so that nothing is lost where the probability is tiny.

    Args:
        x: 8-bit pixels scaled to [-1, 1].
        mean: of the logistic distribution, same units.
        log_scale: log of s, at least `MIN_LOG_SCALE`.
    """
    inverse = jnp.exp(-jnp.maximum(log_scale, MIN_LOG_SCALE))
    upper, lower = (x - mean + 1 / 255) * inverse, (x - mean - 1 / 255) * inverse
    below, above = jax.nn.log_sigmoid(upper), jax.nn.log_sigmoid(-lower)
    inside = below + above + jnp.log(-jnp.expm1(-2 / 255 * inverse))
    return sum_flat(jnp.where(x < -0.999, below, jnp.where(x > 0.999, above, inside)))


def logit_laplace_log_likelihood(x: Data, mu: Data, log_scale: Data) -> PerExample:
    """log-density of x in (0, 1) whose logit has a Laplace distribution, in nats, summed (arXiv:2102.12092, eq. 2).

        f(x) = exp(-|logit(x) - mu| / b) / (2 b x (1 - x)),    b = exp(log_scale)

    Args:
        x: inside (0, 1): pixels go through `logit_laplace_pixels` first.
        mu: location of logit(x).
        log_scale: log of b.
    """
    logit = jnp.log(x) - jnp.log1p(-x)
    density = -jnp.abs(logit - mu) * jnp.exp(-log_scale) - log_scale - jnp.log(2 * x) - jnp.log1p(-x)
    return sum_flat(density)


LOGIT_LAPLACE_EPS = 0.1


def logit_laplace_pixels(images: Data) -> Data:
    """[-1, 1] -> [eps, 1 - eps], eps = .1: where the logit-Laplace density is moderate (arXiv:2102.12092, A.3)."""
    return (1 - 2 * LOGIT_LAPLACE_EPS) * (images + 1) / 2 + LOGIT_LAPLACE_EPS


def logit_laplace_images(mu: Data) -> Data:
    """The image in [-1, 1] of a location: the inverse of `logit_laplace_pixels` at sigmoid(mu), clipped."""
    pixels = (jax.nn.sigmoid(mu) - LOGIT_LAPLACE_EPS) / (1 - 2 * LOGIT_LAPLACE_EPS)
    return 2 * jnp.clip(pixels, 0, 1) - 1


# ------------------------------------------------------------------------------------------------ bounds and units


def gaussian_log_weight(log_likelihood: PerExample, z: Data, mu: Data, logvar: Data) -> PerExample:
    """log w = log p(x | z) + log N(z; 0, I) - log N(z; mu, diag exp(logvar)) of one draw z, in nats."""
    prior = -0.5 * (jnp.square(z) + LOG_2PI)
    posterior = -0.5 * (jnp.square(z - mu) * jnp.exp(-logvar) + logvar + LOG_2PI)
    return log_likelihood + sum_flat(prior - posterior)


def iwae_bound(log_weights: Float[Array, "k b"]) -> PerExample:
    """log (1 / k) sum_i w_i in nats (arXiv:1509.00519, eq. 8)."""
    return jax.nn.logsumexp(log_weights, axis=0) - math.log(log_weights.shape[0])


def bits_per_dim(nats: PerExample, dims: int, bin_width: float | None = None) -> PerExample:
    """Bits a dimension that a log-likelihood (or a bound of it) costs.

    Args:
        nats: log p(x) or a lower bound of it: the higher, the better.
        dims: of an example.
        bin_width: None of a probability; of a density, the width of an 8-bit pixel in the units of x, such as
            2 / 255 for x in [-1, 1].
    """
    mass = nats / dims + (0.0 if bin_width is None else math.log(bin_width))
    return -mass / math.log(2)


# ------------------------------------------------------------------------------------------------ annealing


def linear_ramp(step: Int[Array, ""], num_steps: int) -> Float[Array, ""]:
    """0 at step 0, growing linearly to 1 at `num_steps` and staying there; 1 always if `num_steps` is 0."""
    return jnp.minimum(step / num_steps, 1.0) if num_steps else jnp.asarray(1.0)


def cosine_ramp(step: Int[Array, ""], start: int | float, end: int | float, num_steps: int) -> Float[Array, ""]:
    """From `start` to `end` along half a cosine in `num_steps` steps, staying there (arXiv:2102.12092, A.2)."""
    return end + (start - end) * 0.5 * (1 + jnp.cos(jnp.pi * linear_ramp(step, num_steps)))
