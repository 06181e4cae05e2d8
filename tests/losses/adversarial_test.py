"""Adversarial losses by what they must be at equilibrium, their gradients, and penalties of linear critics."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from genjax.losses import adversarial
from genjax.losses.adversarial import LOSSES

KEY = jax.random.key(0)
LOGITS = jnp.linspace(-4.0, 4.0, 17)


def slope(function, *at):
    """Gradient of a per-example loss by its first argument."""
    return jax.grad(lambda x: jnp.sum(function(x, *at[1:])))(at[0])


def linear_critic(shape=(4, 5, 2)):
    weight = jax.random.normal(KEY, shape)
    return (lambda images: jnp.einsum("bhwc,hwc->b", images, weight)), float(jnp.linalg.norm(weight))


@pytest.mark.parametrize("name", ["minimax", "non_saturating"])
def test_equilibrium_is_log_4(name):
    loss = adversarial.make(name)
    zeros = jnp.zeros(3)
    np.testing.assert_allclose(loss.discriminator(zeros, zeros), np.log(4), rtol=1e-6)


@pytest.mark.parametrize("name", ["minimax", "non_saturating"])
def test_optimal_discriminator_of_two_densities(name):
    """The minimum of p s(-D) + q s(D) is at D = log p / q, and of value log 4 - 2 JS(p, q)."""
    p, q = jnp.array([0.7, 0.2, 0.1]), jnp.array([0.1, 0.3, 0.6])
    loss = adversarial.make(name)

    def value(logits):
        real, fake = loss.discriminator(logits, jnp.full(3, -1e9)), loss.discriminator(jnp.full(3, 1e9), logits)
        return jnp.sum(p * real + q * fake)

    best = jnp.log(p / q)
    np.testing.assert_allclose(jax.grad(value)(best), 0.0, atol=1e-6)
    middle = (p + q) / 2
    divergence = 0.5 * jnp.sum(p * jnp.log(p / middle) + q * jnp.log(q / middle))
    np.testing.assert_allclose(value(best), np.log(4) - 2 * divergence, rtol=1e-5)


def test_minimax_is_a_zero_sum_game():
    loss = adversarial.make("minimax")
    sure = jnp.full(LOGITS.shape, 1e9)  # the discriminator's loss on real images is 0
    np.testing.assert_allclose(loss.discriminator(sure, LOGITS), -loss.generator(LOGITS), rtol=1e-6)


def test_gradients_of_the_generator():
    chance = jax.nn.sigmoid(LOGITS)
    saturating = slope(adversarial.make("minimax").generator, LOGITS)
    np.testing.assert_allclose(saturating, -chance, rtol=1e-5)
    np.testing.assert_allclose(slope(adversarial.make("non_saturating").generator, LOGITS), chance - 1, rtol=1e-5)
    assert abs(saturating[0]) < 0.02, "vanishes where the discriminator is sure"
    for name in ("hinge", "wasserstein"):
        np.testing.assert_allclose(slope(adversarial.make(name).generator, LOGITS), -1.0)
    np.testing.assert_allclose(slope(adversarial.make("least_squares").generator, LOGITS), LOGITS - 1, atol=1e-6)


def test_hinge_looks_within_the_margin_only():
    loss = adversarial.make("hinge")
    np.testing.assert_array_equal(slope(loss.discriminator, jnp.array([-3.0, 0.5, 1.5]), jnp.zeros(3)), [-1, -1, 0])
    np.testing.assert_array_equal(loss.discriminator(jnp.array([2.0, 0.0]), jnp.array([-2.0, 0.0])), [0, 2])


def test_least_squares_is_zero_at_its_targets():
    loss = adversarial.make("least_squares")
    np.testing.assert_array_equal(loss.discriminator(jnp.ones(2), jnp.zeros(2)), 0.0)
    np.testing.assert_allclose(loss.discriminator(jnp.full(2, 0.5), jnp.full(2, 0.5)), 0.25)
    assert loss.generator(jnp.ones(1)) == 0.0


def test_wasserstein_knows_differences_only():
    loss = adversarial.make("wasserstein")
    real, fake = LOGITS, LOGITS[::-1]
    np.testing.assert_allclose(loss.discriminator(real + 7, fake + 7), loss.discriminator(real, fake), atol=1e-5)
    for shift in (0.0, 7.0):
        of_real, of_fake = adversarial.correct(loss, jnp.array([2.0, 3.0]) + shift, jnp.array([-2.0, -3.0]) + shift)
        assert of_real.mean() == of_fake.mean() == 1.0


@pytest.mark.parametrize("name", sorted(LOSSES))
def test_discriminators_rise_with_the_wrong_sign(name):
    loss = adversarial.make(name)
    inside = jnp.linspace(0.1, 0.9, 5)
    assert (slope(loss.discriminator, inside, inside) < 0).all(), "real logits are raised"
    assert (slope(lambda fake, real: loss.discriminator(real, fake), inside, inside) > 0).all(), "fake ones lowered"
    assert (slope(loss.generator, inside) < 0).all()
    boundary = 0.5 if loss.boundary is None else loss.boundary
    of_real, of_fake = adversarial.correct(loss, boundary + jnp.array([1.0, -1.0]), boundary + jnp.array([1.0, -1.0]))
    np.testing.assert_array_equal(of_real, [1, 0])
    np.testing.assert_array_equal(of_fake, [0, 1])


def test_gradient_penalty_of_a_linear_critic():
    critic, norm = linear_critic()
    real, fake = jax.random.normal(KEY, (2, 3, 4, 5, 2))
    values = adversarial.gradient_penalty(critic, real, fake, KEY)
    np.testing.assert_allclose(values, 10 * (norm - 1) ** 2, rtol=1e-5)
    unit = adversarial.gradient_penalty(lambda x: critic(x) / norm, real, fake, KEY, weight=1)
    np.testing.assert_allclose(unit, 0.0, atol=1e-9)


def test_gradient_penalty_lies_between_each_pair():
    """Of D(x) = |x|^2 / 2 the gradient is x itself, so the penalty says where it was taken."""
    real, fake = jnp.full((500, 2, 2, 1), 3.0), jnp.full((500, 2, 2, 1), 1.0)
    values = adversarial.gradient_penalty(lambda x: 0.5 * jnp.sum(x**2, axis=(1, 2, 3)), real, fake, KEY, weight=1.0)
    places = (jnp.sqrt(values) + 1) / 2  # the norm of four equal pixels is twice the pixel
    assert places.min() >= 1.0 and places.max() <= 3.0
    np.testing.assert_allclose([places.mean(), places.std()], [2.0, 1 / np.sqrt(3)], atol=0.06)


def test_gradient_penalty_of_a_constant_critic_has_a_gradient():
    images = jnp.zeros((2, 2, 2, 1))

    def total(scale):
        return jnp.sum(adversarial.gradient_penalty(lambda x: scale * jnp.sum(x, (1, 2, 3)), images, images, KEY))

    value, gradient = jax.value_and_grad(total)(0.0)
    np.testing.assert_allclose(value, 20.0)
    assert jnp.isfinite(gradient)


def test_r1_of_linear_and_quadratic_critics():
    critic, norm = linear_critic()
    real = jax.random.normal(KEY, (3, 4, 5, 2))
    np.testing.assert_allclose(adversarial.r1(critic, real, 10), 5 * norm**2, rtol=1e-5)
    squares = jnp.sum(real**2, axis=(1, 2, 3))
    quadratic = adversarial.r1(lambda x: 0.5 * jnp.sum(x**2, axis=(1, 2, 3)), real, 1.0)
    np.testing.assert_allclose(quadratic, 0.5 * squares, rtol=1e-5)


def test_unknown_name():
    with pytest.raises(ValueError, match="unknown adversarial loss 'relativistic'.*hinge"):
        adversarial.make("relativistic")
