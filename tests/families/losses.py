"""A family's loss as a function of parameters and a batch: the one place where tests know the form of the seam."""

from collections.abc import Callable, Mapping
from functools import lru_cache
from types import MappingProxyType
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from genjax.families.base import Family, LossInputs
from genjax.training import accumulate

EMPTY = MappingProxyType({})


class Loss(NamedTuple):
    """What a player's loss gives: the scalar that a step minimises, its metrics, and the state that it leaves."""

    value: Any
    metrics: Mapping[str, Any]
    extra: Any


def compute(
    family: Family,
    params: Mapping[str, Any],
    batch: Mapping[str, Any],
    key: Any,
    *,
    player: str | None = None,
    extra: Any = (),
    frozen: Mapping[str, Any] = EMPTY,
    step: Any = 0,
) -> Loss:
    """The loss of a batch; traceable, so that it can be jitted and differentiated by whoever calls.

    Args:
        family: what `registry.build` gives.
        params: player -> parameters, of all players.
        batch: the examples.
        key: of the player and step.
        player: whose loss; the first one's by default.
        extra: state that is not optimised.
        frozen: weights of the upstream stages.
        step: from 0.
    """
    chosen = next(one for one in family.players if player in (None, one.name))
    others = {name: value for name, value in params.items() if name != chosen.name}
    inputs = LossInputs(others, extra, dict(frozen), batch, key, jnp.asarray(step, jnp.int32))
    outputs = chosen.loss(params[chosen.name], inputs)
    metrics = chosen.summarize({name: term.mean for name, term in outputs.metrics.items()})
    return Loss(accumulate.total(outputs.terms), metrics, outputs.extra)


class Same(NamedTuple):
    """A family as a key: equal to nothing but itself."""

    family: Family

    def __hash__(self):
        return id(self.family)

    def __eq__(self, other):
        return self.family is other.family


@lru_cache(maxsize=8)
def _compiled(same: Same, player: str | None) -> Callable[..., Loss]:
    return jax.jit(
        lambda params, batch, key, how: compute(same.family, params, batch, key, player=player, **how),
    )


@lru_cache(maxsize=8)
def _compiled_gradient(same: Same, player: str) -> Callable[..., Any]:
    def run(own, params, batch, key, how):
        return compute(same.family, {**params, player: own}, batch, key, player=player, **how).value

    return jax.jit(jax.grad(run))


def jitted(family: Family, params: Mapping[str, Any], batch: Mapping[str, Any], key: Any, **how: Any) -> Loss:
    """`compute`, compiled once for each of the last families; the same arguments."""
    return _compiled(Same(family), how.pop("player", None))(params, batch, key, how)


def gradient(family: Family, params: Mapping[str, Any], batch: Mapping[str, Any], key: Any, **how: Any) -> Any:
    """Gradient of the loss on the parameters of the player that it belongs to, compiled; the same arguments."""
    player = how.pop("player", None) or family.players[0].name
    return _compiled_gradient(Same(family), player)(params[player], params, batch, key, how)
