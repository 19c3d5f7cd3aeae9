"""The benchmark of several GPUs: what it tells of commands that end well, that fail, and that are interrupted."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from conftest import ROOT

BENCHMARKS = ROOT / "benchmarks"
ROW = {"step": 2.0, "steady": 100.0, "seconds": 9.0, "peaks": [3.0, 4.5], "made_with": "a machine"}
# As small as a training can be that is interrupted; nothing of it says how fast anything is.
SMALL = [
    "--size=tiny", "--steps=60", "--grpo-steps=8", "--completions=8", "--max-completion-length=8", "--questions=4",
    "--max-tokens=8", "--samples=8", "--overrides", "engine.name=transformers", "device=cpu", "task.train_limit=64",
]  # fmt: skip


@pytest.fixture(autouse=True)
def beside_the_scripts(monkeypatch):
    monkeypatch.syspath_prepend(str(BENCHMARKS))


def python(*lines: str) -> list[str]:
    return [sys.executable, "-c", "\n".join(lines)]


def run_cards(folder: Path, *arguments: str) -> str:
    """`python benchmarks/cards.py ARGUMENTS`; the page that it wrote."""
    command = [sys.executable, str(BENCHMARKS / "cards.py"), *arguments]
    subprocess.run(
        [*command, f"--folder={folder / 'work'}", f"--page={folder / 'cards.md'}"],
        env={**os.environ, "PYTHONPATH": str(ROOT)}, check=True, capture_output=True, timeout=1800,
    )  # fmt: skip
    return (folder / "cards.md").read_text(encoding="utf-8")


def rows(page: str) -> dict[str, list[str]]:
    """The cells of each row by its name."""
    lines = [[cell.strip() for cell in line.strip("|").split("|")] for line in page.splitlines() if line[:2] == "| "]
    return {name: cells for name, *cells in lines}


def test_a_command_gets_sigterm_at_the_line_that_asks_for_it(tmp_path):
    from commands import INTERRUPTED, measured

    ends = f"signal.signal(signal.SIGTERM, lambda *_: (print('saved'), sys.exit({INTERRUPTED})))"
    command = python("import signal, sys, time", ends, "print('step 1', flush=True)", "time.sleep(60)")
    done = measured(command, tmp_path / "log", interrupt=lambda line: "step 1" in line)
    assert [line for _, line in done.lines] == ["step 1", "saved"]


def test_a_command_that_was_through_before_it_could_be_interrupted_is_a_failure(tmp_path):
    from commands import measured

    with pytest.raises(RuntimeError, match="ended with status 0"):
        measured(python("print('step 1')"), tmp_path / "log", interrupt=lambda line: "step 2" in line)


def test_a_command_that_takes_too_long_is_ended_and_says_so(tmp_path):
    from commands import measured, reason

    with pytest.raises(RuntimeError) as failure:
        measured(python("import time", "time.sleep(60)"), tmp_path / "log", seconds=0.5)
    assert reason(failure.value) == "error: it took longer than 0 s"


def test_the_reason_of_a_failure_is_its_last_line_that_tells_of_an_error(tmp_path):
    from commands import measured, reason

    command = python("import sys", "print('ValueError: a | b')", "print('bye')", "sys.exit(1)")
    with pytest.raises(RuntimeError) as failure:
        measured(command, tmp_path / "log")
    assert reason(failure.value) == "ValueError: a / b"


def test_a_row_that_is_measured_again_leaves_the_others(tmp_path):
    from functools import partial

    from cards import INTRODUCTION, Page
    from cards_tables import trainings

    page, show = Page(tmp_path / "cards.md", INTRODUCTION), partial(trainings, "sft")
    for row, step in (("1", 2.0), ("2", 9.0), ("2", 1.0)):
        page.note("SFT", row, {**ROW, "step": step, "steady": 200 / step}, show)
    found = rows((tmp_path / "cards.md").read_text())
    assert found["gpus=1"][:4] == ["100", "", "2.00", ""]
    assert found["gpus=2"][:4] == ["200", "2.00x", "1.00", "2.00x"]


@pytest.mark.parametrize(("visible", "peaks"), [(None, [3.0, 4.5]), ("1", [4.5]), ("GPU-a", [3.0])])
def test_the_peak_of_every_visible_card_is_watched(visible, peaks, tmp_path, monkeypatch):
    from commands import measured

    lines = ["0, GPU-a, 3072", "1, GPU-b, 4608", "0, GPU-a, 10", "1, GPU-b, 20"]
    smi = tmp_path / "nvidia-smi"
    listed = "; ".join(f"echo '{line}'" for line in lines)
    smi.write_text(f"#!/bin/sh\ncase $* in\n*name*) echo Card;;\n*) {listed}; exec sleep 60;;\nesac\n")
    smi.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=os.pathsep)
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    if visible:
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", visible)
    assert measured(python("import time", "time.sleep(1)"), tmp_path / "log").peaks_gib == peaks


def test_nothing_is_compared_with_a_command_that_failed():
    from cards_tables import matrix

    done = {**ROW, "commands": 1, "trainings": 5.0, "cells": 2.0}
    page = matrix("Matrix", {"1": {**done, "failed": "error: too late"}, "2": done})
    assert rows(page)["2 at once"][:2] == ["9", ""]


def test_the_peaks_of_all_cards_are_told():
    from cards_tables import trainings

    assert rows(trainings("sft", "SFT", {"2": ROW}))["gpus=2"][-1] == "3.0 / 4.5"


def test_a_training_that_fails_is_told_with_its_reason(tmp_path):
    page = run_cards(tmp_path, "sft", "--gpus", "1", "--overrides", "sft.nonsense=1")
    assert "nonsense" in rows(page)["gpus=1"][0]
    assert rows(page)["gpus=1"][0].startswith("failed: error: ")


@pytest.mark.slow
def test_a_large_model_is_interrupted_resumed_and_asked_on_two_processes(tmp_path):
    measured = ["sft", "sft-again", "grpo", "grpo-again", "grpo-answers"]
    run_cards(tmp_path, "large", "--rows", *measured, *SMALL)
    [found] = json.loads((tmp_path / "cards.json").read_text()).values()
    assert [row for row, figures in found.items() if "failed" in figures] == []
    for method, steps in (("sft", 60), ("grpo", 8)):
        assert found[f"{method}-again"]["steps"] == f"{steps} of {steps}"
        assert found[method]["steps"] == f"{found[f'{method}-again']['resumed']} of {steps}"
    assert "4 answers" in found["grpo-answers"]["status"]


@pytest.mark.slow
@pytest.mark.parametrize("part", ["sft", "grpo"])
def test_one_training_is_measured_on_one_process_and_two(part, tmp_path):
    small = [each for each in SMALL if not each.startswith(("--steps", "--grpo-steps"))]
    found = rows(run_cards(tmp_path, part, "--steps=6", "--grpo-steps=4", *small))
    assert float(found["gpus=2"][-4].replace(",", "")) > 0


def test_the_benchmark_of_the_link_times_what_a_training_passes_on(tmp_path):
    page = tmp_path / "link.md"
    command = [sys.executable, str(BENCHMARKS / "link.py"), "--gpus=2", "--mib=1", f"--page={page}"]
    subprocess.run(command, env={**os.environ, "PYTHONPATH": str(ROOT)}, check=True, capture_output=True, timeout=300)
    found = {name: cells for name, cells in rows(page.read_text(encoding="utf-8")).items() if name.endswith("ed up")}
    assert float(found["gradients added up"][0]) > 0
