import jax
import jax.numpy as jnp
import numpy as np
import pytest

from genjax.autoregressive import embedding_codes
from genjax.core import moments


def vectors_in_a_plane(count=400):
    """Vectors of 6 dimensions that vary in two of them only, by 2 and by .5, around a mean of their own."""
    rng = np.random.default_rng(0)
    frame, _ = np.linalg.qr(rng.normal(size=(6, 6)))
    along = rng.normal(size=(count, 2)) * (2.0, 0.5)
    return jnp.asarray(along @ frame[:2] + rng.normal(size=6), jnp.float32), along


def test_axes_come_by_falling_variance():
    vectors, along = vectors_in_a_plane()
    axes = embedding_codes.fit(moments.update(moments.empty(6), vectors), 3)
    np.testing.assert_allclose(axes.std[:2], np.sqrt(np.linalg.eigvalsh(np.cov(along.T, ddof=0)))[::-1], rtol=1e-3)
    assert axes.std[2] < 1e-3
    np.testing.assert_allclose(axes.basis.T @ axes.basis, np.eye(3), atol=1e-5)


def test_a_vector_returns_within_half_a_bucket():
    vectors, _ = vectors_in_a_plane()
    axes = embedding_codes.fit(moments.update(moments.empty(6), vectors), 2)
    codes = embedding_codes.encode(axes, vectors, 64, 4.0)
    assert codes.shape == (400, 2) and 0 <= codes.min() and codes.max() < 64
    back = embedding_codes.decode(axes, codes, 64, 4.0)
    error = np.abs((back - vectors) @ axes.basis) / axes.std
    assert error.max() <= 4.0 / 64 + 1e-4
    np.testing.assert_array_equal(embedding_codes.encode(axes, back, 64, 4.0), codes)


def test_values_beyond_the_span_fall_in_the_outermost_buckets():
    np.testing.assert_array_equal(embedding_codes.bucket(jnp.array([-9.0, -1.0, 0.0, 1.0, 9.0]), 4), [0, 0, 2, 3, 3])


def test_the_upper_half_of_what_was_seen():
    values = jnp.array([-0.9, -0.4, 0.1, 0.1, 0.1, 0.9, 0.9, 0.9])
    buckets = embedding_codes.no_buckets(4).add(values[:3]).add(values[3:])
    np.testing.assert_array_equal(buckets.counts, [1, 1, 3, 3])
    np.testing.assert_allclose(buckets.upper_half(), [0, 0, 0.25, 0.75], atol=1e-6)
    drawn = embedding_codes.draw_upper_half(jax.random.split(jax.random.key(0), 400), buckets)
    assert np.mean(np.asarray(drawn) == 3) == pytest.approx(0.75, abs=0.06) and drawn.min() >= 2


def test_more_axes_than_dimensions_are_refused():
    with pytest.raises(ValueError, match="num_axes"):
        embedding_codes.unfitted(4, 5)
