"""Held-out metrics: means over the examples of a split, however many fill up its last batch."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from genjax import sharding
from genjax.families.base import Weights
from genjax.families.base_terms import present
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
    family = toy.family()._replace(evaluate=evaluate)
    found = evaluators.make_evaluate(family, sharding.make_mesh())(
        Weights({}, (), {}), batches(size), jax.random.key(0)
    )
    parts = [VALUES[start : start + size] for start in range(0, 13, size)]
    distances = np.concatenate([np.abs(part - part.mean()) for part in parts])
    np.testing.assert_allclose(found["value"], VALUES.mean(), rtol=1e-6)
    np.testing.assert_allclose(found["distance"], distances.mean(), rtol=1e-6)


def test_all_are_present_where_a_batch_does_not_say():
    assert present({"image": jnp.zeros((3, 2))}).tolist() == [True] * 3
