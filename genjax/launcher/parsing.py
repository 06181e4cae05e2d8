"""A command line read, with one line for whatever is wrong with it."""

import difflib
import re
import sys
from collections.abc import Sequence
from typing import NoReturn

from absl import flags

from genjax.launcher import overrides

_MISSING = r"flag (--\w+)=None: Flag --\w+ must have a value other than None\."


def parse(argv: Sequence[str]) -> list[str]:
    """The words of a command line that are no flags; the flags are in absl's `FLAGS`, `--config.FIELD` in its config.

    Whatever a person typed wrong is named in one line, and the program ends.
    """
    found = flags.FLAGS
    try:
        words = [argv[0], *found.read_flags_from_files(list(argv[1:]), force_gnu=False)]
        words, changes = overrides.split(words) if "config" in found else (words, [])
        rest = found(words)
        if changes:
            overrides.apply(found["config"].value, changes)
        return rest
    except Exception as error:  # of a flag's parser: nothing but what was typed has been looked at
        fail(_clear(error))


def fail(error: Exception | str, code: int = 1) -> NoReturn:
    """Tell what is wrong in one line, and end the program."""
    text = " ".join(str(error).split())
    print(f"error: {text}", file=sys.stderr, flush=True)
    sys.exit(code)


def _clear(error: Exception) -> str:
    """What absl says of a flag, in few words."""
    if isinstance(error, flags.UnrecognizedFlagError):
        return _unknown(error.flagname)
    text = re.sub(_MISSING, r"\1 is missing.", str(error))
    text = re.sub(r"^flag (--\S+=.*): \('Non-boolean argument to boolean flag'.*", r"\1: must be true or false", text)
    text = re.sub(r"^Missing value for flag (\S+)$", r"\1 has no value: write \1=VALUE", text)
    return text.removeprefix("flag ")


def _unknown(name: str) -> str:
    """What may have been meant by a flag that a program hasn't."""
    if name.startswith(("config.", "noconfig.")) or name == "config":
        return (
            f"unknown flag --{name}: this program takes no --config, but the config of the run in --workdir; its own "
            "flags are listed by --help"
        )
    known = [one for one in flags.FLAGS if len(one) > 2]
    close = difflib.get_close_matches(name.lower().replace("-", "_"), known, 1)
    return f"unknown flag --{name}" + (f"; is it --{close[0]}?" if close else "; --help lists the flags")
