"""Ctrl-C and a cluster's SIGTERM and SIGUSR2: end in order, with what was done kept.

Outside a training run a signal raises `Interrupted` where the program stands. Within one it waits for a step after
which the training can be resumed exactly, so that a checkpoint can be written, or for the end, so that the finished
model is kept; a second signal does not wait.

Before a Slurm job's time is over it gets SIGUSR2, for which submitit listens: it has the job queued again. That comes
last here. A job that has to make room for another gets SIGTERM, as one that is cancelled does, and is queued again too.
"""

import contextlib
import os
import signal
import subprocess
import threading
from collections.abc import Iterator
from types import FrameType

from chattpl.errors import Interrupted

SIGNALS = (signal.SIGINT, signal.SIGTERM)
REQUEUES = signal.SIGUSR2


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
    """Turn the signals into `Interrupted`. Elsewhere than in the main thread signals do not arrive: no effect.

    SIGUSR2 is left alone where nobody listens for it; where a launcher does, it hears of it in the end.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    requeue = signal.getsignal(REQUEUES)
    listened = (*SIGNALS, REQUEUES) if callable(requeue) else SIGNALS
    before = {signum: signal.signal(signum, _handle) for signum in listened}
    try:
        yield
    except Interrupted as interrupted:
        if callable(requeue) and (interrupted.signum == REQUEUES or _is_preempted()):
            requeue(REQUEUES, None)  # ends the process
        raise
    finally:
        for signum, handler in before.items():
            signal.signal(signum, handler)


def _is_preempted() -> bool:
    """Whether Slurm takes this job's place for another; where it then ends by itself, Slurm takes it for failed."""
    command = ["scontrol", "--oneliner", "show", "job", os.environ.get("SLURM_JOB_ID", "")]
    try:
        shown = subprocess.run(command, capture_output=True, text=True, timeout=60, check=True).stdout
    except (OSError, subprocess.SubprocessError):
        return False
    return "PreemptTime=" in shown and "PreemptTime=None" not in shown


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
