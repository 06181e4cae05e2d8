"""Sinusoids of both layouts against their formulas, and the table of labels."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from genjax.nn.layers.embeddings import LabelEmbedding, TimeEmbedding, sinusoids


@pytest.mark.parametrize("variant", ["ddpm", "adm"])
def test_formula(variant):
    t, half = np.array([0.0, 1.0, 37.5, 999.0]), 8
    frequencies = 10_000.0 ** (-np.arange(half) / (half - 1 if variant == "ddpm" else half))
    sin, cos = np.sin(t[:, None] * frequencies), np.cos(t[:, None] * frequencies)
    expected = np.concatenate([sin, cos] if variant == "ddpm" else [cos, sin], axis=1)
    np.testing.assert_allclose(sinusoids(jnp.asarray(t, jnp.float32), 16, variant), expected, atol=1e-4)
    with jax.enable_x64(True):
        np.testing.assert_allclose(sinusoids(jnp.asarray(t), 16, variant), expected, atol=1e-12)


def test_low_precision_time_is_raised_to_float32():
    assert sinusoids(jnp.zeros((2,), jnp.bfloat16), 8).dtype == jnp.float32


@pytest.mark.parametrize(("dim", "variant", "message"), [(7, "adm", "even width"), (8, "vdm", "unknown variant 'vdm'")])
def test_wrong_settings_are_refused(dim, variant, message):
    with pytest.raises(ValueError, match=message):
        sinusoids(jnp.zeros((1,)), dim, variant)


def test_time_embedding_tells_times_apart():
    module = TimeEmbedding(8, 16)
    output, _ = module.init_with_output(jax.random.key(0), jnp.array([0.0, 1.0, 1000.0]))
    assert output.shape == (3, 16)
    assert float(jnp.abs(output[0] - output[1]).max()) > 1e-3


def test_null_class_is_one_more_row():
    label = jnp.array([0, 2])
    plain = LabelEmbedding(3, 4).init(jax.random.key(0), label)
    nullable = LabelEmbedding(3, 4, null_class=True).init(jax.random.key(0), label)
    assert plain["params"]["embedding"].shape == (3, 4)
    assert nullable["params"]["embedding"].shape == (4, 4)


def test_label_outside_the_table_shows():
    module = LabelEmbedding(3, 4)
    output, _ = module.init_with_output(jax.random.key(0), jnp.array([1, 3]))
    assert bool(jnp.isfinite(output[0]).all()) and bool(jnp.isnan(output[1]).all())
