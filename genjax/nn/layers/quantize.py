"""Vector quantisation with a learned codebook (VQ-VAE, arXiv:1711.00937; moving averages as in its appendix A.1).

    codes = argmin_k || z - e_k ||^2,    z_q = e_codes,    gradient straight through:  z + sg(z_q - z)

The K x D codebook learns in one of two ways.

"loss": its vectors are parameters, moved by `genjax.losses.vq.codebook_loss`.

"ema": its vectors are the means of the outputs that chose them, by moving averages over batches. With the number n_k
of members of code k in a batch and their sum s_k,

    N_k <- g N_k + (1 - g) n_k,    S_k <- g S_k + (1 - g) s_k                       (both from zero)
    N'_k = N_k / (1 - g^t),        S'_k = S_k / (1 - g^t)                           (zero-debiased, t updates so far)
    e_k = S'_k / M_k,              M_k = (N'_k + eps) / (sum N' + K eps) * sum N'   (Laplace smoothing)

as in Sonnet. There a code that no output has ever chosen becomes the zero vector at the first update, all such codes
the same one: S' is 0 and M is not. The sums run over the batch of all devices: under jit they are global as they stand.
The state is not optimised: it lives in a family's `extra`, and its vectors are what encoding and decoding use, also
after training.

Restart of dead codes, which is not in the papers: after an update, a code with N'_k below `restart_threshold` times
the mean size becomes a random output of the batch, with the mean size for a start, so that it has time to find
members. At the first update all codes without members are dead; so the codebook starts from data.
"""

import math
from typing import NamedTuple

import jax
import jax.numpy as jnp

from genjax.typing import Array, Float, Int, Key

LOGICAL_AXES = [
    (r"(codebook|vectors|sums)(/\d+)?$", ("vocab", "embed")),
]
LEARNING = ("ema", "loss")
MOVES_ONCE = "its codebook's averages move once a batch; codebook.learning='loss' learns in pieces (no restarts)"
"""Why a codebook that learns by moving averages needs its batch as a whole."""


class CodebookSettings(NamedTuple):
    """What a codebook is and how it learns.

    Attributes:
        num_codes: K.
        dim: D.
        learning: "ema" or "loss"; see the module.
        decay: g of the moving averages.
        epsilon: eps of Laplace smoothing.
        restart_threshold: share of the mean size below which a code is dead; 0 = no restarts. With "ema" only.
    """

    num_codes: int = 512
    dim: int = 64
    learning: str = "ema"
    decay: float = 0.99
    epsilon: float = 1e-5
    restart_threshold: float = 0.0


class EmaCodebook(NamedTuple):
    """A codebook learned by moving averages.

    Attributes:
        vectors: e, what encoding and decoding use.
        sizes: N, not debiased.
        sums: S, not debiased.
        updates: t.
    """

    vectors: Float[Array, "k d"]
    sizes: Float[Array, " k"]
    sums: Float[Array, "k d"]
    updates: Int[Array, ""]


class Quantized(NamedTuple):
    """Outputs of an encoder and their codes.

    Attributes:
        z: outputs.
        z_q: the code vector of each.
        codes: its number.
    """

    z: Float[Array, "b h w d"]
    z_q: Float[Array, "b h w d"]
    codes: Int[Array, "b h w"]

    def straight_through(self) -> Float[Array, "b h w d"]:
        """z_q, with the gradient of z: the decoder's gradient goes to the encoder as if nothing were quantised."""
        return self.z + jax.lax.stop_gradient(self.z_q - self.z)


def check(settings: CodebookSettings) -> None:
    """Refuse settings that don't fit together.

    Raises:
        ValueError: for an unknown way of learning, a decay outside [0, 1), an epsilon that isn't positive, or restarts
            of a codebook of parameters.
    """
    if settings.learning not in LEARNING:
        raise ValueError(f"unknown codebook learning {settings.learning!r}; it is one of {list(LEARNING)}")
    for name in ("num_codes", "dim"):
        if getattr(settings, name) < 1:
            raise ValueError(f"the codebook's {name}={getattr(settings, name)} must be at least 1")
    if not 0 < settings.epsilon < math.inf:
        raise ValueError(f"the codebook's epsilon={settings.epsilon} must be more than 0, or unused codes are NaN")
    if not 0 <= settings.restart_threshold < math.inf:
        raise ValueError(f"the codebook's restart_threshold={settings.restart_threshold} must be at least 0")
    if not 0 <= settings.decay < 1:
        raise ValueError(f"the codebook's decay {settings.decay} must be at least 0 and less than 1")
    if settings.restart_threshold and settings.learning != "ema":
        raise ValueError(
            f"restart_threshold={settings.restart_threshold} needs a codebook that learns by 'ema': "
            "one that learns by loss is moved by its optimizer alone; set it to 0"
        )


def init_vectors(key: Key, settings: CodebookSettings) -> Float[Array, "k d"]:
    """Uniform vectors of variance 1/D in each channel, as Sonnet's: of length 1 on average."""
    limit = (3.0 / settings.dim) ** 0.5
    return jax.random.uniform(key, (settings.num_codes, settings.dim), minval=-limit, maxval=limit)


def init_ema(key: Key, settings: CodebookSettings) -> EmaCodebook:
    """A fresh codebook with empty averages."""
    vectors = init_vectors(key, settings)
    return EmaCodebook(vectors, jnp.zeros(len(vectors)), jnp.zeros_like(vectors), jnp.zeros((), jnp.int32))


def nearest(z: Float[Array, "*s d"], vectors: Float[Array, "k d"]) -> Int[Array, "*s"]:
    """The number of the code vector nearest to each output, the first of equally near ones.

    ||z||^2 - 2 z.e + ||e||^2 by one matrix product, without its first term, which no choice depends on: memory for
    one number per output and code. Both are taken from the middle of the code vectors: far from the origin the terms
    would be large, and their difference rounded.
    """
    wide = jnp.promote_types(z.dtype, jnp.float32)
    z, vectors = z.astype(wide), vectors.astype(wide)
    middle = vectors.mean(0)
    z, vectors = z - middle, vectors - middle
    products = jnp.einsum("...d,kd->...k", z, vectors, precision=jax.lax.Precision.HIGHEST)
    return jnp.argmin(jnp.square(vectors).sum(-1) - 2.0 * products, axis=-1).astype(jnp.int32)


def quantize(z: Float[Array, "b h w d"], vectors: Float[Array, "k d"]) -> Quantized:
    """Each output with its nearest code vector. The vectors' own gradient is that of `z_q`."""
    codes = nearest(jax.lax.stop_gradient(z), jax.lax.stop_gradient(vectors))
    return Quantized(z, lookup(codes, vectors).astype(z.dtype), codes)


def lookup(codes: Int[Array, "*s"], vectors: Float[Array, "k d"]) -> Float[Array, "*s d"]:
    """The vector of each code; NaN for a code that there isn't, so that a mistake shows."""
    return jnp.take(vectors, codes, axis=0, mode="fill", fill_value=jnp.nan)


def update_ema(codebook: EmaCodebook, quantized: Quantized, key: Key, settings: CodebookSettings) -> EmaCodebook:
    """The codebook after a batch; see the module for the equations.

    Args:
        codebook: before it.
        quantized: the batch's outputs, by this codebook.
        key: chooses the outputs that dead codes become.
        settings: decay, smoothing, restarts.
    """
    wide = jnp.promote_types(quantized.z.dtype, jnp.float32)
    z = jax.lax.stop_gradient(quantized.z).reshape(-1, settings.dim).astype(wide)
    members = jax.nn.one_hot(quantized.codes.reshape(-1), settings.num_codes, dtype=wide)
    totals = jnp.einsum("nk,nd->kd", members, z, precision=jax.lax.Precision.HIGHEST)
    sizes = settings.decay * codebook.sizes + (1 - settings.decay) * members.sum(0)
    sums = settings.decay * codebook.sums + (1 - settings.decay) * totals
    updates = codebook.updates + 1

    debias = 1 - settings.decay ** updates.astype(wide)
    total = (sizes / debias).sum()
    smoothed = sizes / debias + settings.epsilon
    smoothed = smoothed / (total + settings.num_codes * settings.epsilon) * total
    vectors = sums / debias / smoothed[:, None]
    if settings.restart_threshold:
        mean = debias * total / settings.num_codes
        dead = sizes < settings.restart_threshold * mean
        chosen = z[jax.random.randint(key, (settings.num_codes,), 0, len(z))]
        vectors = jnp.where(dead[:, None], chosen, vectors)
        sums = jnp.where(dead[:, None], chosen * mean, sums)
        sizes = jnp.where(dead, mean, sizes)
    return EmaCodebook(vectors, sizes, sums, updates)


def shares(codes: Int[Array, "..."], num_codes: int) -> Float[Array, " k"]:
    """The share of each code among the codes given."""
    return jax.nn.one_hot(codes.reshape(-1), num_codes).mean(0)


def perplexity(codes: Int[Array, "..."], num_codes: int) -> Float[Array, ""]:
    """exp of the entropy of the codes' shares: how many codes are in use, as if all were used equally."""
    return perplexity_of(shares(codes, num_codes))


def perplexity_of(share: Float[Array, " k"]) -> Float[Array, ""]:
    """`perplexity` of codes with these shares."""
    return jnp.exp(-jnp.sum(jax.scipy.special.xlogy(share, share)))


def usage(codes: Int[Array, "..."], num_codes: int) -> Float[Array, ""]:
    """The share of the codebook that occurs at all among the codes given, in [0, 1]."""
    return usage_of(shares(codes, num_codes))


def usage_of(share: Float[Array, " k"]) -> Float[Array, ""]:
    """`usage` of codes with these shares."""
    return jnp.mean(share > 0)
