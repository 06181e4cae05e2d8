"""What a family is built from, read and checked, with errors that name the field: settings, data, parents."""

import inspect
from collections.abc import Callable, Mapping
from typing import Any, TypeVar

from genjax.typing import DataSpec

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


def expect_parents(parents: Mapping[str, Any], kinds: Mapping[str, type], family: str) -> dict[str, Any]:
    """The parents of these names, each of its kind; of a family without kinds, that there are none.

    Raises:
        ValueError: for parents that are missing, of another kind, or not needed.
    """
    if not kinds:
        refuse_parents(parents, family)
    return {name: expect_parent(parents, name, kind, family) for name, kind in kinds.items()}


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


def split_settings(kind: type[Fields], settings: Mapping[str, Any], where: str) -> tuple[Fields, dict[str, Any]]:
    """(the fields of `kind`, as of `read_settings`; the others, for whoever else reads this section)."""
    own = {name: value for name, value in settings.items() if name in kind._fields}  # type: ignore[attr-defined]
    return read_settings(kind, own, where), {name: value for name, value in settings.items() if name not in own}


def make_named(what: str, table: Mapping[str, Callable], fields: Mapping[str, Any], where: str, **given: Any) -> Any:
    """What `table` has by the name in the fields, made of the other fields and of what is given.

    Args:
        what: the kind of thing, for errors: "network".
        table: name -> maker.
        fields: "name", and the maker's arguments.
        where: the section of the config: "config.model.network".
        given: further arguments.

    Raises:
        ValueError: for an unknown name or field.
    """
    others = dict(fields)
    name = others.pop("name")
    if name not in table:
        raise ValueError(f"unknown {what} {name!r}; {where}.name is one of {sorted(table)}")
    parameters = inspect.signature(table[name]).parameters
    known = set(parameters) - given.keys() - {"parent", "name"}
    takes_any = any(parameter.kind is parameter.VAR_KEYWORD for parameter in parameters.values())
    if not takes_any and not others.keys() <= known:
        raise ValueError(f"{where}: a {name} has no {sorted(others.keys() - known)}; its fields are {sorted(known)}")
    return table[name](**given, **others)


def expect_share(name: str, value: float) -> None:
    """Refuses what is no share.

    Raises:
        ValueError: for a value outside [0, 1], with its name.
    """
    if not 0 <= value <= 1:
        raise ValueError(f"{name}={value} must be in [0, 1]")


def expect_labels(spec: DataSpec, who: str) -> None:
    """Refuses data without class labels for what needs them, such as "config.model.conditional=True".

    Raises:
        ValueError: for such data.
    """
    if not spec.num_classes:
        raise ValueError(f"{who} needs data with class labels, and this has none")


def expect_tokens(spec: DataSpec, family: str) -> None:
    """Refuses data without tokens for a family that reads texts.

    Raises:
        ValueError: for such data.
    """
    if not spec.text_length:
        raise ValueError(
            f"the family {family} needs captions as tokens: choose data that has captions, and set "
            "config.data.tokenizer, which says how they are tokenized"
        )
