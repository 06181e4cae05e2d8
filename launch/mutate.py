"""Plant faults in the code, one at a time, and see which the tests find: see `docs/reliability.md`.

    python launch/mutate.py --only=genjax/diffusion --count=20

Works in a copy of the tree. Goes on where it stopped: what is in --results is not tried again.
"""

import sys
from pathlib import Path

from absl import app, flags

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from tests.mutation import trials  # noqa: E402

_ONLY = flags.DEFINE_string("only", "genjax", "The folder or file to plant faults in.")
_COUNT = flags.DEFINE_integer("count", 10, "How many faults.", lower_bound=1)
_SEED = flags.DEFINE_integer("seed", 0, "Which.")
_TESTS = flags.DEFINE_list("tests", [], "Files of tests to run; default: the module's own, and those around it.")
_LIMIT = flags.DEFINE_integer("limit", 12, "Files of tests for one fault, at most; the nearest come first.")
_TIMEOUT = flags.DEFINE_integer("timeout", 300, "Processor seconds for one fault.", lower_bound=1)
_RESULTS = flags.DEFINE_string("results", ".cache/mutants.jsonl", "Where what is found is kept.")


def main(_):
    results = ROOT / _RESULTS.value
    results.parent.mkdir(parents=True, exist_ok=True)
    chosen = trials.sample(ROOT, _ONLY.value, _COUNT.value, _SEED.value)
    trials.run(ROOT, chosen, results, _TESTS.value, _TIMEOUT.value, _LIMIT.value)
    print(trials.report([line for line in trials.read(results) if line["path"].startswith(_ONLY.value)]))


if __name__ == "__main__":
    app.run(main)
