"""Plant faults in the code, one at a time, and see which the tests find: see `docs/reliability.md`.

    python launch/mutate.py --only=genjax/diffusion --count=20

Works in a copy of the tree. Goes on where it stopped: what is in --results is not tried again.
"""

import sys
from pathlib import Path

from absl import app, flags

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from genjax.core.ranges import COUNT, COUNT_OR_0  # noqa: E402
from genjax.launcher import parsing  # noqa: E402
from genjax.launcher.flags import define_number  # noqa: E402
from tests.mutation import trials  # noqa: E402

_ONLY = flags.DEFINE_string("only", "genjax", "The folder or file to plant faults in.")
_COUNT = define_number("count", 10, "How many faults.", COUNT)
_SEED = define_number("seed", 0, "Which.", COUNT_OR_0)
_TESTS = flags.DEFINE_list("tests", [], "Files of tests to run; default: the module's own, and those around it.")
_LIMIT = define_number("limit", 12, "Files of tests for one fault, at most; the nearest come first.", COUNT)
_TIMEOUT = define_number("timeout", 300, "Processor seconds for one fault.", COUNT)
_RESULTS = flags.DEFINE_string("results", ".cache/mutants.jsonl", "Where what is found is kept.")


def main(_):
    results = ROOT / _RESULTS.value
    results.parent.mkdir(parents=True, exist_ok=True)
    chosen = trials.sample(ROOT, _ONLY.value, _COUNT.value, _SEED.value)
    trials.run(ROOT, chosen, results, _TESTS.value, _TIMEOUT.value, _LIMIT.value)
    print(trials.report([line for line in trials.read(results) if line["path"].startswith(_ONLY.value)]))


if __name__ == "__main__":
    app.run(main, flags_parser=parsing.parse)
