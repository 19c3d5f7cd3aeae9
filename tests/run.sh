#!/usr/bin/env bash
# The tests, with all that they need: tests/run.sh [PYTEST OPTION ...]. The slow ones too: tests/run.sh -m ''
set -euo pipefail
cd "$(dirname "$0")/.."
./multirun.sh --setup
exec .venv/bin/python -m pytest "$@"
