"""One training as several processes of this machine, one for each card.

Each runs `python -m chattpl.training.worker`. The first speaks for all; a signal to this process is handed on to all of
them, which save a checkpoint of the same step and end.
"""

import json
import logging
import os
import signal
import subprocess
import sys
import tempfile
import time
from contextlib import ExitStack
from pathlib import Path

from chattpl.errors import Interrupted, UserError
from chattpl.generation.cards import VISIBLE, take_cards
from chattpl.training.job import TrainingJob

logger = logging.getLogger(__name__)

FORMAT = "%(levelno)s %(message)s"  # of what a rank logs, to be logged again here
PAUSE = 0.1  # seconds
GRACE = 15.0  # that the others get once a rank ended: they end together, unless one fails, for which the others wait
STATUS = 128  # and a signal's number: the exit status of who was interrupted


def launch(job: TrainingJob) -> None:
    """Run the job as `job.gpus` processes, to the end.

    Raises:
        UserError: what the user can mend, as a rank tells it.
        Interrupted: a signal arrived here or there; a checkpoint was written first.
        RuntimeError: a rank failed; with what it wrote.
    """
    with tempfile.TemporaryDirectory(prefix="chattpl-ranks-") as folder, ExitStack() as stack:
        meeting = Path(folder)
        (meeting / "job.json").write_text(json.dumps(job.to_json()), encoding="utf-8")
        environments = _environments(job)
        ranks = [_Rank(rank, meeting, environments[rank]) for rank in range(job.gpus)]
        for each in ranks:
            stack.callback(each.end)
        _watch(ranks)


class _Rank:
    """One of the processes; what it says is read from files, so that none waits for a reader."""

    def __init__(self, rank: int, meeting: Path, environment: dict[str, str]):
        self._out, self._err = meeting / f"{rank}.out", meeting / f"{rank}.err"
        command = [sys.executable, "-m", "chattpl.training.worker", str(meeting / "job.json"), f"--rank={rank}"]
        with self._out.open("wb") as out, self._err.open("wb") as err:
            self._process = subprocess.Popen(
                [*command, f"--meeting={meeting}"], stdin=subprocess.PIPE, stdout=out, stderr=err,
                env={**os.environ, **environment},
                start_new_session=True,  # Ctrl-C reaches the parent alone
            )  # fmt: skip
        self._read = self._out.open(encoding="utf-8", errors="replace")
        self._rest = ""

    @property
    def status(self) -> int | None:
        """Its exit status, once it ended."""
        return self._process.poll()

    @property
    def failed(self) -> bool:
        """Whether it ended with anything but success."""
        return bool(self.status)

    @property
    def errors(self) -> str:
        """What it wrote to standard error."""
        return self._err.read_text(encoding="utf-8", errors="replace").strip()

    def interrupt(self) -> None:
        """Have it save a checkpoint and end."""
        self._process.send_signal(signal.SIGTERM)

    def end(self) -> None:
        """If it still runs, at once."""
        self._process.kill()
        self._process.wait()
        assert self._process.stdin is not None
        self._process.stdin.close()
        self._read.close()

    def say(self) -> None:
        """Log what it logged since the last time."""
        *lines, self._rest = (self._rest + self._read.read()).split("\n")
        for line in lines:
            level, _, text = line.partition(" ")
            logger.log(*((int(level), "%s", text) if level.isdigit() else (logging.INFO, "%s", line)))


def _environments(job: TrainingJob) -> list[dict[str, str]]:
    """What this process imports, and for each rank a card or a part of the processor."""
    shared = {"PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    if job.device == "cuda":
        return [{**shared, VISIBLE: card} for card in take_cards(job.gpus)]
    threads = str(max(1, len(os.sched_getaffinity(0)) // job.gpus))
    return [{**shared, "OMP_NUM_THREADS": threads}] * job.gpus


def _watch(ranks: list[_Rank]) -> None:
    """Until all have ended."""
    interrupted: Interrupted | None = None
    patience = GRACE
    while any(each.status is None for each in ranks) and patience > 0:
        try:
            ranks[0].say()
            time.sleep(PAUSE)
        except Interrupted as error:
            if interrupted is not None:
                raise
            interrupted = error
            for each in ranks:
                each.interrupt()
        if any(each.status is not None for each in ranks):
            patience -= PAUSE
    ranks[0].say()
    _conclude(ranks, interrupted)


def _conclude(ranks: list[_Rank], interrupted: Interrupted | None) -> None:
    if interrupted is not None:
        raise interrupted
    for each in ranks:
        if each.status is not None and each.status > STATUS:
            raise Interrupted(each.status - STATUS)
    told = [each.errors for each in ranks if each.failed]
    for errors in told:
        last = errors.splitlines()[-1] if errors else ""
        if last.startswith("error: "):
            raise UserError(last.removeprefix("error: "))
    if told:
        statuses = ", ".join(str(each.status) for each in ranks)
        errors = "\n".join(told)  # of the others, that one is gone
        raise RuntimeError(f"a process of the training failed (exit statuses {statuses}):\n{errors}")
