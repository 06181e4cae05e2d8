import io

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from PIL import Image

from genjax.conditioning import degradation
from genjax.core import images as images_lib
from tests.families.recorder import unrolled as unrolled

KEY = jax.random.key(0)


@pytest.fixture(scope="module")
def images():
    """Smooth coloured images of 24x20 pixels."""
    small = jax.random.uniform(KEY, (3, 6, 5, 3), minval=-1, maxval=1)
    return jnp.clip(images_lib.resize(small, (24, 20), "cubic"), -1, 1)


def by_library(images, quality):
    """uint8 images through a JPEG file."""
    read = []
    for image in images:
        file = io.BytesIO()
        Image.fromarray(image.squeeze()).save(file, "JPEG", quality=quality)
        read.append(np.asarray(Image.open(file)).reshape(image.shape))
    return np.stack(read).astype(np.float32)


@pytest.mark.parametrize("quality", [30, 90])
def test_jpeg_is_that_of_a_library(images, quality):
    """Of grey images but for ties in rounding; of colours roughly, for chroma is upsampled otherwise."""
    grey = images_lib.to_uint8(images.mean(axis=-1, keepdims=True))

    @jax.jit
    def run(pixels):
        return images_lib.to_uint8(degradation.jpeg(images_lib.from_uint8(pixels), jnp.full((3,), float(quality))))

    error = np.abs(np.asarray(run(grey), np.float32) - by_library(np.asarray(grey), quality))
    assert error.max() <= 10 and error.mean() < 0.5
    tinted = images_lib.to_uint8(0.8 * images.mean(axis=-1, keepdims=True) + 0.1 * images[:1, :1, :1])
    error = np.abs(np.asarray(run(tinted), np.float32) - by_library(np.asarray(tinted), quality))
    assert error.mean() < 2


def test_luma_and_halved_chroma_are_rounded_to_steps_of_their_own():
    """Of a horizontal wave of size 30, at quality 50, by the steps of ITU T.81's tables K.1 and K.2: 16 and 47."""
    to_ycc = np.array([[0.299, 0.587, 0.114], [-0.168736, -0.331264, 0.5], [0.5, -0.418688, -0.081312]])
    wave = np.tile(np.cos(3 * np.pi * (2 * np.arange(8) + 1) / 16), (8, 1)) * np.sqrt(2) / 8
    parts = np.zeros((3, 16, 16, 3))
    parts[0, ..., 0] = 30 * np.tile(wave, (2, 2))
    parts[1, ..., 1] = parts[2, ..., 2] = 30 * wave.repeat(2, axis=0).repeat(2, axis=1)
    given = jnp.asarray((parts @ np.linalg.inv(to_ycc).T + 0.5) / 127.5, jnp.float32)
    coded = (np.float64(jax.jit(degradation.jpeg)(given, jnp.full(3, 50.0))) * 127.5 - 0.5) @ to_ycc.T
    np.testing.assert_allclose(coded, parts * np.array([32, 47, 47])[:, None, None, None] / 30, atol=0.01)


def test_blur_is_round_or_along_an_angle():
    spot = jnp.zeros((2, 15, 15, 1)).at[:, 7, 7].set(1.0)
    blurred = jax.jit(degradation.blur)(spot, jnp.array([1.0, 1.0]), jnp.array([1.0, 1e-4]), jnp.array([0.3, 0.0]))
    blurred = blurred[..., 0]
    np.testing.assert_allclose(blurred.sum(axis=(1, 2)), 1, atol=1e-5)
    np.testing.assert_allclose(blurred[0], blurred[0].T, atol=1e-6)
    assert blurred[1, 7, 6] > 0.2 and blurred[1, 6, 7] < 1e-6
    flat = jnp.full((1, 6, 6, 3), 0.3)
    np.testing.assert_allclose(degradation.random_blur(flat, 4, KEY), flat, atol=1e-6)


def test_resizing_keeps_planes_and_loses_detail():
    down_and_up = jax.jit(degradation.down_and_up)
    methods = jnp.arange(3)
    flat = jnp.full((3, 9, 12, 2), 0.3)
    share = jnp.array([0.5, 0.7, 0.9])
    np.testing.assert_allclose(down_and_up(flat, share, methods, methods), flat, atol=1e-5)
    checks = jnp.tile((jnp.indices((12, 12)).sum(0) % 2 * 2.0 - 1)[None, ..., None], (3, 1, 1, 1))
    np.testing.assert_allclose(down_and_up(checks, jnp.ones(3), methods, methods), checks, atol=1e-5)
    assert np.abs(down_and_up(checks, jnp.full(3, 0.5), methods, methods)).max() < 0.5


def test_noise_is_of_three_kinds(images):
    noise = jax.jit(degradation.random_noise)(jnp.zeros((64, 16, 16, 3)), KEY)
    std = noise.std(axis=(1, 2, 3))
    assert std.max() < 27 / 127.5 and std.min() > 0.5 / 127.5
    grey = np.abs(noise - noise.mean(axis=-1, keepdims=True)).max(axis=(1, 2, 3)) < 1e-6
    assert 0.2 < grey.mean() < 0.6


def test_bsr_is_the_same_for_a_key_and_makes_images_worse(images):
    run = jax.jit(lambda key: degradation.bsr(images, 4, key))
    first, again, other = run(KEY), run(KEY), run(jax.random.key(1))
    np.testing.assert_array_equal(first, again)
    assert np.abs(first - other).max() > 0.01 and np.abs(first).max() <= 1
    assert 0.01 < np.abs(first - images).mean() < 0.5


def evenly(values, low, high, within=0.05):
    """Whether draws are spread evenly between two numbers."""
    quantiles = np.quantile(values, [0.0, 0.25, 0.5, 0.75, 1.0])
    np.testing.assert_allclose(quantiles, np.linspace(low, high, 5), atol=within * (high - low))


GREY = jnp.zeros((4000, 2, 2, 3))


def test_blurs_are_round_for_half_and_as_wide_as_the_factor_asks(monkeypatch):
    """BSRGAN's widths in the pixels of the large image, divided by the factor."""
    seen = []
    monkeypatch.setattr(degradation, "blur", lambda images, *how: seen.append(np.asarray(how)) or images)
    degradation.random_blur(GREY, 4, KEY)
    along, across, angle = seen[0]
    even = along == across
    assert even.mean() == pytest.approx(0.5, abs=0.03)
    evenly(np.sqrt(along[even]), 0.0, 2.8 / 4)
    evenly(along[~even], 0.0, 8 / 16)
    evenly(across[~even], 0.0, 8 / 16)
    evenly(angle, 0.0, np.pi)
    assert np.abs(np.corrcoef(along[~even], across[~even])[0, 1]) < 0.1


def test_so_many_are_resized_each_way_by_a_method_of_its_own(monkeypatch):
    seen = []
    monkeypatch.setattr(degradation, "down_and_up", lambda images, *how: seen.append(how) or images)
    degradation.random_resize(GREY, KEY)
    share, down, up = map(np.asarray, seen[0])
    assert (share == 1).mean() == pytest.approx(0.25, abs=0.03)
    evenly(share[share < 1], 0.5, 1.0)
    counts = np.histogram2d(down, up, bins=3)[0]
    np.testing.assert_allclose(counts / 4000, 1 / 9, atol=0.02)


def test_noise_is_grey_independent_or_correlated_at_a_level_of_its_own():
    noise = np.asarray(jax.jit(degradation.random_noise)(jnp.zeros((1000, 12, 12, 3)), KEY)).reshape(1000, 144, 3)
    covariance = np.einsum("bpc,bpd->bcd", noise, noise) / 144
    correlation = covariance / np.sqrt(np.einsum("bcc,bdd->bcd", covariance, covariance))
    off = np.abs(correlation[:, [0, 0, 1], [1, 2, 2]]).max(axis=1)
    grey, independent = off > 0.999, off < 0.3
    assert grey.mean() == pytest.approx(0.4, abs=0.06) and independent.mean() == pytest.approx(0.4, abs=0.1)
    level = noise.std(axis=(1, 2))
    evenly(level[grey], *degradation.NOISE, within=0.1)
    evenly(level[independent], *degradation.NOISE, within=0.1)
    np.testing.assert_allclose(degradation.NOISE, (2 / 127.5, 25 / 127.5))


def test_qualities_of_jpeg_are_even(monkeypatch):
    seen = []
    monkeypatch.setattr(degradation, "jpeg", lambda images, quality: seen.append(quality) or images)
    degradation.random_jpeg(GREY, KEY)
    evenly(seen[0], 30.0, 95.0)


@pytest.mark.usefixtures("unrolled")
def test_all_is_done_once_in_random_order_and_jpeg_at_the_end(monkeypatch):
    """Each by a key of its own, and what leaves [-1, 1] is clipped at every step."""
    seen = []

    def step(name):
        def change(images, *how):
            seen.append((name, images, *how))
            return images + 0.1

        return change

    for name in ("random_blur", "random_resize", "random_noise", "random_jpeg"):
        monkeypatch.setattr(degradation, name, step(name))
    monkeypatch.setattr(jax.lax, "switch", lambda index, branches, *inputs: branches[int(index)](*inputs))
    orders = set()
    for seed in range(4):
        seen.clear()
        found = degradation.bsr(jnp.tile(jnp.array([0.0, 0.95]), 400).reshape(800, 1, 1, 1), 4, jax.random.key(seed))
        names = [name for name, *_ in seen]
        assert sorted(names[:-1]) == ["random_blur", "random_blur", "random_jpeg", "random_noise", "random_resize"]
        assert names[-1] == "random_jpeg"
        orders.add(tuple(names))
        assert all(how[2] == 4 for how in seen if how[0] == "random_blur")
        keys = {tuple(np.asarray(jax.random.key_data(how[-1]))) for how in seen}
        assert len(keys) == 6
        assert all(images.max() <= 1 for _, images, *_ in seen)
        # Midway a tenth stays without JPEG.
        place = names.index("random_jpeg")
        before, after = seen[place][1][::2], seen[place + 1][1][::2]
        assert (after == before).mean() == pytest.approx(0.1, abs=0.06)
        np.testing.assert_allclose(found[::2].max(), 0.6, rtol=1e-5)
    assert len(orders) > 2
