"""Means by their sums and counts: what losses and metrics are made of, so that they add up over pieces of a batch.

    mean of a batch = sum over pieces of totals / sum over pieces of counts

whatever the pieces' own counts are. A mean of the pieces' means would be another number wherever those differ.
"""

from typing import NamedTuple

import jax.numpy as jnp

from genjax.nn.layers import quantize
from genjax.typing import Array, Batch, Bool, Float, Int

Metrics = dict[str, Array]
"""Means by name; scalars, but for what `summarize_shares` makes scalars of."""


class Term(NamedTuple):
    """A mean by its sum and its denominator, so that means of the pieces of a batch add up to the mean of all of it.

    Attributes:
        total: a sum over what is counted. Of a metric, it may be an array.
        count: how many they are: examples, tokens that are no padding, patches that are hidden. It may depend on the
            batch and the key, and never on parameters or `extra`.
        weight: what the mean is multiplied by in a loss; it may depend on the step.
    """

    total: Float[Array, "*d"]
    count: Float[Array, ""] | Int[Array, ""] | float | int  # type: ignore[assignment]  # tuple.count
    weight: Float[Array, ""] | float | int = 1.0

    @property
    def mean(self) -> Float[Array, "*d"]:
        """total / count, and 0 where nothing is counted."""
        return self.total / jnp.maximum(self.count, 1)


def mean_of(values: Float[Array, "..."], weight: Float[Array, ""] | float | int = 1.0) -> Term:
    """The mean of all values as a term; its sum is taken in float32 at least."""
    return Term(jnp.sum(values, dtype=jnp.promote_types(values.dtype, jnp.float32)), values.size, weight)


def same(value: Float[Array, ""] | float) -> Term:
    """A number that is the same for the whole batch: the temperature of a step, a penalty on parameters."""
    return Term(jnp.asarray(value, jnp.float32), 1)


def code_shares(codes: Int[Array, "..."], num_codes: int) -> Term:
    """How often each code is among those given: a term whose mean is their shares [k]; see `summarize_shares`."""
    return Term(jnp.bincount(codes.ravel(), length=num_codes).astype(jnp.float32), codes.size)


def summarize_shares(metrics: Metrics) -> Metrics:
    """Metrics in which the shares of codes, "shares" or "shares_0", become "usage" and "perplexity" of that name."""
    scalars = {name: value for name, value in metrics.items() if not name.startswith("shares")}
    for name in sorted(metrics.keys() - scalars.keys()):
        level = name.removeprefix("shares")
        scalars[f"perplexity{level}"] = quantize.perplexity_of(metrics[name])
        scalars[f"usage{level}"] = quantize.usage_of(metrics[name])
    return scalars


def present(batch: Batch) -> Bool[Array, " b"]:
    """Which examples of a batch of evaluation are no padding: `batch["present"]`, or all where the batch has none."""
    if "present" in batch:
        return batch["present"]
    return jnp.ones(len(next(iter(batch.values()))), bool)
