#!/usr/bin/env bash
# The test suite, from a fresh checkout: makes .venv, installs, runs. Arguments go to pytest: bash launch/test.sh -m slow
set -euo pipefail
cd "$(dirname "$0")/.."
. launch/environment.sh
environment "test"
ruff check .
ruff format --check --quiet .
# In the order of the folders: files of few but long tests would else come last, on one worker.
python -m pytest -n 2 --dist loadfile --no-loadscope-reorder "$@"
