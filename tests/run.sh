#!/usr/bin/env bash
# The tests, with all that they need: tests/run.sh [PYTEST OPTION ...]. The slow ones too: tests/run.sh -m ''
# Several files at a time, in the order of tests/conftest.py, a thread each: the threads of one would only wait for
# cores that the other computes on.
set -euo pipefail
cd "$(dirname "$0")/.."
./multirun.sh --setup
export OMP_NUM_THREADS=${OMP_NUM_THREADS:-1}
exec .venv/bin/python -m pytest -n logical --maxprocesses 4 --dist loadfile --no-loadscope-reorder "$@"
