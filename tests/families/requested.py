"""What tests request of `sample`."""

from typing import Any

from genjax.families.interfaces import Conditions
from genjax.families.options import OPTIONS


def conditions_of(**named: Any) -> Conditions:
    """The conditions of these names; scalar options among them by theirs."""
    return changed(Conditions(), **named)


def changed(conditions: Conditions, **named: Any) -> Conditions:
    """Conditions with others in the place of some, or beside them."""
    options = {name: named.pop(name) for name in OPTIONS if name in named}
    return conditions._replace(**named, options={**conditions.options, **options})
