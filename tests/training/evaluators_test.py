"""Held-out metrics: means over the examples of a split, however many fill up its last batch."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import PartitionSpec

from genjax import sharding
from genjax.core import rng
from genjax.families.base import Family
from genjax.families.interfaces import Weights
from genjax.families.terms import present
from genjax.training import evaluators
from tests.training import toy

VALUES = np.arange(1.0, 14.0, dtype=np.float32) ** 2


def batches(size, count=13):
    """The values as images in batches, the last filled up with what would show; a mask says so."""
    for start in range(0, count, size):
        own = VALUES[start : min(start + size, count)]
        padded = np.concatenate([own, np.full(size - len(own), 1e6, np.float32)])
        mask = (np.arange(size) < len(own)).astype(np.float32)
        yield {"image": np.asarray(toy.batch(padded)["image"]), "mask": mask}


def evaluate(weights, batch, key):
    """Each example's distance from the mean of those of its batch that there are."""
    there, own = present(batch), batch["image"].mean((1, 2, 3))
    return {"distance": jnp.abs(own - jnp.mean(own, where=there)), "value": own}


@pytest.mark.parametrize("size", [8, 16])
def test_padding_counts_nowhere(size):
    run = evaluators.make_evaluate(evaluate, sharding.make_mesh())
    found = run(Weights({}, (), {}), batches(size), jax.random.key(0))
    parts = [VALUES[start : start + size] for start in range(0, 13, size)]
    distances = np.concatenate([np.abs(part - part.mean()) for part in parts])
    np.testing.assert_allclose(found["value"], VALUES.mean(), rtol=1e-6)
    np.testing.assert_allclose(found["distance"], distances.mean(), rtol=1e-6)


def test_each_batch_and_each_seed_draws_its_own_random_numbers():
    def draw(weights, batch, key):
        return {"drawn": jax.random.uniform(key, batch["image"].shape[:1])}

    run = evaluators.make_evaluate(draw, sharding.make_mesh())
    own = list(batches(8, 8))
    once, twice, other = (
        run(Weights({}, (), {}), given, jax.random.key(seed))["drawn"]
        for given, seed in ((own, 0), (own * 2, 0), (own, 1))
    )
    assert abs(once - twice) > 1e-3, "the second batch repeats the first one's noise"
    assert abs(once - other) > 1e-3


def test_all_are_present_where_a_batch_does_not_say():
    assert present({"image": jnp.zeros((3, 2))}).tolist() == [True] * 3


KEY = jax.random.key(2)
WEIGHTS = Weights({"model": jnp.float32(10.0)}, jnp.float32(100.0), {"stage": jnp.float32(1000.0)})


def weighted(seen=None) -> Family:
    """Metrics: the image's value plus all weights; the draw of the key."""

    def evaluate(weights, batch, key):
        if seen is not None:
            seen.append(sorted(batch))
        value = batch["image"][:, 0, 0, 0] + weights.params["model"] + weights.extra + weights.frozen["stage"]
        return {"value": value, "draw": jax.random.uniform(key) * jnp.ones_like(value)}

    return toy.family()._replace(evaluate=evaluate)


def two_batches():
    first = {"image": np.full((4, 2, 2, 1), 1.0, np.float32), "mask": np.ones(4, np.float32)}
    last = {"image": np.full((4, 2, 2, 1), 4.0, np.float32), "mask": np.array([1, 0, 0, 0], np.float32)}
    last["image"][1:] = np.nan
    words = np.array(["a", "b", "c", "d"], dtype=object)
    return [{**batch, "label": np.arange(4, dtype=np.int32), "text": words} for batch in (first, last)]


def test_the_mean_is_over_examples_and_padding_is_none():
    seen = []
    mesh = sharding.make_mesh(data=2, fsdp=2, devices=jax.devices()[:4])
    found = evaluators.make_evaluate(weighted(seen).evaluate, mesh)(WEIGHTS, two_batches(), KEY)
    assert found["value"] == pytest.approx(1110 + (4 * 1.0 + 4.0) / 5)
    draws = [float(jax.random.uniform(rng.stream(KEY, "evaluate", place))) for place in (0, 1)]
    assert draws[0] != draws[1] and found["draw"] == pytest.approx((4 * draws[0] + draws[1]) / 5)
    assert seen == [["image", "label", "present"]], "one trace, without texts; the mask by the name that families know"


def test_a_batch_is_cut_over_data_and_fsdp():
    """Each of 2 x 4 devices has an eighth of it, and all in its order; what is no number stays behind."""
    batch = {"image": np.arange(16, dtype=np.float32).reshape(16, 1), "mask": np.arange(16) > 3, "text": "no array"}
    placed = evaluators.to_device(batch, sharding.make_mesh(data=2, fsdp=4))
    assert placed.keys() == {"image", "mask"}
    for name, array in placed.items():
        assert [shard.data.shape[0] for shard in array.addressable_shards] == [2] * 8
        np.testing.assert_array_equal(array, batch[name])
    assert placed["image"].sharding.spec == PartitionSpec(("data", "fsdp"))
