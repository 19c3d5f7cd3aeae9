"""Ctrl-C and a cluster's SIGTERM: end in order, with what was done kept.

Outside a training run a signal raises `Interrupted` where the program stands. Within one it waits for a step after
which the training can be resumed exactly, so that a checkpoint can be written, or for the end, so that the finished
model is kept; a second signal does not wait.
"""

import contextlib
import signal
import threading
from collections.abc import Iterator
from types import FrameType

from chattpl.errors import Interrupted

SIGNALS = (signal.SIGINT, signal.SIGTERM)


class _State:
    """What the handler knows. Signals are the process's, so there is one."""

    deferring = False
    all_of_them = False
    pending: int | None = None


def _handle(signum: int, _frame: FrameType | None) -> None:
    if _State.deferring and (_State.pending is None or _State.all_of_them):
        _State.pending = _State.pending or signum
        return
    raise Interrupted(signum)


@contextlib.contextmanager
def handled() -> Iterator[None]:
    """Turn both signals into `Interrupted`. Elsewhere than in the main thread signals do not arrive: no effect."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = {signum: signal.signal(signum, _handle) for signum in SIGNALS}
    try:
        yield
    finally:
        for signum, handler in before.items():
            signal.signal(signum, handler)


@contextlib.contextmanager
def deferrable() -> Iterator[None]:
    """Where `defer` may hold a signal back. One that still waits at the end is raised there."""
    try:
        yield
    finally:
        signum, _State.deferring, _State.pending = _State.pending, False, None
    if signum is not None:
        raise Interrupted(signum)


def defer(all_of_them: bool = False) -> None:
    """Hold a signal back from here on, or all of them: a cluster may send them to each process and to its parent."""
    _State.deferring, _State.all_of_them = True, all_of_them


def waiting() -> int:
    """The signal that waits; 0 where none does."""
    return _State.pending or 0


def hold(signum: int) -> None:
    """Have a signal wait that another process got. 0 is none."""
    _State.pending = _State.pending or signum or None


def pending() -> bool:
    """Whether a signal waits."""
    return _State.pending is not None


def raise_pending() -> None:
    """Wait no longer.

    Raises:
        Interrupted: a signal waits.
    """
    if _State.pending is not None:
        raise Interrupted(_State.pending)
