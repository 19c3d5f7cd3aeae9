"""The progress of a command on a terminal: two lines that stay in place, and above them what is to be kept.

Shown where standard error is a terminal; otherwise there are the lines of the log alone. What goes to a file is the
same in both cases.
"""

import contextlib
import logging
import os
import sys
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from chattpl import progress
from chattpl.progress import ANSWERS, Left, Progress

if TYPE_CHECKING:  # rich is loaded where something is shown
    from rich.console import Console, ConsoleOptions, RenderableType
    from rich.live import Live
    from rich.text import Text

PER_SECOND = 2  # how often the display is drawn
BAR_CHARACTERS = 24
LEAST_NAME = 20  # characters that are kept of a long name
STAYS = {"stays": True}  # `extra` of a log message that is kept above the display


class _State:
    """A process has one terminal."""

    live: "Live | None" = None


class LineHandler(logging.StreamHandler):  # type: ignore[type-arg]
    """One line for each message on standard output. Beside a display, only for warnings and what is to be kept."""

    def __init__(self) -> None:
        logging.Handler.__init__(self)

    @property
    def stream(self) -> Any:
        """Standard output as it is now: while something is shown, what is written appears above it."""
        return sys.stdout

    def emit(self, record: logging.LogRecord) -> None:
        """Write the line, unless the display tells the same."""
        told = (
            _State.live is not None
            and sys.stdout.isatty()
            and not logging.getLogger("chattpl").isEnabledFor(logging.DEBUG)
        )
        if not told or record.levelno >= logging.WARNING or getattr(record, "stays", False):
            super().emit(record)


@contextlib.contextmanager
def shown() -> Iterator[None]:
    """Show the progress of what runs inside. Within another display and where there is no terminal, nothing happens."""
    if _State.live is not None or not sys.stderr.isatty():
        yield
        return
    from rich.console import Console

    console = Console(stderr=True)
    if not console.is_interactive:  # TERM=dumb
        yield
        return
    progress.current().watched = True
    try:
        _start(console)
        yield
    finally:
        progress.current().watched = False
        try:
            _stop()
        finally:
            console.show_cursor()  # also where a second Ctrl-C interrupts the end


@contextlib.contextmanager
def paused() -> Iterator[None]:
    """Leave the terminal to what runs inside, and to the lines of the log."""
    console = _State.live.console if _State.live else None
    _stop()
    try:
        yield
    finally:
        if console:
            _start(console)


def _start(console: "Console") -> None:
    from rich.live import Live

    live = Live(
        get_renderable=lambda: draw(progress.current()),
        console=console,
        refresh_per_second=PER_SECOND,
        transient=True,
        redirect_stdout=sys.stdout.isatty(),
    )
    live.start(refresh=True)
    _State.live = live


def _stop() -> None:
    live, _State.live = _State.live, None
    if live is not None:
        live.stop()


def _forget() -> None:
    """A forked process has no display: what would draw it is a thread of its parent."""
    if _State.live is not None:
        sys.stdout, sys.stderr = (getattr(each, "rich_proxied_file", each) for each in (sys.stdout, sys.stderr))
        _State.live = None


os.register_at_fork(after_in_child=_forget)


def draw(course: Progress) -> "RenderableType":
    """The two lines: how far the cells are, and what is being done."""
    from rich.console import Group
    from rich.progress_bar import ProgressBar
    from rich.table import Table
    from rich.text import Text

    line = Table.grid(padding=(0, 2))
    words = [Text(_cells(course), no_wrap=True), Text(_time(course), no_wrap=True)]
    if course.cells:
        words.insert(1, ProgressBar(course.cells, course.done + course.failed, width=BAR_CHARACTERS))  # type: ignore[arg-type]
    line.add_row(*words)
    return Group(line, _WorkLine(course))


class _WorkLine:
    """What is being done; a long name gives way to how far it is."""

    def __init__(self, course: Progress):
        self._what, self._how_far = _work(course)

    def __rich_console__(self, console: "Console", options: "ConsoleOptions") -> "Iterator[Text]":
        from rich.text import Text

        line = Text(self._what, style="dim", no_wrap=True, overflow="ellipsis")
        line.truncate(max(options.max_width - len(self._how_far) - 1, LEAST_NAME), overflow="ellipsis")
        yield line.append(f" {self._how_far}".rstrip())


def _cells(course: Progress) -> str:
    of = "" if course.cells is None else f" of {course.cells}"
    failed = f", {course.failed} failed" if course.failed else ""
    return f"{course.done}{of} {'cell' if (course.cells or course.done) == 1 else 'cells'}{failed}"


def _time(course: Progress) -> str:
    minutes, seconds = divmod(int(course.seconds), 60)
    hours, minutes = divmod(minutes, 60)
    passed = f"{hours}:{minutes:02}:{seconds:02}" if hours else f"{minutes}:{seconds:02}"
    left = course.left()
    return f"{passed}, {_rounded(left)} left" if left else passed


def _rounded(left: Left) -> str:
    """No more digits than an estimate has."""
    about = "about" if left.whole else "at least"
    if left.seconds < 60:
        return f"{about} {5 * max(round(left.seconds / 5), 1)} s"
    minutes = round(left.seconds / 60)
    hours, minutes = divmod(minutes, 60)
    return f"{about} {hours} h {minutes} min" if hours else f"{about} {minutes} min"


def _work(course: Progress) -> tuple[str, str]:
    """`training grpo_no_chat:` and `step 12 of 60, loss 0.01, reward 0.4`."""
    if course.work is None:
        idle = "finishing" if course.cells and course.done + course.failed >= course.cells else "starting"
        return course.activity or idle, ""
    return f"{course.work.verb} {course.work.name}:", course.activity or _counted(course)


def _counted(course: Progress) -> str:
    completed, asked = course.part
    if not course.of:
        return "preparing"
    if course.unit == ANSWERS:
        return f"{ANSWERS} {course.counted + completed} of {course.of}"
    rollouts = f", {completed} of {asked} rollouts" if completed < asked else ""
    figures = f", {course.figures}" if course.figures else ""
    return f"{course.unit} {course.counted} of {course.of}{rollouts}{figures}"
