import io

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from PIL import Image

from genjax.core import images as images_lib
from genjax.diffusion import degradation

KEY = jax.random.key(0)


@pytest.fixture(scope="module")
def pictures():
    """Smooth coloured pictures of 24x20 pixels."""
    small = jax.random.uniform(KEY, (3, 6, 5, 3), minval=-1, maxval=1)
    return jnp.clip(images_lib.resize(small, (24, 20), "cubic"), -1, 1)


def by_library(pictures, quality):
    """uint8 pictures through a JPEG file."""
    read = []
    for picture in pictures:
        file = io.BytesIO()
        Image.fromarray(picture.squeeze()).save(file, "JPEG", quality=quality)
        read.append(np.asarray(Image.open(file)).reshape(picture.shape))
    return np.stack(read).astype(np.float32)


@pytest.mark.parametrize("quality", [30, 90])
def test_jpeg_is_that_of_a_library(pictures, quality):
    """Of grey pictures but for ties in rounding; of colours roughly, for chroma is enlarged otherwise."""
    grey = images_lib.to_uint8(pictures.mean(axis=-1, keepdims=True))

    @jax.jit
    def run(pixels):
        return images_lib.to_uint8(degradation.jpeg(images_lib.from_uint8(pixels), jnp.full((3,), float(quality))))

    error = np.abs(np.asarray(run(grey), np.float32) - by_library(np.asarray(grey), quality))
    assert error.max() <= 10 and error.mean() < 0.5
    tinted = images_lib.to_uint8(0.8 * pictures.mean(axis=-1, keepdims=True) + 0.1 * pictures[:1, :1, :1])
    error = np.abs(np.asarray(run(tinted), np.float32) - by_library(np.asarray(tinted), quality))
    assert error.mean() < 2


def test_blur_is_round_or_along_an_angle():
    spot = jnp.zeros((2, 15, 15, 1)).at[:, 7, 7].set(1.0)
    blurred = degradation.blur(spot, jnp.array([1.0, 1.0]), jnp.array([1.0, 1e-4]), jnp.array([0.3, 0.0]))[..., 0]
    np.testing.assert_allclose(blurred.sum(axis=(1, 2)), 1, atol=1e-5)
    np.testing.assert_allclose(blurred[0], blurred[0].T, atol=1e-6)
    assert blurred[1, 7, 6] > 0.2 and blurred[1, 6, 7] < 1e-6
    flat = jnp.full((1, 6, 6, 3), 0.3)
    np.testing.assert_allclose(degradation.random_blur(flat, 4, KEY), flat, atol=1e-6)


def test_resizing_keeps_planes_and_loses_detail():
    methods = jnp.arange(3)
    flat = jnp.full((3, 9, 12, 2), 0.3)
    share = jnp.array([0.5, 0.7, 0.9])
    np.testing.assert_allclose(degradation.down_and_up(flat, share, methods, methods), flat, atol=1e-5)
    checks = jnp.tile((jnp.indices((12, 12)).sum(0) % 2 * 2.0 - 1)[None, ..., None], (3, 1, 1, 1))
    np.testing.assert_allclose(degradation.down_and_up(checks, jnp.ones(3), methods, methods), checks, atol=1e-5)
    assert np.abs(degradation.down_and_up(checks, jnp.full(3, 0.5), methods, methods)).max() < 0.5


def test_noise_is_of_three_kinds(pictures):
    noise = degradation.random_noise(jnp.zeros((64, 16, 16, 3)), KEY)
    std = noise.std(axis=(1, 2, 3))
    assert std.max() < 27 / 127.5 and std.min() > 0.5 / 127.5
    grey = np.abs(noise - noise.mean(axis=-1, keepdims=True)).max(axis=(1, 2, 3)) < 1e-6
    assert 0.2 < grey.mean() < 0.6


def test_bsr_is_the_same_for_a_key_and_makes_pictures_worse(pictures):
    run = jax.jit(lambda key: degradation.bsr(pictures, 4, key))
    first, again, other = run(KEY), run(KEY), run(jax.random.key(1))
    np.testing.assert_array_equal(first, again)
    assert np.abs(first - other).max() > 0.01 and np.abs(first).max() <= 1
    assert 0.01 < np.abs(first - pictures).mean() < 0.5
