"""Quantisation: nearest codes, gradients straight through, the codebook's averages, restarts, usage."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import NamedSharding, PartitionSpec

from genjax import sharding
from genjax.losses.vq import codebook_loss, commitment_loss
from genjax.nn.layers import quantize
from genjax.nn.layers.quantize import CodebookSettings, EmaCodebook, Quantized

KEY = jax.random.key(0)


def outputs(shape=(3, 2, 4, 5), seed=0):
    return np.random.default_rng(seed).normal(size=shape)


def test_nearest_is_the_nearest():
    z, vectors = outputs(), outputs((9, 5), 1)
    distances = np.square(z[..., None, :] - vectors).sum(-1)
    quantized = quantize.quantize(jnp.asarray(z), jnp.asarray(vectors))
    np.testing.assert_array_equal(quantized.codes, distances.argmin(-1))
    np.testing.assert_allclose(quantized.z_q, vectors[distances.argmin(-1)], rtol=1e-6)
    np.testing.assert_array_equal(quantize.nearest(jnp.asarray(vectors), jnp.asarray(vectors)), np.arange(9))


def test_no_array_has_outputs_by_codes_by_channels():
    n, k, d = 50, 40, 30
    text = str(jax.make_jaxpr(quantize.nearest)(jnp.ones((n, d)), jnp.ones((k, d))))
    assert f"[{n},{k}]" in text and f"[{n},{k},{d}]" not in text


def test_gradient_passes_straight_through():
    z, vectors = jnp.asarray(outputs()), jnp.asarray(outputs((9, 5), 1))
    quantized, vjp = jax.vjp(lambda z: quantize.quantize(z, vectors).straight_through(), z)
    dy = jnp.cos(quantized)
    np.testing.assert_array_equal(vjp(dy)[0], dy)
    np.testing.assert_allclose(quantized, quantize.quantize(z, vectors).z_q, rtol=1e-5, atol=1e-6)


def test_each_loss_moves_its_own_side():
    z, vectors = jnp.asarray(outputs()), jnp.asarray(outputs((9, 5), 1))

    def gradients(loss):
        return jax.grad(lambda *a: loss(a[0], quantize.quantize(*a).z_q).sum(), argnums=(0, 1))(z, vectors)

    of_z, of_vectors = gradients(codebook_loss)
    assert not of_z.any() and of_vectors.any()
    of_z, of_vectors = gradients(commitment_loss)
    assert of_z.any() and not of_vectors.any()
    unused = np.setdiff1d(np.arange(9), quantize.nearest(z, vectors))
    assert len(unused) and not gradients(codebook_loss)[1][unused].any(), "codes without members rest"


def sonnets_update(state, z, codes, decay, epsilon):
    """Sonnet's VectorQuantizerEMA in float64, an output at a time: hidden averages from zero, read out debiased."""
    sizes, sums, updates = state
    counts, totals = np.zeros_like(sizes), np.zeros_like(sums)
    for output, code in zip(z, codes):
        counts[code] += 1
        totals[code] += output
    updates += 1
    sizes = sizes - (sizes - counts) * (1 - decay)
    sums = sums - (sums - totals) * (1 - decay)
    average, average_sum = sizes / (1 - decay**updates), sums / (1 - decay**updates)
    n = average.sum()
    smoothed = (average + epsilon) / (n + len(sizes) * epsilon) * n
    return (sizes, sums, updates), average_sum / smoothed[:, None]


def test_ema_equals_sonnets_in_float64():
    with jax.enable_x64(True):
        settings = CodebookSettings(num_codes=6, dim=5, decay=0.9, epsilon=1e-3)
        codebook = jax.tree.map(
            lambda leaf: leaf.astype(jnp.float64) if leaf.ndim else leaf, quantize.init_ema(KEY, settings)
        )
        state = (np.zeros(6), np.zeros((6, 5)), 0)
        for step in range(5):
            quantized = quantize.quantize(jnp.asarray(outputs(seed=step)), codebook.vectors)
            codebook = quantize.update_ema(codebook, quantized, KEY, settings)
            flat = np.asarray(quantized.z).reshape(-1, 5), np.asarray(quantized.codes).ravel()
            state, vectors = sonnets_update(state, *flat, 0.9, 1e-3)
            np.testing.assert_allclose(codebook.vectors, vectors, rtol=1e-12)
        np.testing.assert_allclose(codebook.sizes, state[0], rtol=1e-12)
        assert codebook.updates == 5


def clusters(count=64, seed=0):
    """Outputs in 4 tight clusters, and the clusters' means."""
    rng = np.random.default_rng(seed)
    centres = 3.0 * np.array([[1, 1], [1, -1], [-1, 1], [-1, -1]])
    points = centres[np.arange(count) % 4] + 0.1 * rng.normal(size=(count, 2))
    means = np.stack([points[cluster::4].mean(0) for cluster in range(4)])
    return jnp.asarray(points.reshape(count // 4, 2, 2, 2), jnp.float32), means


@jax.jit
def trained(z, codebook, key):
    settings = CodebookSettings(num_codes=4, dim=2, decay=0.8, restart_threshold=0.1)

    def step(codebook, key):
        return quantize.update_ema(codebook, quantize.quantize(z, codebook.vectors), key, settings), None

    return jax.lax.scan(step, codebook, jax.random.split(key, 60))[0]


def test_ema_codebook_converges_to_the_means_of_clusters():
    z, means = clusters()
    # Each code nearest to one cluster, far from its mean.
    start = EmaCodebook(jnp.asarray(0.2 * means, jnp.float32), jnp.zeros(4), jnp.zeros((4, 2)), jnp.int32(0))
    codebook = trained(z, start, KEY)
    np.testing.assert_allclose(codebook.vectors, means, rtol=1e-4)
    np.testing.assert_allclose(codebook.sizes, 16.0, rtol=1e-4)


def test_dead_codes_revive():
    z, means = clusters()
    far = jnp.asarray([[3.0, 3.0], [50.0, 0.0], [60.0, 0.0], [70.0, 0.0]])
    start = EmaCodebook(far, jnp.zeros(4), jnp.zeros((4, 2)), jnp.int32(0))
    assert quantize.usage(quantize.quantize(z, far).codes, 4) == 0.25
    codebook = trained(z, start, KEY)
    codes = quantize.quantize(z, codebook.vectors).codes
    assert quantize.usage(codes, 4) == 1.0
    assert jnp.abs(codebook.vectors).max() < 4, "all lie among the outputs"

    settings = CodebookSettings(num_codes=4, dim=2, restart_threshold=0.1)
    once = quantize.update_ema(start, quantize.quantize(z, far), KEY, settings)
    distances = jnp.abs(once.vectors[1:, None] - z.reshape(-1, 2)).sum(-1).min(1)
    np.testing.assert_allclose(distances, 0, atol=1e-6)  # dead codes become outputs of the batch
    np.testing.assert_allclose(once.sums / once.sizes[:, None], once.vectors, rtol=1e-4)
    np.testing.assert_allclose(once.sizes[1:], 0.01 * 64 / 4, rtol=1e-4)


def test_without_a_threshold_the_dead_stay_dead():
    z, _ = clusters()
    far = jnp.asarray([[3.0, 3.0], [50.0, 0.0], [60.0, 0.0], [70.0, 0.0]])
    start = EmaCodebook(far, jnp.ones(4), far, jnp.int32(50))
    after = quantize.update_ema(start, quantize.quantize(z, far), KEY, CodebookSettings(num_codes=4, dim=2))
    np.testing.assert_allclose(after.vectors[1:], far[1:], rtol=1e-3)


def test_eight_devices_update_as_one():
    settings = CodebookSettings(num_codes=12, dim=5, restart_threshold=0.1)
    z = jnp.asarray(outputs((16, 2, 2, 5)), jnp.float32)
    codebook = quantize.init_ema(KEY, settings)

    @jax.jit
    def step(codebook, z):
        quantized = quantize.quantize(z, codebook.vectors)
        return quantize.update_ema(codebook, quantized, KEY, settings), quantized.codes

    alone, codes = step(codebook, z)
    mesh = sharding.make_mesh(data=8)
    place = NamedSharding(mesh, PartitionSpec())
    together, their_codes = step(jax.device_put(codebook, place), jax.device_put(z, sharding.batch_sharding(mesh)))
    assert len(their_codes.sharding.device_set) == 8
    np.testing.assert_array_equal(their_codes, codes)
    for mine, theirs in zip(alone, together):
        np.testing.assert_allclose(theirs, mine, rtol=1e-5, atol=1e-6)


def test_perplexity_and_usage():
    codes = jnp.asarray([[0, 0, 1, 1], [2, 2, 3, 3]])
    assert quantize.perplexity(codes, 8) == pytest.approx(4.0)
    assert quantize.usage(codes, 8) == 0.5
    assert quantize.perplexity(jnp.zeros(5, jnp.int32), 8) == pytest.approx(1.0)
    uneven = jnp.asarray([0, 0, 0, 1])
    assert quantize.perplexity(uneven, 8) == pytest.approx(np.exp(-0.75 * np.log(0.75) - 0.25 * np.log(0.25)))


def test_a_code_that_there_is_not_shows():
    vectors = jnp.ones((4, 2))
    assert jnp.isnan(quantize.lookup(jnp.asarray([4]), vectors)).all()
    assert not jnp.isnan(quantize.lookup(jnp.asarray([3]), vectors)).any()


def test_bfloat16_outputs_meet_a_float32_codebook():
    settings = CodebookSettings(num_codes=6, dim=5)
    quantized = quantize.quantize(jnp.asarray(outputs(), jnp.bfloat16), quantize.init_vectors(KEY, settings))
    assert isinstance(quantized, Quantized) and quantized.z_q.dtype == jnp.bfloat16
    after = quantize.update_ema(quantize.init_ema(KEY, settings), quantized, KEY, settings)
    assert after.vectors.dtype == after.sizes.dtype == jnp.float32


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        (CodebookSettings(learning="osmosis"), "unknown codebook learning 'osmosis'"),
        (CodebookSettings(decay=1.0), "decay 1.0 must be"),
        (CodebookSettings(learning="loss", restart_threshold=0.1), "restart_threshold=0.1 needs a codebook"),
    ],
)
def test_refusals(settings, words):
    with pytest.raises(ValueError, match=words):
        quantize.check(settings)


@pytest.mark.parametrize("offset", [0.0, 1e3, -1e4])
def test_codes_far_from_the_origin_are_the_nearest(offset):
    rng = np.random.default_rng(0)
    vectors = (offset + rng.normal(size=(64, 8))).astype(np.float32)
    z = (offset + rng.normal(size=(4000, 8))).astype(np.float32)
    wide, codes = np.float64(z), np.asarray(quantize.nearest(jnp.asarray(z), jnp.asarray(vectors)))
    distances = np.square(wide[:, None] - np.float64(vectors)).sum(-1)
    # Equal but for a rounding of the distances themselves: no code is wrong by more.
    chosen = distances[np.arange(len(z)), codes]
    np.testing.assert_allclose(chosen, distances.min(1), rtol=1e-4)
    assert (codes != distances.argmin(1)).mean() < 2e-4


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("epsilon", 0.0), ("epsilon", -1.0), ("epsilon", float("nan")), ("decay", float("nan")), ("decay", 1.0),
        ("restart_threshold", -0.1), ("restart_threshold", float("nan")), ("num_codes", 0), ("dim", 0),
    ],
)  # fmt: skip
def test_settings_that_would_make_nan_are_refused_by_name(field, value):
    with pytest.raises(ValueError, match=field):
        quantize.check(CodebookSettings(**{field: value}))


def test_codes_that_nothing_chose_are_the_zero_vector_without_restarts():
    """As documented, and as Sonnet's."""
    settings = CodebookSettings(num_codes=4, dim=2)
    codebook = quantize.init_ema(KEY, settings)
    z = jnp.ones((1, 1, 3, 2)) * codebook.vectors[1]
    found = quantize.update_ema(codebook, quantize.quantize(z, codebook.vectors), KEY, settings).vectors
    np.testing.assert_allclose(found[1], codebook.vectors[1], rtol=1e-3)
    np.testing.assert_array_equal(found[jnp.array([0, 2, 3])], 0)
