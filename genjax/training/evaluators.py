"""Held-out metrics of a family: the mean of its `evaluate` over a whole split, by the moving averages' weights."""

from collections.abc import Callable, Iterable

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh

from genjax import sharding
from genjax.core import rng
from genjax.families.interfaces import EvaluateFn, Weights
from genjax.nn.layers import kernels
from genjax.typing import Batch, Key


def to_device(batch: Batch, mesh: Mesh) -> Batch:
    """This process's share of a batch as global arrays, cut over the mesh; what is not numeric is dropped."""
    place = sharding.batch_sharding(mesh)
    return {
        name: jax.make_array_from_process_local_data(place, value)
        for name, value in batch.items()
        if isinstance(value, np.ndarray) and value.dtype.kind in "biuf"
    }


def make_evaluate(
    function: EvaluateFn, mesh: Mesh, attention: str = "auto"
) -> Callable[[Weights, Iterable[Batch], Key], dict[str, float]]:
    """The function (weights, batches, key) -> metric name -> mean over all examples of the batches.

    Batches carry `mask` [b], 0 for the examples that fill up the last one; `function` sees it as "present". The random
    numbers of a batch depend on its place alone, so that two evaluations of the same weights agree exactly. `attention`
    is the kernel that attention may be computed by (`genjax.nn.layers.kernels`).
    """

    @jax.jit
    @kernels.kernel(attention, mesh)
    def totals(weights, batch, key):
        mask = batch["mask"]
        examples = {name: value for name, value in batch.items() if name != "mask"}
        values = function(weights, {**examples, "present": mask > 0}, key)
        sums = {name: jnp.sum(jnp.where(mask > 0, value, 0.0)) for name, value in values.items()}
        return sums, jnp.sum(mask)

    def evaluate(weights: Weights, batches: Iterable[Batch], key: Key) -> dict[str, float]:
        sums: dict[str, float] = {}
        count = 0.0
        for place, batch in enumerate(batches):
            batch_sums, batch_count = jax.device_get(
                totals(weights, to_device(batch, mesh), rng.stream(key, "evaluate", place))
            )
            count += float(batch_count)
            sums = {name: sums.get(name, 0.0) + float(value) for name, value in batch_sums.items()}
        return {name: value / count for name, value in sums.items()}

    return evaluate
