"""Several commands of chattpl at once on the GPUs of a machine, the first ones first, until the time is over."""

import signal
import subprocess
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from commands import start

from chattpl.generation.cards import VISIBLE, visible_cards


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


def shared_card(at_once: int) -> list[str]:
    """The override for each of so many commands on one GPU: its part of the card's memory, rounded down."""
    return [f"gpu_share={int(100 / at_once) / 100}"] if at_once > 1 else []


def side_by_side(pieces: Sequence[Piece], at_once: int, seconds: float, logs: Path) -> Iterator[Ended]:
    """Run the commands, `at_once` on each GPU, each with its part of the card's memory.

    When the `seconds` are over, those that run are asked to end; they write a checkpoint first. What they print goes to
    a file each in `logs`.
    """
    logs.mkdir(parents=True, exist_ok=True)
    ends, waiting = time.monotonic() + seconds, list(pieces)
    free = (visible_cards() or [""]) * at_once  # without a GPU all share the CPU
    running: dict[subprocess.Popen, tuple[Piece, str, float]] = {}
    while waiting or running:
        while waiting and free and time.monotonic() < ends:
            piece, card = waiting.pop(0), free.pop(0)
            share = shared_card(at_once)
            with (logs / f"{piece.name}.log").open("w", encoding="utf-8") as log:
                extra = {VISIBLE: card} if card else {}
                process = start([*piece.arguments, *share], extra, stdout=log, stderr=subprocess.STDOUT)
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
