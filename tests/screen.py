"""A command on a terminal of its own, and what such a terminal shows."""

import fcntl
import os
import pty
import re
import signal
import struct
import termios
import time
from collections.abc import Callable
from pathlib import Path

from forked import FORKS, be_command

# What comes out of a pseudo-terminal: control sequences, line ends, text.
PIECES = re.compile(r"\x1b\[(?P<number>[?\d;]*)(?P<letter>[A-Za-z])|(?P<end>[\r\n])|(?P<text>[^\x1b\r\n]+)")


class Screen:
    """The lines of a terminal of endless height, as far as rich's control sequences are concerned.

    Attributes:
        cursor: whether it is visible.
        states: all lines, each time before what is shown is replaced.
    """

    def __init__(self) -> None:
        self.lines = [""]
        self.cursor = True
        self.states: list[str] = []
        self._row = self._column = 0

    @property
    def text(self) -> str:
        return "\n".join(line.rstrip() for line in self.lines).rstrip()

    def feed(self, printed: str) -> "Screen":
        for piece in PIECES.finditer(printed):
            if piece["text"]:
                line = self.lines[self._row].ljust(self._column)
                self.lines[self._row] = line[: self._column] + piece["text"] + line[self._column + len(piece["text"]) :]
                self._column += len(piece["text"])
            elif piece["end"] == "\r":
                self._column = 0
            elif piece["end"] == "\n":
                self._row += 1
                self.lines += [""] * (self._row + 1 - len(self.lines))
            else:
                self._control(piece["number"], piece["letter"])
        return self

    def _control(self, number: str, letter: str) -> None:
        if letter == "A":
            self._row = max(self._row - int(number), 0)
        elif letter == "K":
            if not self.states or self.states[-1] != self.text:
                self.states.append(self.text)
            self.lines[self._row] = ""
        elif number == "?25":
            self.cursor = letter == "h"
        else:
            assert letter == "m", f"the screen does not know {number}{letter}"


def _run(arguments: list[str], cwd: Path, terminal: str, stdout: Path | None) -> None:
    """The child: the terminal is its own."""
    os.setsid()
    os.environ.update({"TERM": "xterm-256color", "COLUMNS": "", "LINES": ""})
    slave = os.open(terminal, os.O_RDWR)
    os.dup2(slave, 0)
    be_command(arguments, cwd, os.open(stdout, os.O_WRONLY | os.O_CREAT) if stdout else slave, slave)


class Terminal:
    """A command without vLLM on a terminal; `stdout` is a file that takes its standard output."""

    def __init__(self, *arguments: str, cwd: Path, stdout: Path | None = None, columns: int = 80):
        self._master, slave = pty.openpty()
        fcntl.ioctl(slave, termios.TIOCSWINSZ, struct.pack("HHHH", 24, columns, 0, 0))
        self._process = FORKS.Process(target=_run, args=([*arguments], cwd, os.ttyname(slave), stdout))
        self._process.start()
        self._slave: int | None = slave
        self._printed = b""

    def read(self, until: Callable[[Screen], bool] | None = None, seconds: float = 300) -> Screen:
        """What it shows at its end, or as soon as `until` is true of it."""
        limit = time.monotonic() + seconds
        while time.monotonic() < limit:
            try:
                self._printed += os.read(self._master, 65536)
            except OSError:  # the other end is closed
                break
            self._close_slave()  # the command has opened it
            if until and until(self._screen()):
                break
        return self._screen()

    def _screen(self) -> Screen:
        return Screen().feed(self._printed.decode(errors="replace"))

    def _close_slave(self) -> None:
        if self._slave is not None:
            os.close(self._slave)
            self._slave = None

    def interrupt(self) -> None:
        os.kill(self._process.pid, signal.SIGINT)

    def status(self) -> int:
        self._process.join(60)
        return self._process.exitcode
