#!/usr/bin/env bash
# The test suite, from a fresh checkout: makes .venv, installs, runs. Arguments go to pytest: bash launch/test.sh -m slow
set -euo pipefail
cd "$(dirname "$0")/.."
. launch/environment.sh
environment "test"
ruff check .
python -m pytest -n 2 --dist loadfile "$@"
