"""The feature net: accuracy, determinism, other sizes, its files, what it refuses."""

import json
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from genjax.metrics import feature_net
from tests.families.draws import draws, repeated


def test_reads_held_out_digits(net, digits):
    assert feature_net.accuracy(net, *digits[1]) >= 0.97
    readings = feature_net.read(net, digits[1][0])
    assert readings.features.shape == (len(digits[1][0]), 64)
    np.testing.assert_allclose(readings.probabilities.sum(axis=1), 1.0, rtol=1e-5)


def test_features_have_unit_mean_variance(net, digits):
    variance = feature_net.read(net, digits[0][0]).features.var(axis=0).mean()
    assert variance == pytest.approx(1.0, rel=1e-4)


def test_readings_do_not_depend_on_the_batch(net, digits):
    images = digits[0][0][:520]
    whole = feature_net.read(net, images)
    assert len(whole.features) == 520
    np.testing.assert_array_equal(whole.features[513], feature_net.read(net, images[513:514]).features[0])


def test_same_seed_same_hash(digits):
    nets = [feature_net.train_feature_net(*digits[0], seed=seed, num_steps=20) for seed in (0, 0, 1)]
    first, again, other = map(feature_net.weights_hash, nets)
    assert first == again != other


def test_batches_and_their_noise_are_drawn_anew_at_each_step():
    """Weights, which images, and noise on every pixel of them: each draw has a key of its own."""
    images, labels = jnp.zeros((7, 4, 4, 1), jnp.uint8), jnp.zeros(7, jnp.int32)
    found = draws(lambda key: feature_net._train(key, images, labels, 2, 3), jax.random.key(0))
    shapes = [draw.shape for draw in found]
    assert shapes.count((feature_net.BATCH_SIZE, 4, 4, 1)) == 1 and (feature_net.BATCH_SIZE,) in shapes
    assert not repeated(found)


def test_training_images_carry_noise(monkeypatch):
    """Of another spread of the noise come other weights."""
    images = jnp.asarray(np.random.default_rng(0).integers(0, 256, (16, 2, 2, 1)), jnp.uint8)
    labels = jnp.arange(16, dtype=jnp.int32) % 2
    trained = []
    for spread in (feature_net.INPUT_NOISE, 0.0):
        monkeypatch.setattr(feature_net, "INPUT_NOISE", spread)
        train = jax.jit(partial(feature_net._train.__wrapped__, num_classes=2, num_steps=2))
        trained.append(train(jax.random.key(0), images, labels))
    change = jax.tree.map(lambda a, b: float(jnp.abs(a - b).max()), *trained)
    assert feature_net.INPUT_NOISE == 0.0 and max(jax.tree.leaves(change)) > 1e-4


def test_files(net, digits, tmp_path):
    feature_net.save_feature_net(tmp_path, net)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["feature_net.json", "feature_net.npz"]
    loaded = feature_net.load_feature_net(tmp_path)
    assert loaded._replace(params=None) == net._replace(params=None)
    assert feature_net.weights_hash(loaded) == feature_net.weights_hash(net)
    images = digits[1][0][:5]
    np.testing.assert_array_equal(feature_net.read(loaded, images).features, feature_net.read(net, images).features)


def test_changed_weights_are_refused(net, tmp_path):
    feature_net.save_feature_net(tmp_path, net)
    about = json.loads((tmp_path / "feature_net.json").read_text())
    (tmp_path / "feature_net.json").write_text(json.dumps({**about, "scale": about["scale"] * 2}))
    with pytest.raises(ValueError, match="train the net anew"):
        feature_net.load_feature_net(tmp_path)


def test_load_or_train_knows_its_data(digits, tmp_path, monkeypatch):
    monkeypatch.setattr(feature_net, "train_feature_net", partial(feature_net.train_feature_net, num_steps=2))
    images, labels = digits[0][0][:64], digits[0][1][:64]
    first = feature_net.load_or_train(tmp_path, images, labels)
    (tmp_path / "feature_net.npz").touch()
    stamp = (tmp_path / "feature_net.npz").stat().st_mtime_ns
    again = feature_net.load_or_train(tmp_path, images, labels)
    assert feature_net.weights_hash(again) == feature_net.weights_hash(first)
    assert (tmp_path / "feature_net.npz").stat().st_mtime_ns == stamp
    flipped = feature_net.load_or_train(tmp_path, images[:, ::-1], labels)
    assert flipped.record["data_hash"] != first.record["data_hash"]
    assert feature_net.load_feature_net(tmp_path).record == flipped.record


@pytest.mark.parametrize("shape", [(2, 8, 6, 3), (1, 7, 5, 2)])
def test_dense_on_windows_is_a_convolution(shape):
    rng = np.random.default_rng(0)
    x = jnp.asarray(rng.standard_normal(shape), jnp.float32)
    kernel = jnp.asarray(rng.standard_normal((3, 3, shape[-1], 4)), jnp.float32)
    expected = jax.lax.conv_general_dilated(
        x, kernel, (2, 2), ((1, 1), (1, 1)), dimension_numbers=("NHWC", "HWIO", "NHWC")
    )
    ours = feature_net.windows(x) @ kernel.reshape(-1, 4)
    np.testing.assert_allclose(ours, expected, atol=1e-5)


@pytest.mark.parametrize(
    "shape", [(17, 10, 3), *(pytest.param(shape, marks=pytest.mark.slow) for shape in ((12, 16, 3), (33, 18, 1)))]
)
def test_any_small_size(shape):
    rng = np.random.default_rng(0)
    labels = np.arange(40) % 2
    images = (rng.integers(0, 60, (40, *shape)) + 150 * labels[:, None, None, None]).astype(np.uint8)
    net = feature_net.train_feature_net(images, labels, num_classes=3, num_steps=20)
    readings = feature_net.read(net, images)
    assert readings.features.shape == (40, 64)
    assert readings.probabilities.shape == (40, 3)
    assert feature_net.accuracy(net, images, labels) == 1.0


def test_refusals(net, digits):
    images, labels = digits[0]
    with pytest.raises(ValueError, match="has no labels"):
        feature_net.train_feature_net(images, None)
    with pytest.raises(ValueError, match=r"labels in 0\.\.4"):
        feature_net.train_feature_net(images, labels, num_classes=5)
    with pytest.raises(ValueError, match="need as many labels"):
        feature_net.train_feature_net(images[:5], labels[:4])
    with pytest.raises(ValueError, match=r"shape \(8, 8, 1\), not \(8, 8, 3\)"):
        feature_net.read(net, np.zeros((2, 8, 8, 3), np.uint8))
