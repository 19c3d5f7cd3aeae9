"""Finished or not: manifests, locks, publishing in one step.

A finished folder holds a manifest (`train.json`, `summary.json`) with the fingerprint of its inputs. A
folder is filled below `.work` and moved into place by one `rename`, so what lies in place is whole. A process that
dies leaves its work, from which the next one resumes; the lock it held is released by the operating system.
"""

import contextlib
import json
import logging
import os
import shutil
import socket
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

from chattpl import progress
from chattpl.errors import UserError
from chattpl.files import PARTIAL, flush, make_folder, write_text
from chattpl.hashing import digest, flat
from chattpl.manifests import other_version
from chattpl.results import SCHEMA

logger = logging.getLogger(__name__)


def read_manifest(path: Path) -> dict[str, Any] | None:
    """The manifest of a finished folder; None where there is none or it cannot be read."""
    try:
        manifest = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    return manifest if isinstance(manifest, dict) and "fingerprint" in manifest else None


@dataclass(frozen=True)
class Artifact:
    """A folder that is made once: a trained model, or the evaluation of one.

    Attributes:
        folder: where it lies when it is finished.
        manifest: the file in it that says so; the last one written.
        inputs: everything that decides it.
        work: where unfinished work lies. The fingerprint is in the name, so work with other inputs is never picked up.
        what: the work in words, for whoever waits for it.
    """

    folder: Path
    manifest: str
    inputs: Mapping[str, Any]
    work: Path
    what: str

    @classmethod
    def at(cls, study: Path, kind: str, name: str, manifest: str, inputs: Mapping[str, Any], what: str) -> "Artifact":
        """The artifact `study/kind/name`."""
        return cls(study / kind / name, manifest, inputs, study / ".work" / kind / f"{name}~{digest(inputs)[:8]}", what)

    @property
    def fingerprint(self) -> str:
        """The SHA-256 of the inputs."""
        return digest(self.inputs)

    @property
    def staged(self) -> Path:
        """The folder below `work` that is to be published."""
        return self.work / "staged"

    def read(self) -> dict[str, Any]:
        """The manifest of the finished artifact."""
        manifest = read_manifest(self.folder / self.manifest)
        assert manifest is not None, f"{self.folder} is not finished"
        return manifest

    def is_finished(self, overwrite: bool) -> bool:
        """Whether it is there with exactly these inputs.

        Raises:
            UserError: it is there with other inputs or from another version, and must not be overwritten.
        """
        manifest = read_manifest(self.folder / self.manifest)
        if manifest is None:
            return False
        if manifest.get("schema") == SCHEMA and manifest["fingerprint"] == self.fingerprint:
            return True
        if overwrite:
            return False
        if manifest.get("schema") != SCHEMA:
            raise UserError(
                f"{self.folder}: {other_version(manifest)}; study=NAME starts a new study and keeps it, "
                "overwrite=true replaces it"
            )
        raise UserError(
            f"{self.folder} has other inputs ({differences(manifest.get('inputs', {}), self.inputs)}); "
            "study=NAME keeps both, overwrite=true replaces it, and a key that is changed on the command line gets a "
            "folder of its own"
        )

    def produce(self, make: Callable[[], None], overwrite: bool) -> bool:
        """Let `make` fill `staged`, its manifest last, and publish it. `work` is free for whatever else it needs.

        Under a lock, so of several processes one makes it and the others wait. Returns False where another process
        made it in the meantime.
        """
        logger.debug("%s: fingerprint %s, work in %s", self.what, self.fingerprint, self.work)
        return self._made(make, lambda: self.is_finished(overwrite))

    def renew(self, make: Callable[[], None], is_current: Callable[[], bool]) -> bool:
        """Replace the finished folder by what `make` fills `staged` with, unless it is current.

        Under the same lock as `produce`. Returns False where another process renewed it in the meantime.
        """
        return self._made(make, is_current)

    def _made(self, make: Callable[[], None], is_done: Callable[[], bool]) -> bool:
        with locked(self.work.parent / f"{self.work.name}.lock", self.what):
            if read_manifest(self.staged / self.manifest) is not None:  # of a process that died before it published
                self._publish()
            if is_done():
                shutil.rmtree(self.work, ignore_errors=True)
                return False
            make()
            for path in self.work.iterdir():  # before publishing, or a process that dies in between leaves it
                if path != self.staged:
                    _remove(path)
            self._publish()
            shutil.rmtree(self.work)
        return True

    def _publish(self) -> None:
        """Publish what is staged, and with it the earlier manifests (`train-….json`) that the folder keeps."""
        stem, _, suffix = self.manifest.rpartition(".")
        for path in self.folder.glob(f"{stem}-*.{suffix}"):
            shutil.copyfile(path, self.staged / path.name)
        publish(self.staged, self.folder)


def _remove(path: Path) -> None:
    if path.is_dir():
        shutil.rmtree(path, ignore_errors=True)
    else:
        path.unlink(missing_ok=True)


def differences(old: Mapping[str, Any], new: Mapping[str, Any]) -> str:
    """The keys that differ and both their values, for a message."""
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
        logger.info("waiting for %s, running in %s", what, _read_holder(holder))
        started = time.monotonic()
        progress.current().activity = f"waiting for {what}, running in {_read_holder(holder)}"
        lock.acquire(poll_interval=0.2)
        progress.current().activity = ""
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

    Between the two renames neither lies in place; `produce` of the next process then ends what this one began.
    """
    for path in staged.rglob("*"):
        if path.name.endswith(PARTIAL):
            path.unlink()  # of a process that died while it wrote this
        elif path.is_file():
            flush(path)
    final.parent.mkdir(parents=True, exist_ok=True)
    retired = staged.parent / "retired"
    shutil.rmtree(retired, ignore_errors=True)  # of a process that died here
    if final.exists():
        final.rename(retired)
    staged.rename(final)
    flush(final.parent)
    shutil.rmtree(retired, ignore_errors=True)
