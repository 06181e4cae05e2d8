"""The census: for every field of a family's settings another value, and where it must be seen.

A row says `field: to(value, "loss sample")`: with this value instead of the case's own the traces of those places
change. `also` are changes made on both sides first, without which the field does nothing. A field that acts outside
what is traced names the test that proves it. Fields that hold the settings of something else, chosen by a name, say
whose they are (`of`), and the rows of these are listed too.
"""

from collections.abc import Callable, Collection, Mapping
from typing import Any, NamedTuple


class To(NamedTuple):
    """Another value, the places that it changes, and what is changed on both sides first.

    `of`: of a field that holds settings of something else, the table of whatever that can be, or the one thing.
    """

    value: Any
    where: str
    also: Mapping[str, Any] = {}
    of: Mapping[str, Callable] | Callable | None = None


class Proved(NamedTuple):
    """A field that acts outside what is traced: the test that proves it, as "tests/x_test.py::test_y"."""

    test: str


class Refused(NamedTuple):
    """A field that means nothing for its owner: this value is an error, which has these words."""

    value: Any
    words: str


class Rows(NamedTuple):
    """The fields of one NamedTuple, module or maker.

    Attributes:
        owner: whose fields these are.
        case: a name of `census_cases.CASES`.
        at: where they are in its config, "model.network".
        fields: name -> its row.
        given: names that the family fills in by itself, and no config may.
        also: changes made to the case first.
    """

    owner: Callable
    case: str
    at: str
    fields: Mapping[str, To | Proved | Refused]
    given: Collection[str] = ()
    also: Mapping[str, Any] = {}


def to(value: Any, where: str, of: Any = None, **also: Any) -> To:
    """A row; names of `also` have two underscores for each dot."""
    return To(value, where, {name.replace("__", "."): other for name, other in also.items()}, of)


def named(owner: Callable, name: str, case: str, at: str, fields: Mapping[str, To], given=(), **also: Any) -> Rows:
    """The rows of what is chosen by a name: the case has it in place of its own."""
    changes = {path.replace("__", "."): value for path, value in also.items()}
    return Rows(owner, case, at, fields, given, {at: {"name": name}, **changes})
