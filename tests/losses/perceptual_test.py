"""Energies against what they are by hand."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from genjax.losses import perceptual
from tests.families.draws import draws, repeated

KEY = jax.random.key(0)


def test_gram_forgets_places_and_style_energy_is_zero_for_the_reference():
    maps = jax.random.normal(KEY, (2, 4, 4, 3))
    flat = np.asarray(maps, np.float64).reshape(2, 16, 3)
    np.testing.assert_allclose(perceptual.gram(maps), flat.transpose(0, 2, 1) @ flat / 16, rtol=1e-5)
    shuffled = maps.reshape(2, 16, 3)[:, np.random.default_rng(0).permutation(16)].reshape(maps.shape)
    np.testing.assert_allclose(perceptual.gram(shuffled), perceptual.gram(maps), rtol=1e-5)
    energy = perceptual.style_energy([maps], [perceptual.gram(maps[:1])])
    difference = flat[1].T @ flat[1] / 16 - flat[0].T @ flat[0] / 16
    np.testing.assert_allclose(energy, [0, (difference**2).mean()], rtol=1e-4, atol=1e-10)


def test_random_filters_have_unit_norm_and_maps_are_correlations():
    filters = perceptual.random_filters(KEY, 2, sizes=(3,), width=5)
    np.testing.assert_allclose(np.linalg.norm(filters[0].reshape(-1, 5), axis=0), 1, rtol=1e-5)
    image = jax.random.normal(jax.random.key(1), (1, 4, 4, 2))
    maps = perceptual.filter_maps(filters, image)[0]
    by_hand = np.maximum(np.einsum("ijc,ijcf->f", image[0, 1:4, :3], filters[0]), 0)
    assert maps.shape == (1, 2, 2, 5)
    np.testing.assert_allclose(maps[0, 1, 0], by_hand, rtol=1e-4, atol=1e-6)


def test_low_pass_sees_block_means_only():
    image = jax.random.normal(KEY, (1, 8, 8, 1))
    checker = jnp.asarray(np.indices((8, 8)).sum(0) % 2 * 2.0 - 1)[None, ..., None]
    np.testing.assert_allclose(perceptual.low_pass(image + checker, 4), perceptual.low_pass(image, 4), atol=1e-6)
    assert perceptual.low_pass(image, 4)[0, 1, 0, 0] == pytest.approx(float(image[0, 4:, :4].mean()), abs=1e-6)
    with pytest.raises(ValueError, match="blocks of 3x3 pixels don't fill a 8x8 image"):
        perceptual.low_pass(image, 3)


def test_spherical_distance_is_half_the_squared_angle_and_smooth_at_zero():
    angles = np.array([0.3, 1.0, 2.5])
    x = jnp.asarray(np.stack([3 * np.cos(angles), 3 * np.sin(angles)], axis=-1))
    wanted = jnp.array([1.0, 0.0])
    np.testing.assert_allclose(perceptual.spherical_distance(x, wanted), angles**2 / 2, rtol=1e-4)
    assert jnp.isfinite(jax.grad(lambda v: perceptual.spherical_distance(v, wanted))(wanted)).all()


def test_total_variation_and_range():
    ramp = jnp.broadcast_to(jnp.arange(4.0)[None, None, :, None], (1, 3, 4, 1))
    assert perceptual.total_variation(ramp)[0] == pytest.approx(3 / 4)
    np.testing.assert_allclose(perceptual.range_energy(jnp.array([0.5, 3.0]).reshape(2, 1, 1, 1)), [0.0, 4.0])


def test_total_variation_is_of_both_directions_and_the_border_adds_nothing():
    slope = 2.0 * jnp.arange(3.0)[:, None] + jnp.arange(4.0)
    assert perceptual.total_variation(slope[None, ..., None])[0] == pytest.approx((9 * 1 + 8 * 4) / 12)


def test_style_energy_is_the_mean_over_layers():
    layers = [jnp.ones((1, 2, 2, 1)), 2 * jnp.ones((1, 4, 4, 1))]
    targets = [jnp.zeros((1, 1, 1)), jnp.ones((1, 1, 1))]
    np.testing.assert_allclose(perceptual.style_energy(layers, targets), [(1 + 9) / 2])


@pytest.mark.parametrize(("smallest", "power", "share"), [(1.0, 1.0, 1.0), (0.25, 0.0, 1.0), (0.25, 1e4, 0.25)])
def test_sizes_of_cutouts_lie_between_the_smallest_and_the_whole(smallest, power, share):
    """Of a slope, the steps of a cutout are as long as its size says: u^0 is all, u^10000 nothing."""
    slope = jnp.broadcast_to(jnp.arange(16.0)[:, None], (16, 16))[None, ..., None]
    cuts = perceptual.cutouts(KEY, slope, 3, 4, smallest, power)
    np.testing.assert_allclose(np.diff(cuts[:, 0, 1:3, 1, 0], axis=1), share * 4, rtol=0.02)


def test_every_draw_of_cutouts_has_a_key_of_its_own():
    found = draws(lambda key: perceptual.cutouts(key, jnp.zeros((1, 8, 8, 1)), 3, 4), KEY)
    assert sorted(draw.shape for draw in found) == [(), (2,)] and not repeated(found)


def test_cutouts_are_squares_of_the_image():
    """Of an image whose pixels tell their place, a cutout's pixels lie on a grid of equal steps within it."""
    side = 16
    y, x = np.meshgrid(np.arange(side) + 0.5, np.arange(side) + 0.5, indexing="ij")
    image = jnp.asarray(np.stack([y, x], axis=-1), jnp.float32)[None]
    cuts = np.asarray(perceptual.cutouts(KEY, image, 5, 4))
    assert cuts.shape == (5, 1, 4, 4, 2)
    for cut in cuts[:, 0]:
        steps = np.diff(cut[1:3, 1:3, 0], axis=0), np.diff(cut[1:3, 1:3, 1], axis=1)
        assert np.ptp(np.concatenate([step.ravel() for step in steps])) < 0.35
        assert 0.3 * side / 4 * 0.8 < steps[0].mean() < side / 4 * 1.05
        assert cut.min() >= 0 and cut.max() <= side
    assert len({round(float(cut[0, 0, 0, 0]), 3) for cut in cuts}) == 5


def test_cutouts_are_anywhere_within_the_image_and_not_beyond():
    """The middle of a cutout of share s is 8 + (u - 1/2) (1 - s) 16, with u and 1 - s uniform in [0, 1] and [0, .7]."""
    places = jnp.arange(16.0) + 0.5
    image = jnp.stack(jnp.meshgrid(places, places, indexing="ij"), axis=-1)[None]
    cuts = perceptual.cutouts(KEY, image, 400, 4)[:, 0]
    assert cuts.min() > 0.4 and cuts.max() < 15.6
    middles = cuts.mean((1, 2))
    np.testing.assert_allclose(middles.mean(0), 8.0, atol=0.4)
    np.testing.assert_allclose(middles.std(0), 16 * (0.7**2 / 36) ** 0.5, atol=0.25)
