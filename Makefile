.PHONY: setup test check matrix

setup:
	./multirun.sh --setup

test:
	tests/run.sh

check:
	.venv/bin/ruff check . && .venv/bin/ruff format --check . && .venv/bin/mypy

matrix:
	./multirun.sh
