"""BEiT's blocks: where patches are, which are hidden, drop path, first weights, and from pretraining to classifying."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from genjax.core.tree import count_params
from genjax.nn import beit
from genjax.nn.beit import BeitClassifier, MaskedBeit

TRUNK = {"patch_size": 2, "width": 16, "depth": 2, "num_heads": 2}
KEY = jax.random.key(0)
IMAGES = jax.random.normal(KEY, (3, 6, 8, 3))
MASK = jnp.arange(36).reshape(3, 3, 4) % 5 == 0


def noisy(params):
    """Parameters with nothing left at zero."""
    noise = np.random.default_rng(0)
    return jax.tree.map(lambda leaf: leaf + 0.3 * noise.standard_normal(leaf.shape, np.float32), params)


@pytest.fixture(scope="module")
def network():
    return MaskedBeit(7, {**TRUNK, "drop_path": 0.5})


@pytest.fixture(scope="module")
def fresh(network):
    return jax.jit(network.init)(KEY, IMAGES, MASK)["params"]


@pytest.fixture(scope="module")
def params(fresh):
    return noisy(fresh)


@pytest.fixture(scope="module")
def features(network):
    """(parameters, images) -> features after all blocks."""
    return jax.jit(lambda params, images: network.apply({"params": params}, images, method="features"))


def test_published_counts():
    trunk = {"patch_size": 16, "width": 768, "depth": 12, "num_heads": 12}
    images, mask = jnp.zeros((1, 224, 224, 3)), jnp.zeros((1, 14, 14), bool)
    assert count_params(jax.eval_shape(MaskedBeit(8192, trunk).init, KEY, images, mask)) == 91_965_776
    assert count_params(jax.eval_shape(BeitClassifier(1000, trunk).init, KEY, images)) == 86_530_984


def test_each_offset_has_a_row_and_the_class_token_three():
    rows, columns = 3, 4
    index = beit.relative_index(rows, columns)
    places = [divmod(i, columns) for i in range(rows * columns)]
    seen = {}
    for i, (row, column) in enumerate(places):
        for j, (row2, column2) in enumerate(places):
            seen.setdefault((row - row2, column - column2), set()).add(int(index[1 + i, 1 + j]))
    assert len(seen) == 35 and all(len(found) == 1 for found in seen.values())
    assert sorted(set.union(*seen.values())) == list(range(35))
    assert set(index[0, 1:]) == {35} and set(index[1:, 0]) == {36} and index[0, 0] == 37


def test_a_hidden_patch_is_not_seen(network, params):
    run = jax.jit(lambda images: network.apply({"params": params}, images, MASK))
    hidden = jnp.repeat(jnp.repeat(MASK, 2, 1), 2, 2)[..., None]
    np.testing.assert_array_equal(run(IMAGES), run(jnp.where(hidden, 9.0, IMAGES)))
    assert jnp.abs(run(IMAGES) - run(IMAGES + 1.0)).max() > 1e-3


def test_without_the_table_places_do_not_matter(features, params):
    """The features of patches move with their patches if nothing says where they are."""
    blind = {**params["trunk"], "position_bias": {"table": jnp.zeros_like(params["trunk"]["position_bias"]["table"])}}
    swapped = jnp.concatenate([IMAGES[:, 4:6], IMAGES[:, 0:4]], axis=1)
    both = [features({**params, "trunk": blind}, images) for images in (IMAGES, swapped)]
    np.testing.assert_allclose(*both, atol=1e-5)
    assert jnp.abs(features(params, IMAGES) - features(params, swapped)).max() > 1e-3


def test_features_of_all_blocks_or_the_first(network, params, features):
    """After one block those of a network with one block."""
    first = jax.jit(lambda: network.apply({"params": params}, IMAGES, 1, method="features"))()
    shorter = MaskedBeit(7, {**TRUNK, "depth": 1})
    alone = jax.jit(lambda: shorter.apply({"params": params}, IMAGES, method="features"))()
    np.testing.assert_array_equal(first, alone)
    assert first.shape == (3, 16) and jnp.abs(first - features(params, IMAGES)).max() > 1e-3


def test_branches_are_left_out_in_training_alone(network, params):
    @jax.jit
    def run(seed):
        return network.apply({"params": params}, IMAGES, MASK, True, rngs={"dropout": jax.random.key(seed)})

    # The first block is never left out, the last one's two branches half of the time: four outcomes an example.
    outcomes = {tuple(np.round(np.asarray(run(seed)[0]).ravel(), 4)) for seed in range(24)}
    assert len(outcomes) == 4


def test_first_weights(fresh):
    trunk = fresh["trunk"]
    for layer in (1, 2):
        block = trunk[f"block_{layer - 1}"]
        for name, limit in (("qkv", 0.02), ("mlp_in", 0.02), ("proj_out", 0.02 / (2 * layer) ** 0.5)):
            kernel = np.abs(block[name]["kernel"])
            assert 0.95 * limit < kernel.max() <= limit * 1.0001
        assert (block["gamma_1"] == 0.1).all() and (block["q_bias"] == 0).all()
    assert (trunk["position_bias"]["table"] == 0).all() and 0 < np.abs(trunk["mask_token"]).max() <= 0.02


def test_a_classifier_adopts_the_trunk(features, params):
    classifier = BeitClassifier(5, TRUNK)
    own = jax.tree.map(lambda leaf: jnp.ones(leaf.shape), jax.eval_shape(classifier.init, KEY, IMAGES)["params"])
    adopted = beit.adopt_trunk(own, params)
    assert jax.tree.map(jnp.shape, adopted) == jax.tree.map(jnp.shape, own)
    np.testing.assert_array_equal(
        adopted["trunk"]["block_1"]["position_bias"]["table"], params["trunk"]["position_bias"]["table"]
    )
    headless = {**adopted, "head": {"kernel": jnp.eye(16, 5), "bias": jnp.zeros(5)}}
    headless["norm_out"] = {"scale": jnp.ones(16), "bias": jnp.zeros(16)}
    pooled = features(params, IMAGES)
    centred = pooled - pooled.mean(-1, keepdims=True)
    expected = centred / jnp.sqrt(jnp.mean(centred**2, -1, keepdims=True) + beit.EPS)
    logits = jax.jit(classifier.apply)({"params": headless}, IMAGES)
    np.testing.assert_allclose(logits, expected[:, :5], atol=1e-4)
    again = beit.adopt_trunk(own, adopted)  # a classifier of the same shapes: whole
    jax.tree.map(np.testing.assert_array_equal, again, adopted)
    with pytest.raises(ValueError, match="starts from a BEiT.*init_from"):
        beit.adopt_trunk(own, {"encoder": {}})


def test_refusals():
    with pytest.raises(ValueError, match="patches of 4 pixels don't divide images of 6x8"):
        MaskedBeit(7, {**TRUNK, "patch_size": 4}).init(KEY, IMAGES, MASK)
    with pytest.raises(ValueError, match="a width of 16 can't be cut into num_heads=3 heads"):
        MaskedBeit(7, {**TRUNK, "num_heads": 3}).init(KEY, IMAGES, MASK)
