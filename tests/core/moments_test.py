import chex
import jax.numpy as jnp
import numpy as np

from genjax.core import moments


def test_mean_and_covariance_do_not_depend_on_the_cut():
    vectors = np.random.default_rng(0).normal(3.0, (0.1, 2.0, 5.0), size=(24, 3)).astype(np.float32)
    found = [moments.empty(3), moments.empty(3)]
    found[0] = moments.update(found[0], jnp.asarray(vectors))
    for part in np.split(vectors, (1, 9)):
        found[1] = moments.update(found[1], jnp.asarray(part))
    for one in found:
        np.testing.assert_allclose(one.mean, vectors.mean(0), rtol=1e-5)
        np.testing.assert_allclose(one.covariance, np.cov(vectors.T, ddof=0), atol=1e-4)
        np.testing.assert_allclose(one.std, vectors.std(0), rtol=1e-4)
    chex.assert_trees_all_close(*found, rtol=1e-4)
