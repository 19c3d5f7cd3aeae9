"""The command line as a user types it, started by the benchmarks in processes of their own."""

import argparse
import os
import shutil
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[1]
MEMORY = ["nvidia-smi", "--query-gpu=memory.used", "--format=csv,noheader,nounits", "--id=0", "--loop-ms=200"]


@dataclass(frozen=True)
class Done:
    """A command that ended well.

    Attributes:
        seconds: from its start to its end.
        lines: what it printed, each line with the second at which it came.
        peak_gib: the most of the first GPU's memory that was in use by anyone; None without a GPU.
    """

    seconds: float
    lines: list[tuple[float, str]]
    peak_gib: float | None


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


def measured(command: list[str], log: Path, extra: dict[str, str] | None = None) -> Done:
    """Run a command to its end; all that it prints goes to `log` as well.

    Raises:
        RuntimeError: it ended with another status than 0; the message has its last lines.
    """
    began, lines = time.monotonic(), []
    with watched_memory() as peak, log.open("w", encoding="utf-8") as file:
        process = subprocess.Popen(
            command, env={**environment(), **(extra or {})}, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
            text=True, errors="replace",
        )  # fmt: skip
        assert process.stdout is not None
        for line in process.stdout:
            lines.append((time.monotonic(), line.rstrip()))
            file.write(line)
            file.flush()
        status = process.wait()
        seconds = time.monotonic() - began
    if status:
        last = "\n".join(line for _, line in lines[-30:])
        raise RuntimeError(f"{' '.join(command)}\nended with status {status}; all it printed is in {log}:\n{last}")
    return Done(seconds, lines, max(peak, default=0.0) / 1024 if peak else None)


def chattpl(arguments: list[str], log: Path) -> Done:
    """`python -m chattpl.main ARGUMENTS` to its end."""
    return measured([sys.executable, "-m", "chattpl.main", *arguments], log)


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
def watched_memory() -> Iterator[list[float]]:
    """MiB of the first GPU's memory in use, five times a second; nothing without a GPU."""
    used: list[float] = []
    if not gpu():
        yield used
        return
    process = subprocess.Popen(MEMORY, stdout=subprocess.PIPE, text=True)

    def read() -> None:
        assert process.stdout is not None
        used.extend(float(line) for line in process.stdout)

    thread = threading.Thread(target=read)
    thread.start()
    try:
        yield used
    finally:
        process.terminate()
        process.wait()
        thread.join()
