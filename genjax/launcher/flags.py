"""Flags whose values are checked when they are read: paths, numbers of a range, seeds.

They are absl's, with `absl.flags.FLAGS` for a home; flags of words and of yes or no are absl's own.
"""

import difflib
from collections.abc import Callable, Sequence
from typing import Any

from absl import flags

from genjax.core import paths
from genjax.core.ranges import SEED, Range


class _Checked(flags.ArgumentParser):
    """A parser out of a function of the text, which raises ValueError for a wrong one."""

    syntactic_help = ""

    def __init__(self, parse: Callable[[str], Any]):
        super().__init__()
        self._parse = parse

    def parse(self, argument: Any) -> Any:
        return self._parse(argument) if isinstance(argument, str) else argument


def define_path(name: str, usage: str, writes: bool = False, **settings) -> flags.FlagHolder:
    """A file or folder of this machine; `~` is the home folder.

    Args:
        name: of the flag.
        usage: what it is for.
        writes: whether it is a folder to write to, see `genjax.core.paths.writable_folder`.
        settings: `required` and the like, of absl.
    """
    parse = paths.writable_folder if writes else paths.local
    return flags.DEFINE(_Checked(parse), name, None, usage, serializer=flags.ArgumentSerializer(), **settings)


def define_number(name: str, default: float | int | None, usage: str, within: Range) -> flags.FlagHolder:
    """A number of a range; an int where the range is of whole ones."""
    usage = f"{usage} ({within})"
    return flags.DEFINE(_Checked(within.parse), name, default, usage, serializer=flags.ArgumentSerializer())


def define_numbers(name: str, default: list[float], usage: str, within: Range) -> flags.FlagHolder:
    """Numbers of a range: a flag that may be there several times."""
    serializer: flags.ArgumentSerializer = flags.ArgumentSerializer()
    return flags.DEFINE_multi(_Checked(within.parse), serializer, name, default, f"{usage} ({within})")


def define_choice(name: str, choices: Sequence[str], usage: str) -> flags.FlagHolder:
    """One of a few words, None by default."""

    def parse(text: str) -> str:
        if text in choices:
            return text
        close = difflib.get_close_matches(text.lower(), choices, 1)
        raise ValueError(f"must be one of {', '.join(choices)}" + (f"; is it {close[0]}?" if close else ""))

    return flags.DEFINE(_Checked(parse), name, None, usage, serializer=flags.ArgumentSerializer())


def define_seed(usage: str) -> flags.FlagHolder:
    """`--seed`."""
    return define_number("seed", 0, usage, SEED)


def define_stages() -> flags.FlagHolder:
    """`--stage=NAME:DIR`, where an upstream stage or a member of a chain lies, for `genjax.training.places`."""
    return flags.DEFINE_multi_string(
        "stage", [], "NAME:DIR: where an upstream stage lies now, if not where the run noted it; may be repeated."
    )


def define_accept_changed_data() -> flags.FlagHolder:
    """`--accept_changed_data`."""
    return flags.DEFINE_bool(
        "accept_changed_data", False, "Resume also if images or captions are others than when the run began."
    )


def given(*names: str) -> list[str]:
    """Those of the flags that the command line has; a program needn't know all of them."""
    return [name for name in names if name in flags.FLAGS and flags.FLAGS[name].present]


def refuse(reason: str, *names: str) -> None:
    """Refuse flags that would do nothing.

    Args:
        reason: why they would.
        names: of the flags.

    Raises:
        ValueError: if the command line has one of them; names all that it has.
    """
    found = given(*names)
    if found:
        which = " and ".join(f"--{name}" for name in found)
        raise ValueError(f"{which} would do nothing: {reason}; leave {'it' if len(found) == 1 else 'them'} out")
