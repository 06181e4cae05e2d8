"""What can be said of a network's fields before it sees an image: modules call these in `__post_init__`."""

from collections.abc import Sequence
from typing import Any


def expect_levels(name: str, values: Sequence[Any]) -> None:
    """Refuses a field that is to have an entry a level, and has none.

    Raises:
        ValueError: for such a field.
    """
    if not len(values):
        raise ValueError(f"{name}=() names no level; give it a number a level, such as (1, 2)")


def expect_groups(channels: int, num_groups: int) -> None:
    """Refuses groups that don't divide the channels.

    Raises:
        ValueError: for such groups.
    """
    if num_groups < 1 or channels % num_groups:
        raise ValueError(
            f"{channels} channels can't be cut into {num_groups} groups; "
            "choose a width or num_groups so that the groups divide every level's channels"
        )
