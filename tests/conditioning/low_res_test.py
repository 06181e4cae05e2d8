"""What is told of an image: the statistics of noise, blur and crops, and what is left out together."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from genjax.conditioning import degradation, inputs
from genjax.conditioning import low_res as low_res_lib
from genjax.conditioning.inputs import Cond
from genjax.conditioning.low_res import LowRes

KEY = jax.random.key(0)
SHAPE = (8, 8, 1)


def make_images(count=4, size=8):
    return jax.random.uniform(KEY, (count, size, size, 1), minval=-1, maxval=1)


def test_augmentation_has_the_mean_and_the_deviation_of_its_level_and_0_is_identity():
    z, level = jnp.full((4, 64, 64, 1), 0.6), jnp.array([0.0, 0.1, 0.5, 1.0])
    noisy = low_res_lib.augment(z, level, KEY)
    np.testing.assert_array_equal(noisy[0], z[0])
    angle = np.pi / 2 * np.asarray(level)
    np.testing.assert_allclose(noisy.mean((1, 2, 3)), 0.6 * np.cos(angle), atol=0.05)
    np.testing.assert_allclose(noisy.std((1, 2, 3)), np.sin(angle), atol=0.03)
    keys = jax.random.split(KEY, 4)
    np.testing.assert_allclose(
        low_res_lib.augment(z[2:3], level[2:3], keys[2:3])[0], low_res_lib.augment(z, level, keys)[2], atol=1e-6
    )


def test_blur_keeps_means_widens_by_its_variance_and_0_is_identity():
    """Of a point, the blurred image is the kernel, whose weights are those of a Gaussian at -1, 0 and 1."""
    point = jnp.zeros((2, 7, 7, 1)).at[:, 3, 3].set(1.0)
    sharp, soft = low_res_lib.gaussian_blur(point, jnp.array([0.0, 0.6]))[..., 0]
    np.testing.assert_array_equal(sharp, point[0, ..., 0])
    row = np.exp(-np.array([1, 0, 1]) / (2 * 0.6**2))
    np.testing.assert_allclose(soft[2:5, 2:5], np.outer(row, row) / row.sum() ** 2, rtol=1e-5)
    assert float(soft.sum()) == pytest.approx(1.0)
    flat = jnp.full((1, 4, 4, 1), 0.3)
    np.testing.assert_allclose(low_res_lib.gaussian_blur(flat, jnp.array([2.0])), flat, rtol=1e-6)


def test_the_small_image_of_a_crop_is_the_crop_of_the_small_image():
    x0 = make_images(16)
    settings = LowRes(4, crop_fraction=0.5)
    crops, cond = low_res_lib.training_pair(settings, x0, KEY)
    assert crops.shape == (16, 4, 4, 1) and cond.label is None and cond.aug_level is None
    whole = low_res_lib.downsample(x0, (4, 4, 1))
    corners = set()
    for image, crop, small in zip(x0, crops, low_res_lib.downsample(crops, (2, 2, 1))):
        places = [
            (y, x) for y in range(0, 5, 2) for x in range(0, 5, 2) if bool((image[y : y + 4, x : x + 4] == crop).all())
        ]
        assert len(places) == 1
        y, x = places[0]
        index = int(np.flatnonzero([bool((image == other).all()) for other in x0])[0])
        np.testing.assert_allclose(small, whole[index, y // 2 : y // 2 + 2, x // 2 : x // 2 + 2], atol=1e-6)
        corners.add(places[0])
    assert len(corners) > 4
    np.testing.assert_allclose(
        cond.low_res, jax.image.resize(low_res_lib.downsample(crops, (2, 2, 1)), crops.shape, "bilinear"), atol=1e-6
    )


def test_levels_are_even_and_a_share_is_blurred():
    flat = jnp.zeros((2000, 4, 4, 1))
    training_pair = jax.jit(low_res_lib.training_pair, static_argnums=0)
    _, cond = training_pair(LowRes(2, max_aug_level=0.5), flat, KEY)
    quantiles = np.quantile(cond.aug_level, [0.0, 0.25, 0.5, 0.75, 1.0])
    np.testing.assert_allclose(quantiles, np.linspace(0, 0.5, 5), atol=0.02)
    edge = jnp.concatenate([-jnp.ones((2000, 4, 4, 1)), jnp.ones((2000, 4, 4, 1))], axis=2)
    _, cond = training_pair(LowRes(2, blur=(0.4, 0.6), blur_share=0.25), edge, KEY)
    blurred = np.asarray(jnp.abs(cond.low_res).min((1, 2, 3)) < 0.999)
    sharp_edge = jax.image.resize(low_res_lib.downsample(edge, (2, 4, 1)), edge.shape, "bilinear")
    changed = np.asarray(jnp.abs(cond.low_res - sharp_edge).max((1, 2, 3)) > 1e-3)
    assert changed.mean() == pytest.approx(0.25, abs=0.03) and blurred[changed].all()


def test_what_is_left_out_is_left_out_together():
    chance = (jnp.arange(1000) + 0.5) / 1000
    cond = Cond(jnp.full(1000, 3), jnp.ones((1000, 2, 2, 1)), jnp.full(1000, 0.1))
    left = inputs.drop(cond, chance, 10, 0.1, 0.1)
    assert int((left.label == 10).sum()) == 100 and set(np.unique(left.label)) == {3, 10}
    np.testing.assert_array_equal(left.label == 10, (left.low_res == 0).all((1, 2, 3)))
    np.testing.assert_array_equal(left.aug_level, cond.aug_level)
    np.testing.assert_array_equal(inputs.drop(cond, 0.0, 10, 0.1).label, 10)
    np.testing.assert_array_equal(inputs.drop(cond, 0.0, 10, 0.1).low_res, cond.low_res)


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        (LowRes(3), r"size=3 must divide .* 8x8"),
        (LowRes(4, crop_fraction=0.4), "makes crops of 3x3 .* multiples of 2"),
        (LowRes(4, crop_fraction=2.0), "crop_fraction=2.0"),
        (LowRes(4, blur=(0.6,)), r"blur=\(0.6,\) must be"),
        (LowRes(4, max_aug_level=2.0), "max_aug_level=2.0 must be in"),
    ],
)
def test_refusals(settings, words):
    with pytest.raises(ValueError, match=words):
        low_res_lib.check(settings, SHAPE)


def test_a_level_that_was_not_trained_is_refused():
    assert low_res_lib.check(LowRes(4, max_aug_level=0.5), SHAPE, 0.5) == (4, 4, 1)
    with pytest.raises(ValueError, match="aug_level=0.6 is none of the levels .*max_aug_level=0.5"):
        low_res_lib.check(LowRes(4, max_aug_level=0.5), SHAPE, 0.6)


@pytest.mark.slow
def test_small_images_may_be_degraded_in_training():
    settings = LowRes(size=8, bsr=True)
    x0 = jax.random.uniform(jax.random.key(0), (2, 16, 16, 3), minval=-1, maxval=1)
    pair = jax.jit(lambda settings_key: low_res_lib.training_pair(settings, x0, settings_key))
    worse = pair(jax.random.key(1))[1].low_res
    clean = low_res_lib.upsample(low_res_lib.downsample(x0, (8, 8, 3)), (16, 16))
    assert worse.shape == clean.shape and jnp.abs(worse - clean).mean() > 0.02


def test_each_is_blurred_by_its_own_width_then_degraded_for_its_factor_then_noised(monkeypatch):
    seen = []
    blur = low_res_lib.gaussian_blur
    monkeypatch.setattr(low_res_lib, "gaussian_blur", lambda x, std: seen.append((x, std)) or blur(x, std))
    monkeypatch.setattr(degradation, "bsr", lambda x, factor, key: seen.append((x, factor)) or 0 * x + 0.5)
    settings = LowRes(2, blur=(0.4, 0.6), blur_share=0.75, bsr=True, max_aug_level=1e-6)
    x0 = jnp.tile(make_images(1), (2000, 1, 1, 1))
    _, cond = low_res_lib.training_pair(settings, x0, KEY)
    (sharp, std), (blurred, factor) = seen
    np.testing.assert_allclose(sharp, low_res_lib.downsample(x0, (2, 2, 1)))
    np.testing.assert_allclose(blurred, blur(sharp, std), atol=1e-6)
    std = np.asarray(std)
    assert (std == 0).mean() == pytest.approx(0.25, abs=0.04) and factor == 4
    np.testing.assert_allclose(
        np.quantile(std[std > 0], [0.0, 0.25, 0.5, 0.75, 1.0]), np.linspace(0.4, 0.6, 5), atol=0.02
    )
    np.testing.assert_allclose(cond.low_res, 0.5, atol=1e-4)
