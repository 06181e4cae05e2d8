"""What every program starts with: devices, caches, and errors that a person can read.

A mistake of the person at the keyboard is a `ValueError` or an `OSError` anywhere in the code. Here it becomes one line
and exit code 1; with `--traceback`, the whole way. Any other exception is a mistake of ours, and shows its traceback.
"""

import os
import sys
import traceback
from collections.abc import Callable, Sequence
from pathlib import Path

import jax
from absl import app, flags, logging

from genjax.core import paths
from genjax.core.ranges import COUNT, COUNT_OR_0
from genjax.launcher import config_files
from genjax.launcher.flags import define_number, refuse
from genjax.launcher.parsing import fail, parse
from genjax.training.signals import Interrupted

_TRACEBACK = flags.DEFINE_bool("traceback", False, "Show where in the code an error came from.")
_CACHE = flags.DEFINE_string(
    "compilation_cache",
    None,
    "Folder where compiled programs are kept from run to run; empty: nowhere. Default: $JAX_COMPILATION_CACHE_DIR, "
    "else ~/.cache/genjax/xla.",
)
_MULTIHOST = flags.DEFINE_bool(
    "multihost",
    False,
    "One of several processes. TPU pods, GKE, Slurm and MPI are recognised; elsewhere say the three flags that follow.",
)
_COORDINATOR = flags.DEFINE_string("coordinator", None, "With --multihost: host:port of process 0.")
_NUM_PROCESSES = define_number("num_processes", None, "With --multihost: how many processes there are.", COUNT)
_PROCESS_ID = define_number("process_id", None, "With --multihost: which of them this is, from 0.", COUNT_OR_0)


def define_config():
    """The flag `--config=NAME[:variant]`, or `--config=FILE[:variant]`, and `--config.field=value`.

    Unknown names, fields and wrong types are errors.
    """
    usage = "Name of a config that comes with genjax, or a file, NAME:VARIANT; --config.FIELD=VALUE sets a field."
    return flags.DEFINE(config_files.Parser(), "config", None, usage, required=True)


def run(main: Callable[[], None]) -> None:
    """Parse the flags, set jax up, call `main`, and end the program with its errors in one line each.

    `--help` shows the docstring of main's module, and all flags of genjax.
    """
    sys.modules["__main__"].__doc__ = sys.modules[main.__module__].__doc__
    for module, defined in flags.FLAGS.flags_by_module_dict().items():
        if module.startswith("genjax."):
            for flag in defined:
                flags.FLAGS.register_key_flag_for_module(sys.argv[0], flag)
    app.run(lambda argv: _call(main, argv), flags_parser=parse)


def _call(main: Callable[[], None], argv: Sequence[str]) -> None:
    if len(argv) > 1:
        fail(f"unexpected arguments {argv[1:]}; flags start with --")
    if not flags.FLAGS["verbosity"].present:
        logging.set_verbosity(logging.WARNING)
    try:
        keep_compiled()
        _start_devices()
        main()
    except KeyboardInterrupt:
        fail("interrupted", code=130)
    except Interrupted as stop:
        if stop.at_once:  # threads that write a checkpoint would be waited for
            print("error: stopped at once; the last whole checkpoint is kept", file=sys.stderr, flush=True)
            os._exit(int(stop.code))
        raise
    except Exception as error:
        if _TRACEBACK.value:
            raise
        if isinstance(error, (ValueError, OSError)):
            fail(error)
        if isinstance(error, MemoryError) or "RESOURCE_EXHAUSTED" in str(error):
            fail(f"out of memory: make the batch smaller or the model ({error})")
        traceback.print_exc()
        fail(f"unexpected {type(error).__name__}, a mistake in genjax: please report it with the lines above")


def keep_compiled() -> None:
    """Keep compiled programs in a folder; where there can be none, go on without, and say so.

    `--compilation_cache` wins over jax's own environment variable, which wins over the default.

    Raises:
        ValueError: for a `--compilation_cache` that is no path.
    """
    if _CACHE.value is None and "JAX_COMPILATION_CACHE_DIR" in os.environ or _CACHE.value == "":
        return
    try:
        chosen = None if _CACHE.value is None else paths.local(_CACHE.value)
    except ValueError as error:
        raise ValueError(f"--compilation_cache={_CACHE.value}: {error}") from error
    try:
        folder = chosen or Path.home() / ".cache" / "genjax" / "xla"  # no home: RuntimeError
        folder.mkdir(parents=True, exist_ok=True)
        if not os.access(folder, os.W_OK | os.X_OK):
            raise PermissionError(f"{folder} can't be written to")
    except (OSError, RuntimeError) as error:
        print(
            f"note: compiled programs aren't kept, each start compiles anew ({error}); name a folder by "
            "--compilation_cache=DIR",
            file=sys.stderr,
        )
        return
    jax.config.update("jax_compilation_cache_dir", str(folder))
    jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.5)


def _start_devices() -> None:
    """Find the devices, those of other processes too.

    Raises:
        ValueError: where jax finds none, or the other processes aren't there; for flags of them without `--multihost`.
    """
    if not _MULTIHOST.value:
        refuse("it is of one of several processes, --multihost", "coordinator", "num_processes", "process_id")
    try:
        if _MULTIHOST.value:
            jax.distributed.initialize(_COORDINATOR.value, _NUM_PROCESSES.value, _PROCESS_ID.value)
        jax.devices()
    except RuntimeError as error:
        raise ValueError(f"jax can't start: {error}") from error
