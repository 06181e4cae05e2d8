"""Configs, as people name them: `NAME` of those that come with genjax, or `FILE.py`; either with `:variant`.

Whatever is wrong with one is an error of one line.
"""

import difflib
import importlib.util
import inspect
import re
import traceback
from pathlib import Path

from absl import flags
from ml_collections import ConfigDict

import genjax.configs
from genjax.core import files, paths


def read(text: str) -> ConfigDict:
    """What `get_config()` of a config returns, `get_config(variant)` of `NAME:variant` or `FILE.py:variant`.

    Raises:
        ValueError: for a file or a name that isn't there, a file that isn't Python, fails, or has no `get_config`; or
            for a variant that it hasn't.
    """
    name, colon, variant = text.partition(":")
    path = find(text if variant.startswith("/") else name)
    get_config = _load(path)
    if colon and not inspect.signature(get_config).parameters:
        raise ValueError(f"{path} has no variants: leave :{variant} out")
    try:
        config = get_config(variant) if colon else get_config()
    except (Exception, SystemExit) as error:
        raise ValueError(_explain(path, error)) from error
    if not isinstance(config, ConfigDict):
        raise ValueError(f"get_config() of {path} returns a {type(config).__name__}: it has to return a ConfigDict")
    return config


def names() -> list[str]:
    """Names of the configs that come with genjax."""
    files = sorted(path for folder in genjax.configs.__path__ for path in Path(folder).glob("*.py"))
    return [path.stem for path in files if "\ndef get_config(" in path.read_text(encoding="utf-8")]


def find(name: str) -> Path:
    """The file of a config: the path itself, or that of the packaged config of this name.

    Raises:
        ValueError: if there is neither; names packaged ones that are near.
    """
    path = paths.local(name)
    if path.is_file():
        return path
    if re.fullmatch(r"\w+", name):
        packaged = [Path(folder) / f"{name}.py" for folder in genjax.configs.__path__]
        if there := [file for file in packaged if file.is_file()]:
            return there[0]
    known = names()
    close = difflib.get_close_matches(path.stem, known, n=5)
    named = f"named {' or '.join(close)}" if close else f"with these names: {', '.join(known)}"
    raise ValueError(f"there is no config file {path}; genjax comes with configs {named} (write the name alone)")


def _load(path: Path):
    """`get_config` of a file."""
    spec = importlib.util.spec_from_file_location("config_file", path)
    if path.suffix != ".py" or spec is None or spec.loader is None:
        raise ValueError(f"{path} is no config: a config is a Python file, such as configs/ddpm_digits.py")
    if found := files.instead(files.read_head(path)):
        raise ValueError(f"{path} is {found}")
    module = importlib.util.module_from_spec(spec)
    try:
        spec.loader.exec_module(module)
    except (Exception, SystemExit) as error:
        raise ValueError(_explain(path, error)) from error
    if not callable(getattr(module, "get_config", None)):
        raise ValueError(f"{path} has no get_config(): it is no config, but may be what configs are made of")
    return module.get_config


def _explain(path: Path, error: BaseException) -> str:
    """Where in the file what went wrong."""
    if isinstance(error, SyntaxError) and error.filename:
        return f"{error.filename}, line {error.lineno}: {error.msg}"
    lines = [at.lineno for at in traceback.extract_tb(error.__traceback__) if Path(at.filename) == path.absolute()]
    kind = "" if type(error) is ValueError else f"{type(error).__name__}: "
    return f"{path}{f', line {lines[-1]}' if lines else ''}: {kind}{error}"


class Parser(flags.ArgumentParser):
    """Of the flag `--config`: `read`, and no fields beside those that are there."""

    syntactic_help = ""

    def parse(self, path: str | ConfigDict) -> ConfigDict:
        """The config that a flag names."""
        config = path if isinstance(path, ConfigDict) else read(path)
        config.lock()
        return config
