"""Finished or not: fingerprints, locks, publishing in one step.

A finished folder holds a marker (`train.json`, `summary.json`) with the fingerprint of all that decided it. A folder
is filled below `.work` and moved into place by one `rename`, so what lies in place is whole. A process that dies
leaves its work, from which the next one goes on; the lock it held is released by the operating system.
"""

import contextlib
import errno
import json
import logging
import os
import shutil
import socket
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

from chattpl.cell import digest, flat
from chattpl.errors import UserError

logger = logging.getLogger(__name__)

PARTIAL = ".partial"


def make_folder(path: Path) -> None:
    """The folder and those above it.

    Raises:
        UserError: it cannot be made where it should be.
    """
    try:
        path.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            raise
        raise UserError(f"output_root: cannot make the folder {path} ({error.strerror})") from error


def write_text(path: Path, text: str) -> None:
    """Write a file so that a reader, or a crash, finds the old one or the new one and nothing between."""
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.", suffix=PARTIAL)
    try:
        with os.fdopen(handle, "w", encoding="utf-8") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        Path(temporary).chmod(0o644)
        Path(temporary).replace(path)
    except BaseException:
        Path(temporary).unlink(missing_ok=True)
        raise


def write_json(path: Path, content: Any) -> None:
    """`write_text` of any JSON value, indented for a person to read."""
    write_text(path, json.dumps(content, indent=1, ensure_ascii=False) + "\n")


def read_marker(path: Path) -> dict[str, Any] | None:
    """The marker of a finished folder; None where there is none or it cannot be read."""
    try:
        marker = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    return marker if isinstance(marker, dict) and "fingerprint" in marker else None


def fingerprint(covers: dict[str, Any]) -> str:
    """The SHA-256 of everything that decides an artifact."""
    return digest(covers)


def is_finished(marker_path: Path, covers: dict[str, Any], overwrite: bool) -> bool:
    """Whether the folder that `marker_path` lies in is finished and made from exactly this.

    Raises:
        UserError: it is finished but made from something else, and must not be overwritten.
    """
    marker = read_marker(marker_path)
    if marker is None:
        return False
    if marker["fingerprint"] == fingerprint(covers):
        return True
    if overwrite:
        return False
    differences = _differences(marker.get("made_from", {}), covers)
    raise UserError(
        f"{marker_path.parent} was made from something else ({differences}); study=NAME keeps both, "
        "overwrite=true replaces it, and a key that is changed on the command line gets a folder of its own"
    )


def _differences(old: dict[str, Any], new: dict[str, Any]) -> str:
    old, new = flat(old), flat(new)
    keys = [key for key in sorted(old.keys() | new.keys()) if old.get(key) != new.get(key)]
    return "; ".join(f"{key}: {_short(old.get(key))} -> {_short(new.get(key))}" for key in keys)


def _short(value: Any) -> str:
    text = str(value)
    is_digest = len(text) == 64 and not set(text) - set("0123456789abcdef")
    return f"{text[:12]}…" if is_digest else repr(value) if len(text) <= 60 else f"{text[:57]!r}…"


@contextlib.contextmanager
def locked(path: Path, what: str) -> Iterator[None]:
    """Hold the lock `path`, or wait for it and say so. `what` names the work, for the message.

    The lock is the kernel's (`flock`), so it ends with the process that holds it, however that ends.
    """
    make_folder(path.parent)
    lock, holder = FileLock(path), path.parent / f"{path.name}.holder"
    try:
        lock.acquire(timeout=0)
    except Timeout:
        logger.info("waiting for %s: %s is at it", what, _read_holder(holder))
        started = time.monotonic()
        lock.acquire(poll_interval=0.2)
        logger.info("waited %.0f s for %s", time.monotonic() - started, what)
    try:
        write_text(holder, f"process {os.getpid()} on {socket.gethostname()}\n")
        yield
    finally:
        holder.unlink(missing_ok=True)
        lock.release()


def _read_holder(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8").strip()
    except OSError:
        return "another process"


def publish(staged: Path, final: Path) -> None:
    """Move a complete folder into place. What lay there before goes only once the new one is there.

    Between the two renames neither lies in place; `recover` of the next process then ends what this one began.
    """
    for path in staged.rglob("*"):
        if path.name.endswith(PARTIAL):
            path.unlink()  # of a process that died while it wrote this
        elif path.is_file():
            _flush(path)
    final.parent.mkdir(parents=True, exist_ok=True)
    retired = staged.parent / "retired"
    shutil.rmtree(retired, ignore_errors=True)  # of a process that died here
    if final.exists():
        final.rename(retired)
    staged.rename(final)
    _flush(final.parent)
    shutil.rmtree(retired, ignore_errors=True)


def _flush(path: Path) -> None:
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def recover(staged: Path, final: Path, marker: str) -> None:
    """Publish what a process completed but did not live to publish."""
    if read_marker(staged / marker) is not None:
        publish(staged, final)
