"""Every field of every family's settings reaches what is computed: see `census_rows` for what a row says.

A field without a row fails here, and so does one that changes nothing that is traced.
"""

import ast
import contextlib
import dataclasses
import importlib
import inspect
from collections.abc import Callable, Collection, Mapping
from functools import cache
from pathlib import Path
from typing import NamedTuple

import jaxtyping
import pytest
from flax.errors import FlaxError

from genjax.families import registry
from genjax.families.interfaces import Weights
from tests.families import census, census_cases, census_diffusion, census_images, census_sequences
from tests.families.census_rows import Proved, Refused, Rows, To

ROOT = Path(__file__).parents[2]
TABLES = (
    census_diffusion.DIFFUSION, census_diffusion.MAKERS, census_diffusion.NETWORKS, census_images.CODERS,
    census_images.ADVERSARIAL, census_sequences.AUTOREGRESSIVE, census_sequences.ENCODERS,
)  # fmt: skip
ROWS: list[Rows] = [rows for table in TABLES for rows in table]


def name_of(rows: Rows) -> str:
    """The owner with its module, and where its fields are."""
    owner = rows.owner
    name = f"{owner.__module__.rpartition('.')[2]}.{owner.__name__}" if hasattr(owner, "__name__") else "options"
    return f"{name}@{rows.case}:{rows.at}"


def fields_of(owner) -> set[str]:
    """What an owner may be given: fields of a NamedTuple or a module, arguments of a maker, keys of a table."""
    if isinstance(owner, Mapping):
        return {*owner, "batch_size"}
    if hasattr(owner, "_fields"):
        return set(owner._fields)
    if dataclasses.is_dataclass(owner):
        return {field.name for field in dataclasses.fields(owner)} - {"parent", "name"}
    return set(inspect.signature(owner).parameters)


def settings_classes() -> set[type]:
    """Whatever the families read a part of a config as: what their calls of these functions name."""
    found = set()
    for path in sorted((ROOT / "genjax" / "families").glob("*.py")):
        module = importlib.import_module(f"genjax.families.{path.stem}")
        for node in (node for node in ast.walk(ast.parse(path.read_text())) if isinstance(node, ast.Call)):
            called = {"read_settings": slice(0, 1), "split_settings": slice(0, 1), "builder": slice(1, 3)}
            places = called.get(name_of_call(node), slice(0))
            found |= {getattr(module, argument.id, None) for argument in node.args[places]}
    return found - {None}  # an argument of a function that passes it on


def name_of_call(node: ast.Call) -> str:
    return getattr(node.func, "id", None) or getattr(node.func, "attr", "")


def is_nested(owner: Callable, field: str) -> bool:
    """Whether a field holds settings of something else."""
    return "Mapping" in str(getattr(owner, "__annotations__", {}).get(field, ""))


@pytest.mark.parametrize("rows", ROWS, ids=name_of)
def test_every_field_has_a_row(rows):
    every = [rows, *(other for other in ROWS if other.owner is rows.owner and other is not rows)]
    named = {name.split(".")[0] for one in every for name in one.fields}
    assert fields_of(rows.owner) - set(rows.given) == named


def test_every_owner_has_rows():
    """Families' own settings, and whatever their fields can be chosen from; of makers those that take arguments."""
    listed, needed = {id(rows.owner) for rows in ROWS}, settings_classes()
    for rows in ROWS:
        for row in rows.fields.values():
            if isinstance(row, To) and row.of is not None:
                needed |= set(row.of.values()) if isinstance(row.of, Mapping) else {row.of}
    missing = [owner for owner in needed if id(owner) not in listed and fields_of(owner)]
    assert not missing, "no rows in the census of settings"
    assert {census_cases.make(name).config.family for name in census_cases.CASES} == registry.FAMILIES.keys()


@pytest.mark.parametrize("rows", ROWS, ids=name_of)
def test_what_is_nested_has_rows_of_its_own(rows):
    for field in fields_of(rows.owner) - set(rows.given):
        if is_nested(rows.owner, field) and field in rows.fields:
            assert isinstance(rows.fields[field], To) and rows.fields[field].of is not None, field
        elif is_nested(rows.owner, field):
            inner = census_cases.make(rows.case).config[rows.at][field]
            assert {f"{field}.{name}" for name in inner} <= rows.fields.keys()


class Base(NamedTuple):
    """A case before a field is changed: the fingerprints of its places, and its weights, each found once."""

    case: census.Case
    known: dict[str, str]
    weights: Callable[[], Weights]


@cache
def _base(case: str, changes: tuple[tuple[str, str], ...]) -> Base:
    made = census_cases.make(case)
    for path, value in changes:
        made = census.changed(made, path, ast.literal_eval(value))
    return Base(made, {}, cache(lambda: census.weights_of(made)))


def base_of(rows: Rows, also: Mapping, places: tuple[str, ...]) -> Base:
    """The case of a row before its field is changed, with the fingerprints of these places."""
    changes = {**rows.also, **also}
    base, made = _base(rows.case, tuple((path, repr(value)) for path, value in changes.items())), None
    for place in places:
        if place not in base.known:
            made = made or census.places(base.case, base.weights)
            base.known[place] = made[place]()
    return base


def check(rows: Rows, field: str, row: To | Proved | Refused) -> None:
    """One row holds."""
    if isinstance(row, Proved):
        return is_proved(row.test, field)
    path = f"{rows.at}.{field}"
    if isinstance(row, Refused):
        with pytest.raises(ValueError, match=row.words):
            census.places(census.changed(base_of(rows, {}, ()).case, path, row.value))["init"]()
        return None
    wanted = tuple(row.where.split())
    base = base_of(rows, row.also, wanted)
    case = census.changed(base.case, path, row.value)
    after = traced(case, base, wanted)
    untouched = [place for place in wanted if after[place] == base.known[place]]
    assert not untouched, f"{path}={row.value!r} of the case {rows.case} changes nothing of {untouched}"
    return None


def traced(case: census.Case, base: Base, wanted: Collection[str]) -> dict[str, str]:
    """The fingerprints of places of a changed case; the weights are those of the base where they still fit."""
    if "init" not in wanted:
        # Most such fields leave the weights as they are, and tracing these is half of the work; Flax refuses others.
        with contextlib.suppress(FlaxError, KeyError, TypeError, ValueError, IndexError):
            known = census.places(case, base.weights)
            return {place: known[place]() for place in wanted}
    own = census.places(case)
    return {place: own[place]() for place in wanted}


def is_proved(test: str, field: str) -> None:
    """The named test is there and speaks of the field."""
    path, _, name = test.partition("::")
    source = (ROOT / path).read_text()
    bodies = [node for node in ast.walk(ast.parse(source)) if getattr(node, "name", "") == name]
    assert bodies, f"{test} proves {field}, and is not there"
    assert field in ast.get_source_segment(source, bodies[0]), f"{test} doesn't speak of {field}"


@pytest.fixture
def unchecked():
    """Types of arguments are checked by all other tests; here that would be most of the time."""
    jaxtyping.config.update("jaxtyping_disable", True)
    yield
    jaxtyping.config.update("jaxtyping_disable", False)


@pytest.mark.parametrize("rows", ROWS, ids=name_of)
def test_every_field_reaches_its_places(rows, unchecked):
    for field, row in rows.fields.items():
        check(rows, field, row)


def test_a_dead_field_and_a_missing_row_are_found():
    rows = next(rows for rows in ROWS if rows.case == "vae" and rows.at == "model")
    with pytest.raises(AssertionError, match="model.iwae_samples=4 of the case vae changes nothing of .'loss'"):
        check(rows, "iwae_samples", To(4, "loss evaluate"))
    with pytest.raises(AssertionError, match="is not there"):
        is_proved("tests/families/census_test.py::test_nothing", "beta")
    fewer = rows._replace(fields={name: row for name, row in rows.fields.items() if name != "beta"})
    with pytest.MonkeyPatch.context() as patch, pytest.raises(AssertionError):
        patch.setitem(globals(), "ROWS", [fewer])
        test_every_field_has_a_row(fewer)
