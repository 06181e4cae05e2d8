"""The seam between families and everything above them.

A family is an ordered tuple of *players*: each has its own parameters, its own loss and its own optimizer, and they
are trained in order, within one step. One player makes a VAE or a diffusion model; two make a GAN; a codebook kept
by moving averages or the statistics of batch norm live in `extra`, which losses return anew. A loss is a sum of terms
`weight * total / count`, whose sums and counts add up over the pieces of a batch. The trainer knows this
file and no family; a family knows this file and no trainer.
"""

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

from genjax.families.interfaces import EvaluateFn, Interface, Weights
from genjax.families.terms import Metrics, Term
from genjax.typing import (
    Array,
    Batch,
    DataSpec,
    Image,
    Int,
    Key,
    Params,
    PyTree,
)


class LossInputs(NamedTuple):
    """All that a player's loss sees beside its own parameters.

    Attributes:
        others: player name -> parameters of the *other* players, as they stand within this step.
        extra: state that is not optimised: codebook averages, batch statistics, loss history.
        frozen: stage name -> `Weights` of the upstream stages.
        batch: the examples of this step, float32 images in [-1, 1] under "image".
        key: random key of this player and step.
        step: training step, from 0.
    """

    others: Mapping[str, Params]
    extra: PyTree
    frozen: Mapping[str, PyTree]
    batch: Batch
    key: Key
    step: Int[Array, ""]


class LossOutputs(NamedTuple):
    """What a player's loss gives.

    Attributes:
        terms: of which the loss is the sum of `weight * total / count`. The trainer divides by the count of the whole
            batch, taken before the backward pass, so that it may cut the batch into pieces (`training.microbatches`),
            of whatever counts.
        metrics: each reported as `total / count`, of the whole batch too.
        extra: the new state that is not optimised. Of a batch that is cut it passes from piece to piece.
    """

    terms: Mapping[str, Term]
    metrics: Mapping[str, Term]
    extra: PyTree


LossFn = Callable[[Params, LossInputs], LossOutputs]
"""(parameters, LossInputs) -> LossOutputs."""


def _as_they_are(metrics: Metrics) -> Metrics:
    return metrics


class Player(NamedTuple):
    """One optimised network, or set of networks: "model", "generator", "discriminator".

    Attributes:
        name: names its parameters, its optimizer settings and its metrics.
        loss: what it minimises.
        every: it is trained on every n-th step.
        batch_coupled: why its loss, or what becomes of `extra`, is of the batch as a whole and no sum over examples:
            negatives, batch statistics, a maximum of means, an average that moves once a batch. Such a player is
            refused with `training.microbatches` > 1, by this reason. Empty where pieces add up to the batch.
        summarize: makes scalars of the whole batch's metrics where the loss gives more than those: the perplexity of
            the shares of codes.
    """

    name: str
    loss: LossFn
    every: int = 1
    batch_coupled: str = ""
    summarize: Callable[[Metrics], Metrics] = _as_they_are


class Family(NamedTuple):
    """A generator as pure functions.

    Attributes:
        init: (key, batch) -> ({player: parameters}, extra).
        players: trained in this order within a step.
        evaluate: see `EvaluateFn`.
        interface: what later stages see of it, an `ImageSampler` for one; images are sampled by its `sample`.
        logical_axes: (regex on the parameter's path, name of each of its axes), as the nn files state them.
        reconstruct: (weights, images, key) -> images, of a family that encodes and decodes, or makes images small and
            large again; None of others.
        adopt: (its own fresh parameters, those of the run that `config.init_from` names) -> what a fresh run starts
            from, by player, of a family that starts from runs of another network too; None where it has to be the same.
    """

    init: Callable[[Key, Batch], tuple[dict[str, Params], PyTree]]
    players: tuple[Player, ...]
    evaluate: EvaluateFn
    interface: Interface
    logical_axes: tuple[tuple[str, tuple[str | None, ...]], ...] = ()
    reconstruct: Callable[[Weights, Image, Key], Image] | None = None
    adopt: Callable[[Mapping[str, Params], Mapping[str, Params]], dict[str, Params]] | None = None


Builder = Callable[[Mapping[str, Any], Mapping[str, Any], DataSpec, Mapping[str, Any]], Family]
"""(model settings, sampling settings, what the data is, parents) -> Family: the `build` of each family's file.

`parents` holds the interfaces of the upstream stages, by the names of `config.stages`. Their weights arrive under the
same names in `LossInputs.frozen` and `Weights.frozen`, as a `Weights` each."""
