"""Losses of generator and discriminator, and the penalties on the discriminator's gradient.

With logits (or, of a critic, scores) r = D(x) of real and f = D(G(z)) of generated images, s(a) = log(1 + e^a), and all
losses to be minimised:

    name            discriminator              generator
    minimax         s(-r) + s(f)               -s(f)           Goodfellow et al., arXiv:1406.2661, equation 1
    non_saturating  s(-r) + s(f)               s(-f)           the same, section 3
    hinge           max(0, 1-r) + max(0, 1+f)  -f              Lim & Ye, arXiv:1705.02894
    least_squares   (r-1)^2 / 2 + f^2 / 2      (f-1)^2 / 2     Mao et al., arXiv:1611.04076, equation 9
    wasserstein     f - r                      -f              Arjovsky et al., arXiv:1701.07875

With P(real | x) = sigmoid(D(x)), s(-r) = -log P(real | x) and s(f) = -log(1 - P(real | G(z))). Where the optimal
discriminator log(p_data / p_G) meets p_G = p_data, the first two are 2 log 2. The generator's gradient by f is
-sigmoid(f) of minimax, which vanishes where the discriminator is sure (f << 0), and sigmoid(f) - 1 of the other.

Penalties keep the discriminator smooth. They hold for each example by itself, so its network must not mix
examples, as batch norm does:

    WGAN-GP  weight * (|grad D(x_mix)| - 1)^2,  x_mix = a x + (1 - a) G(z),  a ~ U(0, 1) of each example
    R1       gamma / 2 * |grad D(x)|^2

(Gulrajani et al., arXiv:1704.00028, equation 3, weight 10; Mescheder et al., arXiv:1801.04406, equation 9). Norms are
over all pixels and channels.
"""

from collections.abc import Callable
from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp

from genjax.core.numerics import expand_to
from genjax.typing import Array, Float, Image, Int, Key, PerExample

Critic = Callable[[Image], PerExample]
"""images [b, h, w, c] -> logits [b], of each by itself."""


class AdversarialLoss(NamedTuple):
    """A pair of losses, both to be minimised.

    Attributes:
        discriminator: (real_logits [b], fake_logits [b]) -> [b].
        generator: fake_logits [b] -> [b].
        boundary: the logit above which the discriminator takes an image for real. None of a critic, whose scores
            have no zero: halfway between the mean scores of real and of generated images.
    """

    discriminator: Callable[[PerExample, PerExample], PerExample]
    generator: Callable[[PerExample], PerExample]
    boundary: float | None = 0.0


def minimax() -> AdversarialLoss:
    """The game of 2014: the generator lowers the discriminator's chance of being right (arXiv:1406.2661)."""
    return AdversarialLoss(_cross_entropy, lambda fake_logits: -jax.nn.softplus(fake_logits))


def non_saturating() -> AdversarialLoss:
    """The generator raises the chance of being wrong instead, whose gradient doesn't vanish (arXiv:1406.2661)."""
    return AdversarialLoss(_cross_entropy, lambda fake_logits: jax.nn.softplus(-fake_logits))


def hinge() -> AdversarialLoss:
    """The discriminator learns only from logits within its margin (arXiv:1705.02894); BigGAN's loss."""
    return AdversarialLoss(
        lambda real_logits, fake_logits: jax.nn.relu(1 - real_logits) + jax.nn.relu(1 + fake_logits),
        lambda fake_logits: -fake_logits,
    )


def least_squares() -> AdversarialLoss:
    """Regression to 1 for real and 0 for generated images (arXiv:1611.04076)."""
    return AdversarialLoss(
        lambda real_logits, fake_logits: 0.5 * jnp.square(real_logits - 1) + 0.5 * jnp.square(fake_logits),
        lambda fake_logits: 0.5 * jnp.square(fake_logits - 1),
        boundary=0.5,
    )


def wasserstein() -> AdversarialLoss:
    """The difference of a critic's scores (arXiv:1701.07875), to be used with `gradient_penalty`."""
    return AdversarialLoss(
        lambda real_logits, fake_logits: fake_logits - real_logits,
        lambda fake_logits: -fake_logits,
        boundary=None,
    )


LOSSES = {
    "minimax": minimax,
    "non_saturating": non_saturating,
    "hinge": hinge,
    "least_squares": least_squares,
    "wasserstein": wasserstein,
}


def make(name: str) -> AdversarialLoss:
    """The loss by its name in `LOSSES`.

    Raises:
        ValueError: for an unknown name.
    """
    if name not in LOSSES:
        raise ValueError(f"unknown adversarial loss {name!r}; use one of {sorted(LOSSES)}")
    return LOSSES[name]()


def _cross_entropy(real_logits: PerExample, fake_logits: PerExample) -> PerExample:
    """-log P(real | x) - log(1 - P(real | G(z))), in nats."""
    return jax.nn.softplus(-real_logits) + jax.nn.softplus(fake_logits)


def correct(
    loss: AdversarialLoss, real_logits: Float[Array, " n"], fake_logits: Float[Array, " m"]
) -> tuple[Float[Array, " n"], Float[Array, " m"]]:
    """1 where the discriminator is right: (of real images, of generated ones). At equilibrium the means sum to 1.

    Args:
        loss: gives the boundary.
        real_logits, fake_logits: what the discriminator says.
    """
    boundary: Array | float | None = loss.boundary
    if boundary is None:
        boundary = 0.5 * (jnp.mean(real_logits) + jnp.mean(fake_logits))
    return (real_logits > boundary).astype(jnp.float32), (fake_logits <= boundary).astype(jnp.float32)


def watch(loss: AdversarialLoss, real_logits: PerExample, fake_logits: PerExample) -> dict[str, PerExample]:
    """What tells how the two players stand: the share of either kind that the discriminator tells, and its logits."""
    accuracy_real, accuracy_fake = correct(loss, real_logits, fake_logits)
    return {
        "accuracy_real": accuracy_real,
        "accuracy_fake": accuracy_fake,
        "real_logits": real_logits,
        "fake_logits": fake_logits,
    }


def gradient_penalty(
    critic: Critic, real: Image, fake: Image, key: Key, weight: float | int | Float[Array, ""] = 10.0
) -> PerExample:
    """`weight * (|grad D| - 1)^2` between real and generated images (WGAN-GP, arXiv:1704.00028).

    Args:
        critic: acts on each image by itself.
        real, fake: as many of one as of the other.
        key: of the place of each pair on the line between them.
        weight: lambda.
    """
    share = expand_to(jax.random.uniform(key, real.shape[:1], real.dtype), real)
    squared = _squared_gradient(critic, share * real + (1 - share) * fake)
    norm = jnp.sqrt(jnp.maximum(squared, 1e-24))  # the gradient of sqrt at 0 is infinite
    return weight * jnp.square(norm - 1)


def r1(critic: Critic, real: Image, gamma: float | int | Float[Array, ""]) -> PerExample:
    """`gamma / 2 * |grad D|^2` at real images (arXiv:1801.04406).

    Args:
        critic: acts on each image by itself.
        real: where to take the gradient.
        gamma: its strength; if it is applied on every n-th step only, n times as much (arXiv:1912.04958).
    """
    return 0.5 * gamma * _squared_gradient(critic, real)


def lazy_r1(critic: Critic, real: Image, gamma: float, interval: int, step: Int[Array, ""]) -> PerExample:
    """`r1` on every `interval`-th step only, then as many times as strong, and 0 else (arXiv:1912.04958)."""
    if interval == 1:
        return r1(critic, real, gamma)
    due = partial(r1, critic, gamma=gamma * interval)
    return jax.lax.cond(step % interval == 0, due, lambda images: jnp.zeros(images.shape[0]), real)


def _squared_gradient(critic: Critic, images: Image) -> PerExample:
    """Squared norm of the critic's gradient by each image."""
    gradient = jax.grad(lambda x: jnp.sum(critic(x)))(images)
    return jnp.sum(jnp.square(gradient), axis=tuple(range(1, images.ndim)))
