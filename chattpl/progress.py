"""What this process is doing and what it still has to do, for whoever watches it (`chattpl.display`).

Whoever does the work says so: `cell` around a job, `working` around a training or an evaluation, `count` after a step
or a batch.
"""

import contextlib
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from statistics import fmean

# What is counted tells how long the rest takes only once a little of it is done.
LEAST_SHARE = 0.05


@dataclass(frozen=True)
class Work:
    """A training or an evaluation.

    Attributes:
        verb: "training" or "evaluating".
        name: of the model or the cell.
        method: of the training. Works with the same verb and method are taken to last equally long.
    """

    verb: str
    name: str
    method: str = ""

    @property
    def kind(self) -> tuple[str, str]:
        """What it has in common with works that last as long."""
        return self.verb, self.method


@dataclass(frozen=True)
class Left:
    """The time that is left.

    Attributes:
        seconds: that all work of known duration will take.
        whole: there is no other work.
    """

    seconds: float
    whole: bool


class Progress:
    """The course of one command.

    Attributes:
        cells: how many there are altogether; None where nobody knows, in a search for instance.
        done: cells that are finished, those included that were when the command began.
        failed: cells that are not going to be.
        work: what is being done.
        activity: what it is about just now, where that is not counted.
        figures: the latest of a training.
        watched: somebody looks, so that counting in detail is of use.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic):
        self._clock = clock
        self._began = clock()
        self.cells: int | None = None
        self.done = self.failed = 0
        self.watched = False
        self._waiting: dict[Work, None] = {}
        self._seconds: dict[tuple[str, str], list[float]] = {}
        self._begin(None)

    def _begin(self, work: Work | None) -> None:
        self.work = work
        self.activity = self.figures = self.unit = ""
        self._work_began = self._clock()
        self.counted = self.of = 0
        self._part = (0, 0)
        self._start: int | None = None
        self._first: tuple[float, int] | None = None
        self._last = self._work_began

    @property
    def seconds(self) -> float:
        """Since the command began."""
        return self._clock() - self._began

    @property
    def part(self) -> tuple[int, int]:
        """What the engine completed of what it was asked at once, and how much that is."""
        return self._part

    def expect(self, cells: int, done: int, failed: int, works: Iterable[Work]) -> None:
        """Say beforehand how many cells there are, how many of them are over, and what the others need."""
        self.cells, self.done, self.failed = cells, done, failed
        self._waiting |= dict.fromkeys(works)

    @contextlib.contextmanager
    def cell(self, works: Iterable[Work]) -> Iterator[None]:
        """A job, from its beginning to its end. What it needs may be done by another process, too."""
        needed = dict.fromkeys(works)
        self._waiting |= needed
        try:
            yield
        except Exception:
            self.failed += 1
            raise
        else:
            self.done += 1
        finally:
            for work in needed:
                self._waiting.pop(work, None)

    @contextlib.contextmanager
    def working(self, work: Work) -> Iterator[None]:
        """A training or an evaluation, from its beginning to its end."""
        self._waiting.setdefault(work)
        self._begin(work)
        try:
            yield
            self._seconds.setdefault(work.kind, []).append(self._clock() - self._work_began)
        finally:
            self._waiting.pop(work, None)
            self._begin(None)

    def count(self, counted: int, of: int, unit: str) -> None:
        """So many of all steps or answers are done; the first call says with how many the work begins."""
        self.counted, self.of, self.unit, self.activity = counted, of, unit, ""
        self._part = (0, 0)
        self._note()

    def count_part(self, completed: int, of: int) -> None:
        """The engine has completed so many of the prompts that it was handed together."""
        self._part = (completed, of)
        self._note()

    @property
    def _reached(self) -> int:
        return self.counted + (self._part[0] if self.unit == ANSWERS else 0)

    def _note(self) -> None:
        self._last = self._clock()
        if self._start is None:
            self._start = self._reached
        elif self._first is None and self._reached > self._start:
            self._first = (self._last, self._reached)

    def left(self) -> Left | None:
        """The time until all cells are done; None where nobody knows how many there are, or nothing can be said yet.

        A work takes what those of its kind took on average. The one at work goes on as fast as it went from its
        first step or answer on, so that neither loading nor compiling is taken for its pace.
        """
        if self.cells is None:
            return None
        works = self._waiting | ({self.work: None} if self.work else {})
        each = [self._rest() if work == self.work else self._typical(work.kind) for work in works]
        known = [seconds for seconds in each if seconds is not None]
        return Left(sum(known), len(known) == len(each)) if known else None

    def _typical(self, kind: tuple[str, str]) -> float | None:
        if kind in self._seconds:
            return fmean(self._seconds[kind])
        rest = self._rest() if self.work and self.work.kind == kind else None
        return None if rest is None else self._clock() - self._work_began + rest

    def _rest(self) -> float | None:
        """Seconds until the work in hand is done."""
        assert self.work is not None
        since = self._reached - self._first[1] if self._first else 0
        if self._first and since >= max(LEAST_SHARE * self.of, 1):
            pace = (self._last - self._first[0]) / since
            rest = (self.of - self._reached) * pace - (self._clock() - self._last)
        elif self.work.kind in self._seconds:
            rest = fmean(self._seconds[self.work.kind]) - (self._clock() - self._work_began)
        else:
            return None
        return max(rest, 0.0)


STEPS, ANSWERS = "step", "answered"


class _State:
    """A process runs one command at a time."""

    progress = Progress()


def current() -> Progress:
    """The course of the command that this process runs."""
    return _State.progress


def restart() -> None:
    """Begin another command."""
    _State.progress = Progress()
