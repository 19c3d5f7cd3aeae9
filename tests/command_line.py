"""The command line inside the test's own process, so that hundreds of commands need one import of torch.

Its reports have empty pictures, which would take longer than all the rest; `run_main` of conftest has them drawn.
"""

import contextlib
import io
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from unittest import mock

from chattpl import main


@dataclass(frozen=True)
class Ended:
    """How a command ended: its exit status, what it printed, and the seconds of processor time that it took."""

    status: int
    out: str
    err: str
    seconds: float


def undrawn(draw: Callable[..., object], study: object) -> dict[str, bytes]:
    """In the place of `draw_files`."""
    return {"png": b"", "svg": b"<svg/>"}


def command(*arguments: str, cwd: Path) -> Ended:
    """`python -m chattpl.main ARGUMENTS` in the folder `cwd`."""
    out, err, status, began = io.StringIO(), io.StringIO(), 0, time.process_time()
    with (
        contextlib.chdir(cwd),
        mock.patch.object(sys, "argv", ["chattpl", *arguments]),
        contextlib.redirect_stdout(out),
        contextlib.redirect_stderr(err),
        mock.patch("chattpl.report.canvas.draw_files", undrawn),
    ):
        try:
            main.main()
        except SystemExit as end:
            status = int(end.code or 0)
    return Ended(status, out.getvalue(), err.getvalue(), time.process_time() - began)
