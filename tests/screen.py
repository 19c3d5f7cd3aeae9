"""A command on a terminal of its own, and what such a terminal shows."""

import fcntl
import os
import pty
import re
import signal
import struct
import subprocess
import sys
import termios
import time
from collections.abc import Callable
from pathlib import Path

from conftest import ROOT

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


class Terminal:
    """`python -m chattpl.main ARGUMENTS` on a terminal; `stdout` sends standard output elsewhere."""

    def __init__(self, *arguments: str, cwd: Path, stdout: int | None = None, columns: int = 80, **environment: str):
        self._master, slave = pty.openpty()
        fcntl.ioctl(slave, termios.TIOCSWINSZ, struct.pack("HHHH", 24, columns, 0, 0))
        settings = {"TERM": "xterm-256color", "PYTHONPATH": str(ROOT), "COLUMNS": "", "LINES": "", **environment}
        self._process = subprocess.Popen(
            [sys.executable, "-m", "chattpl.main", *arguments],
            cwd=cwd,
            env={**os.environ, **settings},
            stdin=slave,
            stdout=slave if stdout is None else stdout,
            stderr=slave,
            start_new_session=True,
        )
        os.close(slave)
        self._printed = b""

    def read(self, until: Callable[[Screen], bool] = lambda screen: False, seconds: float = 300) -> Screen:
        """What it shows at its end, or as soon as `until` is true of it."""
        limit = time.monotonic() + seconds
        while time.monotonic() < limit:
            try:
                self._printed += os.read(self._master, 65536)
            except OSError:  # the other end is closed
                break
            screen = Screen().feed(self._printed.decode(errors="replace"))
            if until(screen):
                return screen
        return Screen().feed(self._printed.decode(errors="replace"))

    def interrupt(self) -> None:
        self._process.send_signal(signal.SIGINT)

    def status(self) -> int:
        return self._process.wait(60)
