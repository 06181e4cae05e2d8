"""Dropout and drop path in blocks of transformers: a rate of 1 leaves both branches out, other rates their share."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from genjax.nn.beit import Beit, BeitBlock
from genjax.nn.transformer import Block

KEY = jax.random.key(0)
X = jax.random.normal(KEY, (64, 5, 8))


def noisy(module, *inputs):
    noise = np.random.default_rng(0)
    params = jax.jit(module.init)(jax.random.key(0, impl="rbg"), *inputs)["params"]  # compiles fast
    return {"params": jax.tree.map(lambda leaf: leaf + 0.5 * noise.standard_normal(leaf.shape, np.float32), params)}


def run(block, variables, *inputs, **settings):
    return jax.jit(lambda variables, *inputs: block.apply(variables, *inputs, **settings))(variables, *inputs)


def without(variables, name):
    """The variables with what ends a branch set to zero."""
    return {"params": {**variables["params"], name: jax.tree.map(jnp.zeros_like, variables["params"][name])}}


@pytest.mark.parametrize(("ends", "other"), [("proj_out", "mlp_out"), ("mlp_out", "proj_out")])
def test_a_block_drops_each_branch_at_its_rate_in_training_alone(ends, other):
    """Of one branch, the other being zero: a share of the numbers is left out, and the rest is that much larger."""
    variables = without(noisy(Block(8, 2), X), other)
    whole = run(Block(8, 2, dropout=0.25), variables, X) - X
    assert jnp.abs(whole).min() > 0
    dropped = run(Block(8, 2, dropout=0.25), variables, X, train=True, rngs={"dropout": KEY}) - X
    left_out = np.asarray(dropped == 0)
    assert left_out.mean() == pytest.approx(0.25, abs=0.03)
    np.testing.assert_allclose(dropped[~left_out], whole[~left_out] / 0.75, atol=1e-5)
    nothing = run(Block(8, 2, dropout=1.0), variables, X, train=True, rngs={"dropout": KEY})
    np.testing.assert_array_equal(nothing, X)


@pytest.mark.parametrize(("ends", "other"), [("gamma_1", "gamma_2"), ("gamma_2", "gamma_1")])
def test_drop_path_leaves_out_whole_branches_of_an_example(ends, other):
    block, bias = BeitBlock(1, 2, drop_path=0.3), jnp.zeros((2, 5, 5))
    variables = without(noisy(block, X, bias), other)
    whole = run(block, variables, X, bias) - X
    dropped = run(block, variables, X, bias, train=True, rngs={"dropout": KEY}) - X
    left_out = np.asarray((dropped == 0).all((1, 2)))
    assert 0.1 < left_out.mean() < 0.5
    np.testing.assert_allclose(dropped[~left_out], whole[~left_out] / 0.7, atol=1e-5)


def test_drop_path_grows_from_none_in_the_first_block_to_the_rate_in_the_last():
    """At a rate of 1, of three blocks: the first stays, the last goes, and the middle one comes and goes."""
    images = jax.random.normal(KEY, (32, 4, 4, 1))
    network = Beit(2, 8, 3, 2, drop_path=1.0, layer_scale=1.0)
    variables = noisy(network, images)
    apply = jax.jit(lambda *blocks: network.apply(*blocks, train=True, rngs={"dropout": KEY}))
    seen = apply(variables, images)

    def zeroed(name):
        block = variables["params"][name]
        still = {part: jnp.zeros_like(leaf) if "gamma" in part else leaf for part, leaf in block.items()}
        return apply({"params": {**variables["params"], name: still}}, images)

    np.testing.assert_array_equal(zeroed("block_2"), seen)
    changed = [np.abs(zeroed(name) - seen).max((1, 2)) > 1e-6 for name in ("block_0", "block_1")]
    assert changed[0].all() and 0.4 < changed[1].mean() < 1
