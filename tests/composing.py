"""What makes Hydra compose faster in a process that composes often, with the same result."""

import copy
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any
from unittest import mock

from hydra._internal.hydra import Hydra
from omegaconf import OmegaConf

_load = OmegaConf.load
_loaded: dict[tuple[str, int], Any] = {}


@contextmanager
def quickly() -> Iterator[None]:
    """A file is parsed once, and nothing is composed merely to see that nobody set `hydra.mode`."""
    with mock.patch.object(OmegaConf, "load", _load_once), mock.patch.object(Hydra, "get_mode", return_value=None):
        yield


def _load_once(file: str | Path | IO[Any]) -> Any:
    """`OmegaConf.load`; Hydra hands it files that it has opened."""
    if isinstance(file, str | Path):
        return _load(file)
    key = file.name, os.fstat(file.fileno()).st_ctime_ns
    if key not in _loaded:
        _loaded[key] = _load(file)
    return copy.deepcopy(_loaded[key])
