"""VQ-VAE-2's network: its parameter count, what each level sees, and any number of levels."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from genjax.core.tree import count_params
from genjax.nn.hierarchy import Hierarchy

KEY = jax.random.key(0)


def books(levels, codes=32, dim=4):
    return tuple(jax.random.normal(jax.random.fold_in(KEY, level), (codes, dim)) for level in range(levels))


def small(downs):
    """A small network of random weights and biases, so that no ReLU is silent everywhere."""
    network = Hierarchy(1, downs, dim=4, width=8, num_res_blocks=1, res_width=8)
    x = jax.random.normal(KEY, (2, 16, 16, 1))
    shapes, noise = jax.eval_shape(network.init, KEY, x, books(len(downs))), np.random.default_rng(0)

    def fill(leaf):
        scale = np.prod(leaf.shape[:-1]) ** -0.5 if leaf.ndim > 1 else 0.1
        return jnp.asarray(scale * noise.standard_normal(leaf.shape), jnp.float32)

    return network, jax.tree.map(fill, shapes), x


def test_count_is_that_of_rosinalitys():
    """Its buffers (codebooks and their averages) are no parameters there either."""
    shapes = jax.eval_shape(Hierarchy(3).init, KEY, jnp.ones((1, 16, 16, 3)), books(2, 512, 64))
    assert count_params(shapes) == 1_388_867


@pytest.mark.parametrize("downs", [(1, 1), (2, 1), (1, 1, 1), (1, 1, 1, 1)])
def test_grids_from_coarse_to_fine(downs):
    network = Hierarchy(1, downs, dim=4, width=8, num_res_blocks=1, res_width=8)
    x, vectors = jnp.ones((2, 16, 32, 1)), books(len(downs))
    (x_hat, quantized), _ = jax.eval_shape(network.init_with_output, KEY, x, vectors)
    assert x_hat.shape == x.shape
    sides = [16 // 2 ** sum(downs[: level + 1]) for level in range(len(downs))]
    assert [level.codes.shape for level in quantized] == [(2, side, 2 * side) for side in reversed(sides)]


@pytest.fixture(scope="module", params=[pytest.param((1, 1), marks=pytest.mark.slow), (1, 1, 1)])
def parts(request):
    return small(request.param)


@pytest.fixture(scope="module")
def decode(parts):
    network, params, _ = parts
    return jax.jit(lambda z_q: network.apply(params, z_q, method="decode"))


@pytest.fixture(scope="module")
def called(parts):
    network, params, x = parts
    return jax.jit(network.apply)(params, x, books(len(network.downs)))


def test_finer_levels_are_conditioned_on_coarser_ones_and_not_the_other_way(parts):
    network, params, x = parts
    vectors = books(len(network.downs))
    encode = jax.jit(lambda vectors: network.apply(params, x, vectors, method="encode"))
    before = encode(vectors)
    for changed in range(len(vectors)):
        other = tuple(v + 1.0 * (level == changed) for level, v in enumerate(vectors))
        after = encode(other)
        for level, (one, two) in enumerate(zip(before, after)):
            moved = jnp.abs(one.z - two.z).max() > 1e-4
            assert moved == (level > changed), (changed, level)


def test_the_image_depends_on_every_level(decode, called):
    z_q = tuple(level.z_q for level in called[1])
    whole = decode(z_q)
    for level in range(len(z_q)):
        other = decode(tuple(z + 1.0 * (place == level) for place, z in enumerate(z_q)))
        assert jnp.abs(other - whole).max() > 1e-3


def test_gradient_reaches_every_encoder(parts):
    """Straight through all codebooks: also the coarsest level's projection learns from the reconstruction."""
    network, params, x = parts
    vectors = books(len(network.downs))
    gradient = jax.jit(jax.grad(lambda p: jnp.square(network.apply(p, x, vectors)[0] - x).mean()))(params)
    for path, leaf in jax.tree_util.tree_leaves_with_path(gradient):
        assert jnp.abs(leaf).max() > 0, jax.tree_util.keystr(path)


def test_call_is_encode_then_decode(decode, called):
    x_hat, quantized = called
    decoded = decode(tuple(level.z_q for level in quantized))
    np.testing.assert_allclose(x_hat, decoded, rtol=1e-4, atol=1e-4)
