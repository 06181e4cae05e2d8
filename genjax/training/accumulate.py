"""Gradient of a player's loss on a batch, at once or piece by piece: the same number either way.

A loss is a sum of terms (`genjax.families.terms.Term`),

    loss = sum over terms   weight * total / count

with totals and counts that add up over the examples of a batch. Of a batch cut into n pieces, the counts of all pieces
are taken first, which needs no network: XLA drops from that pass whatever the counts don't depend on. Then

    gradient = sum over pieces   d/dparams  sum over terms   weight * total_piece / count_batch

so that it doesn't matter how tokens, or hidden patches, are spread over the pieces. What isn't linear in the examples
can't be had so, and is refused: see `check`.
"""

from collections.abc import Mapping
from typing import NamedTuple

import jax
import jax.numpy as jnp

from genjax.families.base import Family, LossInputs, LossOutputs, Player
from genjax.families.terms import Term
from genjax.typing import Array, Batch, Float, Key, Params, PyTree


class Gradient(NamedTuple):
    """Of a player's loss on a whole batch.

    Attributes:
        loss: the sum of its terms.
        grads: its gradient on the player's parameters.
        metrics: scalars by name.
        extra: the state after the batch.
    """

    loss: Float[Array, ""]
    grads: Params
    metrics: dict[str, Float[Array, ""]]
    extra: PyTree


def check(family: Family, microbatches: int) -> None:
    """Refuse to cut batches for a family one of whose players needs them whole.

    Raises:
        ValueError: naming the player and its reason.
    """
    for player in family.players:
        if microbatches > 1 and player.batch_coupled:
            raise ValueError(
                f"config.training.microbatches={microbatches} would change what the player {player.name!r} learns: "
                f"{player.batch_coupled}; set it to 1"
            )


def compute(player: Player, params: Params, inputs: LossInputs, microbatches: int = 1) -> Gradient:
    """The loss of `inputs.batch` and its gradient.

    Args:
        player: whose loss.
        params: its parameters.
        inputs: with the whole batch.
        microbatches: pieces into which the batch is cut; they divide it.
    """
    if microbatches == 1:
        (loss, outputs), grads = _value_and_grad(player, params, inputs, None)
    else:
        (loss, outputs), grads = _in_microbatches(player, params, inputs, microbatches)
    metrics = player.summarize({name: term.mean for name, term in outputs.metrics.items()})
    return Gradient(loss, grads, metrics, outputs.extra)


def total(terms: Mapping[str, Term], counts: Mapping[str, Array] | None = None) -> Float[Array, ""]:
    """The sum of the terms, divided by the counts given, or else by their own."""
    counts = counts or {}
    whole = (term._replace(count=counts.get(name, term.count)) for name, term in terms.items())
    return sum(term.weight * term.mean for term in whole)  # type: ignore[return-value]  # there is one


def _value_and_grad(player: Player, params: Params, inputs: LossInputs, counts):
    def objective(params: Params):
        outputs = player.loss(params, inputs)
        return total(outputs.terms, counts), outputs._replace(terms={})

    return jax.value_and_grad(objective, has_aux=True)(params)


def _in_microbatches(player: Player, params: Params, inputs: LossInputs, microbatches: int):
    """The same, over pieces of the batch; `extra` passes from piece to piece."""
    parts = (_cut(inputs.batch, microbatches), jax.random.split(inputs.key, microbatches))
    counts = _counts(player, params, inputs, parts, microbatches)

    def gradient(extra: PyTree, piece: tuple[Batch, Key]):
        own = inputs._replace(extra=extra, batch=piece[0], key=piece[1])
        (loss, outputs), grads = _value_and_grad(player, params, own, counts)
        return outputs.extra, (loss, outputs.metrics, grads)

    def add(carry, piece):
        extra, values = gradient(carry[0], piece)
        return (extra, jax.tree.map(jnp.add, carry[1], values)), None

    first = jax.tree.map(lambda x: x[0], parts)
    zeros = jax.tree.map(lambda x: jnp.zeros(x.shape, x.dtype), jax.eval_shape(gradient, inputs.extra, first)[1])
    (extra, (loss, metrics, grads)), _ = jax.lax.scan(add, (inputs.extra, zeros), parts)
    return (loss, LossOutputs({}, metrics, extra)), grads


def _cut(batch: Batch, microbatches: int) -> Batch:
    """Pieces of the batch [n, b / n, ...].

    Every n-th example goes into the same piece, so that each device cuts up its own share of the batch.
    """
    return jax.tree.map(
        lambda x: x.reshape(x.shape[0] // microbatches, microbatches, *x.shape[1:]).swapaxes(0, 1), batch
    )


def _counts(player: Player, params: Params, inputs: LossInputs, parts, microbatches: int) -> dict[str, Array]:
    """The count of each term over all pieces."""
    fixed: dict[str, float] = {}

    def count(piece: tuple[Batch, Key]):
        terms = player.loss(params, inputs._replace(batch=piece[0], key=piece[1])).terms
        fixed.update({name: term.count for name, term in terms.items() if not isinstance(term.count, jax.Array)})
        return {name: jnp.asarray(term.count) for name, term in terms.items()}

    names = jax.eval_shape(count, jax.tree.map(lambda x: x[0], parts))
    if set(names) == set(fixed):  # the shapes alone say it
        return {name: jnp.asarray(microbatches * number) for name, number in fixed.items()}
    return jax.tree.map(lambda x: jnp.sum(x, axis=0), jax.lax.map(count, parts))
