"""The command line in processes of their own that can be killed, without each of them importing torch anew."""

import multiprocessing
import os
import sys
import time
from collections.abc import Callable
from pathlib import Path
from unittest import mock

import composing
from command_line import undrawn

from chattpl.runtime import runtime

runtime()  # sets the environment in which the libraries are imported
FORKS = multiprocessing.get_context("forkserver")
TRAINING = ["chattpl.training.sft", "chattpl.training.grpo"]
REPORT = ["chattpl.report.study", "chattpl.report.page", "chattpl.report.figures"]
FORKS.set_forkserver_preload(["chattpl.main", *TRAINING, *REPORT])
PATIENCE = 120


def _run(arguments: list[str], cwd: Path, log: Path) -> None:
    """The child: standard output and error go into one file."""
    handle = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    be_command(arguments, cwd, handle, handle)


def be_command(arguments: list[str], cwd: Path, stdout: int, stderr: int) -> None:
    """Become `python -m chattpl.main ARGUMENTS` in the folder, without vLLM or pictures; the handles are its output."""
    os.chdir(cwd)
    os.dup2(stdout, 1)
    os.dup2(stderr, 2)
    sys.stdout, sys.stderr = open(1, "w", buffering=1), open(2, "w", buffering=1)  # noqa: SIM115
    sys.modules["vllm"] = None
    sys.argv = ["chattpl", *arguments]
    from chattpl.main import main

    with composing.quickly(), mock.patch("chattpl.report.canvas.draw_files", undrawn):
        main()


class Forked:
    """A running command."""

    def __init__(self, arguments: list[str], cwd: Path, log: Path):
        self.log = log
        self._process = FORKS.Process(target=_run, args=(arguments, cwd, log))
        self._process.start()

    def until(self, condition: Callable[[], object]) -> bool:
        """Wait for the condition; False where the command ended before."""
        began = time.monotonic()
        while not condition():
            if not self._process.is_alive():
                return False
            assert time.monotonic() - began < PATIENCE, self.printed
            time.sleep(0.001)
        return True

    def send(self, signum: int) -> None:
        os.kill(self._process.pid, signum)

    def end(self) -> int:
        """The exit status, negative for a signal."""
        self._process.join(PATIENCE)
        assert self._process.exitcode is not None, self.printed
        return self._process.exitcode

    def kill(self) -> None:
        self._process.kill()
        self._process.join()

    @property
    def printed(self) -> str:
        return self.log.read_text() if self.log.exists() else ""
