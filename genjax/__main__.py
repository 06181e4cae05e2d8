"""`python -m genjax PROGRAM --flags`: the same as `genjax-PROGRAM --flags`."""

import importlib
import sys

PROGRAMS = ("train", "sample", "evaluate", "pipeline", "convert", "encode", "plan")


def main() -> None:
    """Run the program that the command line names."""
    name = sys.argv[1] if len(sys.argv) > 1 else ""
    if name not in PROGRAMS:
        sys.exit(f"error: no program {name!r}: write python -m genjax PROGRAM, one of {', '.join(PROGRAMS)}")
    sys.argv = [f"python -m genjax {name}", *sys.argv[2:]]
    importlib.import_module(f"genjax.launcher.{name}").run()


if __name__ == "__main__":
    main()
