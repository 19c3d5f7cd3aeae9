"""The GPUs of a machine: each process takes its own, and CUDA sees no other there.

With more than one in sight transformers would wrap a model in `nn.DataParallel`, which TRL refuses, and jobs that run
side by side would all compute on the first. Slurm and Ray show a job its own GPUs; elsewhere (joblib, `submitit_local`,
two commands at once) a process locks one that is free, or waits for one.
"""

import logging
import os
import subprocess
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

from filelock import FileLock, Timeout

from chattpl.errors import UserError

logger = logging.getLogger(__name__)

VISIBLE = "CUDA_VISIBLE_DEVICES"
_held: list[FileLock] = []  # until the process ends: so long its CUDA context and its engine lie on the card


def visible_cards() -> list[str]:
    """The GPUs that this process sees, named as in CUDA_VISIBLE_DEVICES. Asks the driver's library, not CUDA."""
    import torch

    count = torch.cuda.device_count()
    named = [name.strip() for name in os.environ.get(VISIBLE, "").split(",") if name.strip()]
    return (named or [str(index) for index in range(count)])[:count]


def take_cards(count: int = 1) -> tuple[str, ...]:
    """Leave this process `count` GPUs for as long as it lives; waits until so many are free.

    CUDA reads the variable when it is first used, so this comes before. Whoever takes cards holds no other lock: a
    process that waits here must not keep one waiting that has cards. A process that sees no more than `count` was
    given them and waits for nobody.

    Raises:
        UserError: it does not see so many.
    """
    names = visible_cards()
    if len(names) < count:
        raise UserError(f"{count} GPUs are needed for one process and {len(names)} are visible")
    if len(names) == count:
        return tuple(names)
    if _held:
        raise UserError(f"gpus={count}: this process has taken {len(_held)} GPUs already; use a command of its own")
    locks = {name: FileLock(path) for name, path in _lock_paths(names).items()}
    if not (taken := _lock_some(locks, count)):
        logger.info("waiting for a GPU: of %d visible ones not enough are free", len(names))
    while not taken:
        time.sleep(0.5)
        taken = _lock_some(locks, count)
    os.environ[VISIBLE] = ",".join(taken)
    logger.info("%d GPUs are visible; this process takes %s (%s chooses others)", len(names), ",".join(taken), VISIBLE)
    return taken


def _lock_some(locks: dict[str, FileLock], count: int) -> tuple[str, ...]:
    """Lock `count` cards, or none: two processes that hold some and wait for more would wait for each other."""
    locked = []
    for name, lock in locks.items():
        try:
            lock.acquire(timeout=0)
        except Timeout:
            continue
        locked.append(name)
        if len(locked) == count:
            _held.extend(locks[each] for each in locked)
            return tuple(locked)
    for name in locked:
        locks[name].release()
    return ()


def _lock_paths(names: Sequence[str]) -> dict[str, Path]:
    """The lock file of each card. It bears the UUID: in a container, number 0 is a different card than outside."""
    folder = Path(tempfile.gettempdir()) / f"chattpl-gpus-{os.getuid()}"
    folder.mkdir(exist_ok=True)
    uuids = _uuids()
    return {name: folder / f"{uuids.get(name, name).replace('/', '_')}.lock" for name in names}


def _uuids() -> dict[str, str]:
    """The UUID of each card by its number; empty where nvidia-smi is not installed."""
    query = ["nvidia-smi", "--query-gpu=index,uuid", "--format=csv,noheader"]
    try:
        lines = subprocess.run(query, capture_output=True, text=True, check=True, timeout=60).stdout.splitlines()
    except (OSError, subprocess.SubprocessError):
        return {}
    rows = (line.partition(",") for line in lines)
    return {index.strip(): uuid.strip() for index, _, uuid in rows}
