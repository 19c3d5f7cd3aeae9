"""A GPU for each process, on a machine that pretends to have some; the locks and the processes are real."""

import os
import subprocess
import sys

import pytest
import torch
from conftest import ROOT

from chattpl.errors import UserError
from chattpl.generation.cards import take_cards

TAKES = """
import logging, os, sys
from types import SimpleNamespace
count = lambda: len(os.environ.get("CUDA_VISIBLE_DEVICES", "0,1").split(","))
sys.modules["torch"] = SimpleNamespace(cuda=SimpleNamespace(device_count=count))
from chattpl.generation.cards import take_cards
logging.basicConfig(level=logging.INFO, format="%(message)s", stream=sys.stdout)
take_cards(int(sys.argv[1]))
print("took", os.environ.get("CUDA_VISIBLE_DEVICES"), flush=True)
sys.stdin.read()
"""


@pytest.fixture
def machine(tmp_path, monkeypatch):
    """Starts a process that takes so many of the cards that it sees, and keeps them until its input ends."""
    processes = []

    def start(count: int = 1, visible: str | None = None) -> subprocess.Popen:
        environment = {**os.environ, "PYTHONPATH": str(ROOT), "TMPDIR": str(tmp_path)}
        environment.pop("CUDA_VISIBLE_DEVICES", None)
        if visible is not None:
            environment["CUDA_VISIBLE_DEVICES"] = visible
        command = [sys.executable, "-c", TAKES, str(count)]
        pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
        processes.append(subprocess.Popen(command, env=environment, **pipes))
        return processes[-1]

    yield start
    for process in processes:
        process.kill()
        process.wait()


def says(process: subprocess.Popen) -> str:
    """The next line that begins with what the test waits for."""
    return next(line.strip() for line in process.stdout if line.startswith(("took", "waiting")))


def test_processes_side_by_side_take_a_card_each_and_the_next_waits_for_one(machine):
    first, second = machine(), machine()
    assert sorted([says(first), says(second)]) == ["took 0", "took 1"]
    third = machine()
    assert says(third) == "waiting for a GPU: of 2 visible ones not enough are free"
    first.kill()
    assert says(third) in ("took 0", "took 1")


def test_several_cards_are_taken_together_or_not_at_all(machine):
    first = machine(2, visible="0,1,2")
    assert says(first) == "took 0,1"
    second = machine(2, visible="0,1,2")
    assert says(second).startswith("waiting")
    assert says(machine(visible="0,1,2")) == "took 2"
    first.kill()
    assert says(second) == "took 0,1"


def test_cards_are_chosen_from_those_that_are_visible(machine):
    assert says(machine(visible="4,GPU-a")) == "took 4"
    assert says(machine(visible="4,GPU-a")) == "took GPU-a"


def test_a_card_that_a_scheduler_gave_is_waited_for_by_nobody(machine):
    assert [says(machine(visible="3")), says(machine(visible="3"))] == ["took 3", "took 3"]


def test_one_card_has_one_lock_whatever_its_number_is(machine, tmp_path, monkeypatch):
    for name, number in (("host", 5), ("container", 0)):
        tool = tmp_path / name / "nvidia-smi"
        tool.parent.mkdir()
        tool.write_text(f"#!/bin/sh\necho '{number}, GPU-abc'\necho '{number + 1}, GPU-def'\n")
        tool.chmod(0o755)
    path = os.environ["PATH"]
    monkeypatch.setenv("PATH", f"{tmp_path / 'host'}{os.pathsep}{path}")
    assert says(machine(visible="5,6")) == "took 5"
    monkeypatch.setenv("PATH", f"{tmp_path / 'container'}{os.pathsep}{path}")
    assert says(machine(visible="0,1")) == "took 1"


def test_more_cards_than_there_are_is_an_error_in_one_line(monkeypatch):
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 1)
    with pytest.raises(UserError, match="4 GPUs are needed for one process and 1 are visible"):
        take_cards(4)


def test_the_only_card_is_left_as_it_is(monkeypatch):
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 1)
    assert take_cards() == ("0",)
    assert "CUDA_VISIBLE_DEVICES" not in os.environ
