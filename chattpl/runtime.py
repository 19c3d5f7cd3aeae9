"""What a process has once: its environment and the engine."""

import functools
import os
import warnings
from pathlib import Path
from typing import Any

from chattpl.generation.pool import EnginePool

ENVIRONMENT = {
    # Each cell has its own lines of progress; what libraries add to them is noise where nobody watches a bar.
    "HF_HUB_DISABLE_PROGRESS_BARS": "1",
    "HF_DATASETS_DISABLE_PROGRESS_BARS": "1",
    "TQDM_DISABLE": "1",
    "TRANSFORMERS_VERBOSITY": "error",
    "HF_HUB_DISABLE_TELEMETRY": "1",
    # PyTorch's libraries warn of what an engine in this process does by design: binds memory, ends with the process.
    "TORCH_CPP_LOG_LEVEL": "ERROR",
    # Without large pages a CPU spends a sixth of a training step on handing out memory.
    "THP_MEM_ALLOC_ENABLE": "1",
}


class Runtime:
    """The state of one process. `runtime()` gives the one of this process.

    Attributes:
        pool: holds the engine, whatever number of jobs run here.
        sweep: folder of the sweep that this process started, until it is concluded.
        outcomes: of the jobs of a sweep that did not have to run.
        verdict: what is wrong with the sweep that this process started, once it is over.
    """

    def __init__(self) -> None:
        for name, value in ENVIRONMENT.items():
            os.environ.setdefault(name, value)
        warnings.filterwarnings("ignore", category=FutureWarning)
        # Hydra 1.4 says what 1.5 will want of an application; whoever runs this one can do nothing about it.
        warnings.filterwarnings("ignore", r"(?s).*(version_base|register_new_resolver|_execution_whitelist_)")
        self.pool = EnginePool()
        self.sweep: Path | None = None
        self.outcomes: list[Any] = []
        self.verdict: Exception | None = None


@functools.cache
def runtime() -> Runtime:
    """The one of this process, made when it is first asked for."""
    return Runtime()
