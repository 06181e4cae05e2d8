"""Random streams, trees, numerics and images."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from PIL import Image

from genjax.core import files, images, numerics, rng, tree

KEY = jax.random.key(0)


def data(key):
    return np.asarray(jax.random.key_data(key))


def test_streams_differ_by_name_step_and_seed_and_repeat():
    keys = [rng.stream(jax.random.key(seed), name, step) for seed in (0, 1) for name in ("a", "b") for step in (0, 1)]
    assert len({tuple(data(key)) for key in keys}) == 8
    assert (data(rng.stream(KEY, "a", 3)) == data(jax.jit(lambda s: rng.stream(KEY, "a", s))(3))).all()
    assert tuple(data(rng.stream(KEY, "noise", 7))) == tuple(data(rng.stream(KEY, "noise", jnp.int32(7))))


def test_tree_operations():
    params = {"layer": {"kernel": jnp.ones((2, 3)), "count": jnp.ones((), jnp.int32)}, "b": (jnp.zeros(4),)}
    assert tree.count_params(params) == 11
    assert tree.count_params(jax.eval_shape(lambda: params)) == 11
    assert tree.param_paths(params) == ["b/0", "layer/count", "layer/kernel"]
    middle = tree.lerp({"w": jnp.zeros(2)}, {"w": jnp.full(2, 4.0)}, 0.25)
    np.testing.assert_array_equal(middle["w"], [1.0, 1.0])
    named = tree.map_with_path(lambda name, leaf: name, params)
    assert named["layer"]["kernel"] == "layer/kernel"


def test_numerics():
    assert numerics.expand_to(jnp.ones(3), jnp.ones((3, 2, 2, 1))).shape == (3, 1, 1, 1)
    assert numerics.expand_to(2.0, jnp.ones((3, 2))).shape == (1, 1)
    np.testing.assert_allclose(numerics.mean_flat(jnp.arange(8.0).reshape(2, 2, 2)), [1.5, 5.5])
    assert jax.grad(lambda x: numerics.safe_log(x))(0.0) == 0.0


def test_dequantized_images_stay_in_their_bins():
    levels = jnp.round(jax.random.uniform(jax.random.key(1), (4, 3, 3, 2)) * 255) / 127.5 - 1
    noisy = images.dequantize(levels, KEY)
    np.testing.assert_array_equal(jnp.round((noisy + 1) * 127.5), jnp.round((levels + 1) * 127.5))
    assert float(jnp.abs(noisy - levels).max()) > 0.9 / 255
    assert images.BIN_WIDTH == 2 / 255


def test_psnr_is_that_of_pixels():
    rng = np.random.default_rng(0)
    x, y = rng.integers(0, 256, (2, 3, 8, 8, 1)).astype(np.float64)
    y = np.where(np.arange(3)[:, None, None, None] == 0, x + 1, y)
    expected = 10 * np.log10(255**2 / ((x - y) ** 2).mean((1, 2, 3)))
    values = numerics.psnr(jnp.asarray(x / 127.5 - 1), jnp.asarray(y / 127.5 - 1))
    np.testing.assert_allclose(values, expected, rtol=1e-5)
    assert values[0] == pytest.approx(48.13, abs=0.01)
    np.testing.assert_allclose(numerics.psnr(jnp.ones((1, 2)), jnp.ones((1, 2))), 100.0, rtol=1e-6)


def test_every_uint8_level_survives_the_round_trip():
    levels = np.arange(256, dtype=np.uint8)
    inside = images.from_uint8(levels)
    assert inside.min() == -1 and inside.max() == 1
    np.testing.assert_array_equal(images.to_uint8(inside), levels)
    np.testing.assert_array_equal(images.to_uint8(jnp.array([-3.0, 7.0])), [0, 255])


def test_resize():
    image = jnp.arange(16.0).reshape(1, 4, 4, 1)
    np.testing.assert_array_equal(images.resize(image, (2, 2), "area")[0, :, :, 0], [[2.5, 4.5], [10.5, 12.5]])
    assert images.resize(image, (8, 6)).shape == (1, 8, 6, 1)
    with pytest.raises(ValueError, match=r"\(4, 4\), not \(3, 3\)"):
        images.resize(image, (3, 3), "area")


def test_grid_png_and_gif(tmp_path):
    pixels = np.stack([np.full((8, 8, 1), value, np.uint8) for value in (0, 100, 200)])
    grid = images.make_grid(pixels, columns=2, pad=1, scale=2)
    assert grid.shape == (2 * (2 * 9 + 1), 2 * (2 * 9 + 1), 3)
    assert (grid[4, 4] == 0).all() and (grid[4, 22] == 100).all() and (grid[22, 4] == 200).all()
    assert (grid[0] == 255).all() and (grid[22, 22] == 255).all(), "white between images and where none is"
    assert images.make_grid(np.zeros((5, 8, 8, 3), np.uint8)).shape[0] >= 48
    images.save_png(tmp_path / "new" / "grid.png", grid)
    np.testing.assert_array_equal(np.asarray(Image.open(tmp_path / "new" / "grid.png")), grid)
    images.save_gif(tmp_path / "way.gif", np.stack([grid, 255 - grid, grid]))
    shown = Image.open(tmp_path / "way.gif")
    durations = [shown.seek(frame) or shown.info["duration"] for frame in range(shown.n_frames)]
    assert durations == [100, 100, 1500], "milliseconds: ten frames a second, and a rest"
    images.save_gif(tmp_path / "way.gif", np.stack([grid, 255 - grid]), fps=4.0)
    assert Image.open(tmp_path / "way.gif").info["duration"] == 250
    assert {path.name for path in tmp_path.iterdir()} == {"new", "way.gif"}, "no parts are left"


def test_film_has_a_grid_for_each_step():
    film = images.make_film(np.zeros((3, 50, 8, 8, 1), np.uint8), columns=10)
    assert film.shape == (3, 4 * (4 * 9 + 1), 4 * (10 * 9 + 1), 3), "the first 40 of 50 images"


@pytest.mark.parametrize("caption", ["a red circle " * 1000, "x" * 100_000, "红色的猫" * 500])
def test_a_caption_of_any_length_is_drawn_within_its_grid(caption):
    """No more than a few lines of it, each within the image's width: the last column stays white."""
    grid = images.make_captioned_grid(np.zeros((1, 32, 32, 3), np.uint8), [caption])
    title = grid[: grid.shape[0] - 130]
    assert grid.shape[1] <= 140 and title.shape[0] <= 600
    assert (title[:, -2:] == 255).all() and (title < 128).any()


@pytest.mark.parametrize("length", [1, 2])
def test_a_strip_of_images_stands_under_its_own_caption_also_where_that_comes_back(length):
    captions = [word for word in ("red", "a blue one", "red") for _ in range(length)]
    pixels = np.arange(len(captions), dtype=np.uint8)[:, None, None, None] * np.full((1, 8, 8, 3), 20, np.uint8)
    parts = [slice(start, start + length) for start in range(0, len(captions), length)]
    strips = [images.make_captioned_grid(pixels[part], captions[part], columns=1) for part in parts]
    np.testing.assert_array_equal(images.make_captioned_grid(pixels, captions, columns=1), np.concatenate(strips))


def test_json_has_nan_only_where_it_may(tmp_path):
    files.write_json(tmp_path / "any.json", {"x": float("nan")})
    with pytest.raises(ValueError, match="JSON"):
        files.write_json(tmp_path / "strict.json", {"x": float("nan")}, allow_nan=False)
    assert [path.name for path in tmp_path.iterdir()] == ["any.json"]


def test_largest_is_the_maximum_and_its_gradient_goes_to_the_first():
    parts = jnp.asarray([[1.0, 5.0, 2.0, jnp.nan, 0.0], [3.0, 5.0, 1.0, 0.0, jnp.nan], [2.0, 4.0, 2.0, 1.0, 1.0]])
    np.testing.assert_array_equal(numerics.largest(list(parts)), jnp.max(parts, axis=0))
    gradient = jax.grad(lambda parts: numerics.largest(list(parts))[:3].sum())(parts)
    np.testing.assert_array_equal(gradient[:, :3], [[0, 1, 1], [1, 0, 0], [0, 0, 0]])
