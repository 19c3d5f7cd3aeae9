"""Several commands of chattpl at once on the GPUs of a machine, the first ones first, until the time is over."""

import os
import signal
import subprocess
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from commands import start


@dataclass(frozen=True)
class Piece:
    """One command: a name for its log, and its arguments."""

    name: str
    arguments: Sequence[str]


@dataclass(frozen=True)
class Ended:
    """A command that ended: its exit status, and the seconds that it took."""

    name: str
    status: int
    seconds: float


def gpus() -> int:
    """How many GPUs the machine has; 1 where it has none, since then the commands share its CPU."""
    try:
        listed = subprocess.run(["nvidia-smi", "-L"], capture_output=True, text=True, check=True).stdout
    except (OSError, subprocess.CalledProcessError):
        return 1
    return max(1, sum(line.startswith("GPU ") for line in listed.splitlines()))


def side_by_side(pieces: Sequence[Piece], at_once: int, seconds: float, logs: Path) -> Iterator[Ended]:
    """Run the commands, `at_once` on each GPU, each with its part of the card's memory.

    When the `seconds` are over, those that run are asked to end; they write a checkpoint first. What they print goes to
    a file each in `logs`.
    """
    logs.mkdir(parents=True, exist_ok=True)
    ends, waiting = time.monotonic() + seconds, list(pieces)
    free = [card for _ in range(at_once) for card in range(gpus())]
    running: dict[subprocess.Popen, tuple[Piece, int, float]] = {}
    while waiting or running:
        while waiting and free and time.monotonic() < ends:
            piece, card = waiting.pop(0), free.pop(0)
            share = [f"gpu_share={int(100 / at_once) / 100}"] if at_once > 1 else []
            with (logs / f"{piece.name}.log").open("w", encoding="utf-8") as log:
                os.environ["CUDA_VISIBLE_DEVICES"] = str(card)
                process = start([*piece.arguments, *share], stdout=log, stderr=subprocess.STDOUT)
            running[process] = piece, card, time.monotonic()
        time.sleep(0.2)
        if time.monotonic() > ends:
            waiting.clear()
            for process in running:
                process.send_signal(signal.SIGTERM)
            ends = float("inf")
        for process in [each for each in running if each.poll() is not None]:
            piece, card, began = running.pop(process)
            free.append(card)
            yield Ended(piece.name, process.returncode, time.monotonic() - began)
