"""What most families repeat: reading settings and parents, assembling one player or two, the plainest loss."""

from collections.abc import Callable, Mapping, Sequence
from functools import wraps
from types import MappingProxyType
from typing import Any

from genjax.core import rng
from genjax.families.base import Builder, Family, LossOutputs, Player
from genjax.families.settings import expect_parents, read_settings
from genjax.families.terms import Term, mean_of
from genjax.typing import Array, Float, Image, Key, Params

EMPTY: Mapping[str, Term] = MappingProxyType({})
LogicalAxes = Sequence[tuple[str, tuple[str | None, ...]]]


def builder(
    family: str, settings: type, sampling: type | None = None, **parents: type
) -> Callable[[Callable[..., Family]], Builder]:
    """Decorates (settings, [sampling,] spec, **parents) -> Family: the `Builder` of a family.

    Args:
        family: its name.
        settings: the NamedTuple that `config.model` is read as.
        sampling: that of `config.sampling`; None of a family that reads nothing there.
        parents: name of an upstream stage -> the interface that it has to have.

    The builder raises ValueError for fields that are unknown or missing, and for parents that are missing, of another
    kind, or not needed.
    """

    def decorate(make: Callable[..., Family]) -> Builder:
        @wraps(make)
        def build(fields, defaults, spec, given):
            found = expect_parents(given, parents, family)
            read = [read_settings(settings, fields, f"config.model of the {family} family")]
            if sampling is not None:
                read.append(read_settings(sampling, defaults, f"config.sampling of the {family} family"))
            return make(*read, spec, **found)

        return build

    return decorate


def one_player(
    model: Any, interface: Any, logical_axes: LogicalAxes, *, batch_coupled: str = "", summarize: Any = None, **others
) -> Family:
    """The family of one player whose functions are the methods of `model`.

    Args:
        model: has the methods `init(key, batch)`, `loss_fn(params, inputs)` and `evaluate(weights, batch, key)`, as
            `Family` and `Player` describe them.
        interface: what later stages see of it.
        logical_axes: of its networks, as the files of `genjax.nn` state them.
        batch_coupled, summarize: as of `Player`.
        others: further fields of `Family`: `reconstruct`, `adopt`.
    """
    player = Player("model", model.loss_fn, batch_coupled=batch_coupled)
    return Family(
        init=model.init,
        players=(player._replace(summarize=summarize) if summarize else player,),
        evaluate=model.evaluate,
        interface=interface,
        logical_axes=tuple(logical_axes),
        **others,
    )


def two_players(
    model: Any, discriminator_steps: int, interface: Any, logical_axes: LogicalAxes, *, batch_coupled: str = ""
) -> Family:
    """The family of a discriminator and a generator whose functions are the methods of `model`.

    Args:
        model: has the methods `init` and `evaluate` as of `one_player`, and `discriminator_loss` and `generator_loss`,
            which are called as `loss_fn`.
        discriminator_steps: the generator is trained on every so many-th step.
        interface: what later stages see of it.
        logical_axes: of its networks, as the files of `genjax.nn` state them.
        batch_coupled: as of `Player`, of both.

    Raises:
        ValueError: for less than one step.
    """
    if discriminator_steps < 1:
        raise ValueError(f"config.model.discriminator_steps={discriminator_steps} must be at least 1")
    return Family(
        init=model.init,
        players=(
            Player("discriminator", model.discriminator_loss, batch_coupled=batch_coupled),
            Player("generator", model.generator_loss, discriminator_steps, batch_coupled=batch_coupled),
        ),
        evaluate=model.evaluate,
        interface=interface,
        logical_axes=tuple(logical_axes),
    )


def mean_loss(values: Float[Array, "..."], metrics: Mapping[str, Term] = EMPTY) -> LossOutputs:
    """The mean of all values as the loss, of a player that keeps no state beside its parameters."""
    return LossOutputs({"loss": mean_of(values)}, dict(metrics), ())


def init_coders(encoder: Any, decoder: Any, key: Key, image: Image, code: Float[Array, "..."]) -> dict[str, Params]:
    """Fresh parameters of an encoder of images and a decoder of codes."""
    return {
        "encoder": encoder.init(rng.stream(key, "encoder"), image)["params"],
        "decoder": decoder.init(rng.stream(key, "decoder"), code)["params"],
    }
