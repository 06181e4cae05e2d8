"""The contrastive loss by hand, on one device and on eight, and the bound of its scale."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.special
from jax.sharding import NamedSharding

from genjax import sharding
from genjax.losses import contrastive


def pairs(count=8, dim=6):
    x, y = np.random.default_rng(0).normal(size=(2, count, dim)).astype(np.float32)
    return jnp.asarray(x), jnp.asarray(y)


def test_loss_by_hand():
    x, y = (contrastive.normalize(v) for v in pairs())
    loss, right = contrastive.info_nce(x, y, 3.0)
    logits = 3.0 * np.asarray(x, np.float64) @ np.asarray(y, np.float64).T
    rows, columns = scipy.special.log_softmax(logits, axis=1), scipy.special.log_softmax(logits, axis=0)
    np.testing.assert_allclose(loss, -0.5 * (np.diag(rows) + np.diag(columns)), rtol=1e-5)
    own = np.arange(8)
    np.testing.assert_allclose(right, 0.5 * (logits.argmax(1) == own) + 0.5 * (logits.argmax(0) == own))
    guessed, _ = contrastive.info_nce(x, y, 0.0)
    np.testing.assert_allclose(guessed, np.log(8), rtol=1e-6)
    same, right = contrastive.info_nce(x, x, 100.0)
    assert same.max() < 1e-3 and right.min() == 1.0


def test_normalize_has_a_gradient_everywhere():
    x = jnp.stack([jnp.array([3.0, 4.0]), jnp.zeros(2)])
    np.testing.assert_allclose(contrastive.normalize(x), [[0.6, 0.8], [0.0, 0.0]], rtol=1e-6)
    assert jnp.isfinite(jax.grad(lambda x: contrastive.normalize(x).sum())(x)).all()


@pytest.mark.parametrize(("at", "gradient", "expected"), [(1.0, -2.0, -2.0), (3.0, -2.0, 0.0), (3.0, 2.0, 2.0)])
def test_bound_lets_only_pulls_down_through(at, gradient, expected):
    value, got = jax.value_and_grad(lambda x: gradient * contrastive.bounded(x, 2.0))(at)
    assert value == gradient * min(at, 2.0) and got == expected


def test_the_batch_is_that_of_all_devices():
    """One device and eight give the same losses and gradients: every example meets all others."""
    x, y = pairs(16)

    def total(x, y):
        loss, _ = contrastive.info_nce(contrastive.normalize(x), contrastive.normalize(y), 10.0)
        return loss.mean(), loss

    run = jax.jit(jax.value_and_grad(total, argnums=(0, 1), has_aux=True))
    mesh = sharding.make_mesh()
    assert mesh.size == 8
    cut = [jax.device_put(v, NamedSharding(mesh, sharding.BATCH_SPEC)) for v in (x, y)]
    for one, eight in zip(jax.tree.leaves(run(x, y)), jax.tree.leaves(run(*cut)), strict=True):
        np.testing.assert_allclose(one, eight, rtol=1e-5, atol=1e-7)


def test_pairs_that_are_not_present_are_no_negatives():
    x, y = (contrastive.normalize(v) for v in pairs())
    present = jnp.asarray([True, True, False, True, False, True, True, True])
    alone = contrastive.info_nce(x[present], y[present], 3.0)
    among = contrastive.info_nce(x, y, 3.0, present)
    for found, expected in zip(among, alone, strict=True):
        np.testing.assert_allclose(found[present], expected, rtol=1e-6)
