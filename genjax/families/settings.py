"""Settings of a config as NamedTuples, and the parents of a family, with errors that name the field."""

from collections.abc import Mapping
from typing import Any, TypeVar

Fields = TypeVar("Fields", bound=tuple)
Kind = TypeVar("Kind")


def expect_parent(parents: Mapping[str, Any], name: str, kind: type[Kind], family: str) -> Kind:
    """The parent `name`, which has to be of one kind.

    Raises:
        ValueError: if there is none, or if it is something else.
    """
    if name not in parents:
        raise ValueError(
            f"the family {family} needs a {kind.__name__}: name the workdir of one, --config.stages.{name}.workdir=DIR"
        )
    if not isinstance(parents[name], kind):
        raise ValueError(
            f"config.stages.{name}.workdir has to be the run of a {kind.__name__}; "
            f"the one named is a {type(parents[name]).__name__}"
        )
    return parents[name]


def refuse_parents(parents: Mapping[str, Any], family: str) -> None:
    """For families that build on no other stage.

    Raises:
        ValueError: if there is a parent.
    """
    if parents:
        raise ValueError(f"the family {family} builds on no other stage; remove config.stages.{sorted(parents)[0]}")


def read_settings(kind: type[Fields], settings: Mapping[str, Any], where: str) -> Fields:
    """The settings of a config as the NamedTuple `kind`.

    Args:
        kind: its fields without a default have to be there.
        settings: field name -> value.
        where: what the settings are, for the error: "config.model of the diffusion family".

    Raises:
        ValueError: for fields that there aren't, or that are missing.
    """
    known: Any = kind  # a NamedTuple, which no bound of a TypeVar can say
    unknown = sorted(settings.keys() - set(known._fields))
    missing = sorted(set(known._fields) - known._field_defaults.keys() - settings.keys())
    if unknown or missing:
        wrong = f"unknown {unknown}" if unknown else f"missing {missing}"
        raise ValueError(f"{where}: {wrong}; its fields are {list(known._fields)}")
    return kind(**settings)
