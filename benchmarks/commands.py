"""The command line as a user types it, started by the benchmarks in processes of their own."""

import argparse
import os
import re
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from chattpl.generation.cards import VISIBLE

ROOT = Path(__file__).parents[1]
MEMORY = ["nvidia-smi", "--query-gpu=index,uuid,memory.used", "--format=csv,noheader,nounits", "--loop-ms=200"]
PATIENCE = 60  # seconds that a command gets to end in order
INTERRUPTED = 128 + signal.SIGTERM  # the exit status of a command that ended by it
ERROR = re.compile(r"^(error: |\w[\w.]*(Error|Exception)\b)")


@dataclass(frozen=True)
class Done:
    """A command that ended as it should.

    Attributes:
        seconds: from its start to its end.
        lines: what it printed, each line with the second at which it came.
        peaks_gib: for each visible GPU the most of its memory that was in use by anyone.
    """

    seconds: float
    lines: list[tuple[float, str]]
    peaks_gib: list[float]

    @property
    def peak_gib(self) -> float | None:
        """On the GPU where it was most; None without a GPU."""
        return max(self.peaks_gib, default=None)


def start(arguments: list[str], extra: dict[str, str] | None = None, **options: Any) -> subprocess.Popen:
    """`python -m chattpl.main ARGUMENTS` on this checkout, wherever the process stands.

    Args:
        arguments: of the command.
        extra: variables of its environment beside this process' own.
        options: Popen's.
    """
    command = [sys.executable, "-m", "chattpl.main", *arguments]
    return subprocess.Popen(command, env={**environment(), **(extra or {})}, **options)


def environment() -> dict[str, str]:
    """This process' own, with this checkout on Python's path."""
    return {**os.environ, "PYTHONPATH": os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")])}


def measured(
    command: list[str],
    log: Path,
    extra: dict[str, str] | None = None,
    seconds: float | None = None,
    interrupt: Callable[[str], bool] | None = None,
) -> Done:
    """Run a command to its end; all that it prints goes to `log` as well.

    Args:
        command: with its arguments.
        log: a file.
        extra: variables of its environment beside this process' own.
        seconds: when they are over, it is asked to end.
        interrupt: asked of each line; the first for which it holds has the command end by SIGTERM, as it then must.

    Raises:
        RuntimeError: it ended otherwise; the message has its last lines.
    """
    began, lines, asked = time.monotonic(), list[tuple[float, str]](), False
    with watched_memory() as peaks, log.open("w", encoding="utf-8") as file:
        process = subprocess.Popen(
            command, env={**environment(), **(extra or {})}, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
            text=True, errors="replace",
        )  # fmt: skip
        assert process.stdout is not None
        with ended_after(process, seconds) as late:
            for line in process.stdout:
                lines.append((time.monotonic(), line.rstrip()))
                file.write(line)
                file.flush()
                if interrupt and not asked and interrupt(line):
                    asked = True
                    process.terminate()
            status = process.wait()
        took = time.monotonic() - began
    if late or status != (INTERRUPTED if interrupt else 0):
        last = "\n".join(line for _, line in lines[-30:])
        how = f"error: it took longer than {seconds:.0f} s" if late else f"ended with status {status}"
        raise RuntimeError(f"{' '.join(command)}\nall it printed is in {log}:\n{last}\n{how}")
    return Done(took, lines, in_gib(peaks))


@contextmanager
def ended_after(process: subprocess.Popen, seconds: float | None) -> Iterator[list[bool]]:
    """Ask the process to end when the seconds are over, and kill it where it does not; whether they were over."""
    late: list[bool] = []

    def end() -> None:
        late.append(True)
        process.terminate()
        with suppress(subprocess.TimeoutExpired):
            process.wait(PATIENCE)
        process.kill()

    timer = threading.Timer(seconds or threading.TIMEOUT_MAX, end)
    timer.daemon = True
    timer.start()
    try:
        yield late
    finally:
        timer.cancel()


def reason(error: RuntimeError) -> str:
    """Why a command failed, in a few words that a table can hold: its last line that tells of an error, or its last."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    told = [line for line in lines if ERROR.match(line)] or lines
    return told[-1].replace("|", "/")[:160]


def tried(measure: Callable[[], dict[str, Any]]) -> dict[str, Any]:
    """The figures, or why there are none."""
    try:
        return measure()
    except RuntimeError as error:
        print(error, file=sys.stderr, flush=True)
        return {"failed": reason(error)}


def chattpl(arguments: list[str], log: Path, **how: Any) -> Done:
    """`python -m chattpl.main ARGUMENTS` to its end; `how` as of `measured`."""
    return measured([sys.executable, "-m", "chattpl.main", *arguments], log, **how)


def stock(script: str, arguments: list[str], log: Path) -> Done:
    """A script of `benchmarks/stock` to its end. The GPU machine's vLLM may be without flashinfer."""
    path = Path(__file__).parent / "stock" / script
    return measured([sys.executable, str(path), *arguments], log, stock_environment())


def stock_environment() -> dict[str, str]:
    """What plain vLLM needs where flashinfer is not installed."""
    return {"VLLM_USE_FLASHINFER_SAMPLER": os.environ.get("VLLM_USE_FLASHINFER_SAMPLER", "0")}


def gpu() -> str | None:
    """The first GPU's name, asked for without taking any of its memory."""
    if not shutil.which("nvidia-smi"):
        return None
    asked = ["nvidia-smi", "--query-gpu=name", "--format=csv,noheader", "--id=0"]
    return subprocess.run(asked, capture_output=True, text=True, check=False).stdout.strip() or None


def add_study_options(parser: argparse.ArgumentParser) -> None:
    """What is trained on what: `study_overrides` turns it into overrides."""
    parser.add_argument("--config", default="tiny")
    parser.add_argument("--model", type=Path)
    parser.add_argument("--task", default="arithmetic")
    parser.add_argument("--source", type=Path)
    parser.add_argument("--overrides", nargs="+", default=[])


def study_overrides(options: argparse.Namespace) -> list[str]:
    """chattpl's overrides for the options of `add_study_options`; those given by hand come last."""
    chosen = [f"model={options.config}", f"task={options.task}"]
    chosen += [f"model.path={options.model.resolve()}"] if options.model else []
    chosen += [f"task.source={options.source.resolve()}"] if options.source else []
    return [*chosen, *options.overrides]


@contextmanager
def watched_memory() -> Iterator[dict[int, float]]:
    """The most MiB in use of each visible GPU's memory, looked at five times a second; nothing without a GPU."""
    peaks: dict[int, float] = {}
    if not gpu():
        yield peaks
        return
    visible = [name.strip() for name in os.environ.get(VISIBLE, "").split(",") if name.strip()]
    process = subprocess.Popen(MEMORY, stdout=subprocess.PIPE, text=True)

    def read() -> None:
        assert process.stdout is not None
        for line in process.stdout:
            index, uuid, used = (value.strip() for value in line.split(","))
            if not visible or index in visible or uuid in visible:
                peaks[int(index)] = max(peaks.get(int(index), 0.0), float(used))

    thread = threading.Thread(target=read)
    thread.start()
    try:
        yield peaks
    finally:
        process.terminate()
        process.wait()
        thread.join()


def in_gib(peaks: dict[int, float]) -> list[float]:
    """What was watched, card by card."""
    return [peak / 1024 for _, peak in sorted(peaks.items())]
