"""What a family of one player, "model", repeats: its assembly, its plainest loss, the reading of its settings."""

from collections.abc import Callable, Mapping, Sequence
from functools import wraps
from types import MappingProxyType
from typing import Any

from genjax.families.base import Family, LossOutputs, Player
from genjax.families.settings import read_settings, refuse_parents
from genjax.families.terms import Term, mean_of
from genjax.typing import Array, DataSpec, Float

EMPTY: Mapping[str, Term] = MappingProxyType({})
LogicalAxes = Sequence[tuple[str, tuple[str | None, ...]]]


def one_player(model: Any, interface: Any, logical_axes: LogicalAxes, batch_coupled: str = "", **others: Any) -> Family:
    """The family of one player whose functions are the methods of `model`.

    Args:
        model: has the methods `init(key, batch)`, `loss_fn(params, inputs)` and `evaluate(weights, batch, key)`, as
            `Family` and `Player` describe them.
        interface: what later stages see of it.
        logical_axes: of its networks, as the files of `genjax.nn` state them.
        batch_coupled: as of `Player`.
        others: further fields of `Family`: `reconstruct`, `adopt`.
    """
    return Family(
        init=model.init,
        players=(Player("model", model.loss_fn, batch_coupled=batch_coupled),),
        evaluate=model.evaluate,
        interface=interface,
        logical_axes=tuple(logical_axes),
        **others,
    )


def mean_loss(values: Float[Array, "..."], metrics: Mapping[str, Term] = EMPTY) -> LossOutputs:
    """The mean of all values as the loss, of a player that keeps no state beside its parameters."""
    return LossOutputs({"loss": mean_of(values)}, dict(metrics), ())


def standalone(family: str, kind: type) -> Callable:
    """Decorates (settings, spec) -> Family: the `Builder` of a family that builds on no other and has no defaults
    for sampling of its own.

    Args:
        family: its name.
        kind: the NamedTuple that `config.model` is read as.

    The builder raises ValueError for parents, and for settings that `kind` hasn't.
    """

    def decorate(make: Callable[[Any, DataSpec], Family]) -> Callable:
        @wraps(make)
        def build(fields: Mapping[str, Any], sampling: Mapping[str, Any], spec: DataSpec, parents: Mapping[str, Any]):
            refuse_parents(parents, family)
            return make(read_settings(kind, fields, f"config.model of the {family} family"), spec)

        return build

    return decorate
