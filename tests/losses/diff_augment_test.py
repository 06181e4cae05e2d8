"""Augmentation: what each part may do to a one_image, randomness of each example, gradients, and none at all."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from genjax.losses import diff_augment
from tests.families.draws import draws, repeated

KEY = jax.random.key(0)
ALL = "color,translation,cutout"


def make_images(shape=(64, 8, 8, 3)):
    return jax.random.uniform(KEY, shape, minval=-1, maxval=1)


def test_no_policy_is_the_identity():
    images = make_images()
    np.testing.assert_array_equal(diff_augment.make()(images, KEY), images)
    for policy, settings in (("translation", {"translation": 0.0}), ("cutout", {"cutout": 0.0})):
        np.testing.assert_array_equal(diff_augment.make(policy, **settings)(images, KEY), images)


def test_color_is_affine_in_each_image():
    """Grey images keep to a line, slope 1/2..3/2, and their mean moves by less than 1/2."""
    images = jnp.broadcast_to(make_images((200, 8, 8, 1)), (200, 8, 8, 3))
    changed = diff_augment.color(images, KEY)
    np.testing.assert_allclose(changed[..., 0], changed[..., 2], atol=1e-6)
    mean, spread = changed.mean((1, 2, 3)) - images.mean((1, 2, 3)), changed.std((1, 2, 3)) / images.std((1, 2, 3))
    assert -0.5 <= mean.min() < -0.45 and 0.45 < mean.max() <= 0.5
    assert 0.5 <= spread.min() < 0.55 and 1.45 < spread.max() <= 1.5


def test_saturation_keeps_brightness_and_hue():
    images = make_images((200, 4, 4, 3))
    offsets = images - images.mean(-1, keepdims=True)
    changed = diff_augment.color(images, KEY)
    ratio = (changed - changed.mean(-1, keepdims=True)) / offsets
    np.testing.assert_allclose(ratio, jnp.broadcast_to(ratio[:, :1, :1, :1], ratio.shape), rtol=0.05)
    assert 0 <= ratio.min() < 0.1 and 2 < ratio.max() < 3


@pytest.mark.parametrize("fill", [0.0, -1.0])
def test_translations_are_all_moves_within_reach(fill):
    one_image = make_images((1, 8, 8, 1))
    moved = diff_augment.translate(jnp.repeat(one_image, 200, 0), KEY, 0.125, fill)
    padded = np.pad(one_image[0], ((1, 1), (1, 1), (0, 0)), constant_values=fill)
    moves = np.stack([padded[y : y + 8, x : x + 8] for y in range(3) for x in range(3)])
    distances = np.abs(np.asarray(moved)[:, None] - moves).max((2, 3, 4))
    np.testing.assert_allclose(distances.min(1), 0.0, atol=1e-6)
    assert np.bincount(distances.argmin(1), minlength=9).min() > 8, "each about as often"


def test_cut_out_is_one_square():
    images = make_images((300, 8, 8, 2))
    cut = diff_augment.cut_out(images, KEY, 0.5, fill=-2.0)
    hidden = np.asarray(cut == -2.0)
    np.testing.assert_array_equal(cut[~hidden], images[~hidden])
    np.testing.assert_array_equal(hidden[..., 0], hidden[..., 1])
    rows, columns = hidden[..., 0].any(2), hidden[..., 0].any(1)
    np.testing.assert_array_equal(hidden[..., 0], rows[:, :, None] & columns[:, None, :])
    assert set(rows.sum(1)) == {2, 3, 4} and rows[:, 0].any() and rows[:, 7].any()


def test_each_example_has_its_own_numbers():
    augment = jax.jit(diff_augment.make(ALL))
    same = augment(jnp.repeat(make_images((1, 8, 8, 3)), 5, 0), KEY)
    assert all(jnp.abs(same[0] - other).max() > 0.1 for other in same[1:])
    again = augment(jnp.repeat(make_images((1, 8, 8, 3)), 5, 0), KEY)
    np.testing.assert_array_equal(same, again)


def test_gradient_passes_and_is_that_of_a_linear_map():
    """Given its random numbers T is affine, so T(x + d) - T(x) is its gradient times d."""
    augment = diff_augment.make(ALL, fill=-1)
    images = make_images((6, 8, 8, 3))
    direction = jax.random.normal(KEY, images.shape)

    @jax.jit
    def derivatives(images):
        value, change = jax.jvp(lambda x: augment(x, KEY), (images,), (direction,))
        return value, change, jax.grad(lambda x: jnp.sum(augment(x, KEY) ** 2))(images)

    value, change, gradient = derivatives(images)
    np.testing.assert_allclose(jax.jit(augment)(images + direction, KEY) - value, change, atol=1e-5)
    assert (jnp.abs(gradient).max((1, 2, 3)) > 0).all()


def test_every_draw_has_a_key_of_its_own():
    """Colour; rows and columns of translation and of cutout, which take two draws each."""
    found = draws(lambda key: diff_augment.make(ALL)(make_images((4, 8, 8, 1)), key), KEY)
    found = [draw for draw in found if draw.shape != (4, 8, 8, 1)]
    assert len(found) == 1 + 4 + 4 and not repeated(found)


def test_parts_do_not_shift_each_other():
    images = make_images((4, 8, 8, 1))
    both = diff_augment.make("translation,cutout", cutout=0.0)(images, KEY)
    np.testing.assert_array_equal(both, diff_augment.make("translation")(images, KEY))


def test_unknown_part():
    with pytest.raises(ValueError, match="unknown augmentation 'rotate' in policy 'color,rotate'"):
        diff_augment.make("color,rotate")
