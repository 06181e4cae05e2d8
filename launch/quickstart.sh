#!/usr/bin/env bash
# From nothing to generated digits: makes .venv, installs, trains configs/ddpm_digits.py, samples.
# A second run reuses the environment and resumes. Usage: bash launch/quickstart.sh [workdir]
set -euo pipefail
cd "$(dirname "$0")/.."
. launch/environment.sh
environment ""
workdir="${1:-runs/ddpm_digits}"
python launch/train.py --config=configs/ddpm_digits.py --workdir="$workdir"
python launch/sample.py --workdir="$workdir" --num_samples=100 --trajectory
echo "digits that nobody wrote: $workdir/samples/samples.png (how they came about: trajectory.gif beside it)"
