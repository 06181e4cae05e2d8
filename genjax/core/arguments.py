"""Arguments in errors: whoever is given one says its name, and whoever read it from a config says where that is.

raise ArgumentError(f"{arg('size')}=0 must be at least 1")      size=0 must be at least 1
with named("config.model.low_res."):                            config.model.low_res.size=0 must be at least 1
"""

import contextlib
import re
from collections.abc import Iterator

_MARK = "\x1f"


class ArgumentError(ValueError):
    """A value that can't be; its message names arguments by `arg`."""

    def __str__(self) -> str:
        return super().__str__().replace(_MARK, "")


def arg(name: str) -> str:
    """The name of an argument, for the message of an `ArgumentError`."""
    return _MARK + name


@contextlib.contextmanager
def named(prefix: str, **others: str) -> Iterator[None]:
    """Puts a prefix before the names of arguments in errors; also a decorator.

    Args:
        prefix: such as "config.data.".
        others: argument -> its own prefix.
    """
    try:
        yield
    except ArgumentError as error:
        message = re.sub(rf"{_MARK}(\w+)", lambda found: others.get(found[1], prefix) + found[1], str(error.args[0]))
        error.args = (message, *error.args[1:])
        raise
