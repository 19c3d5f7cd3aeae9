"""The device that a process computes on: one GPU, or the CPU."""

import functools
import gc
import logging
import os
import platform
from pathlib import Path
from typing import Any

from chattpl.errors import UserError

logger = logging.getLogger(__name__)

DEVICES = ("auto", "cpu", "cuda")


@functools.cache
def resolved_device(name: str, gpus: int = 1) -> str:
    """`auto` is a GPU where there is one, else the CPU. Leaves this process as many as it is to use.

    Raises:
        UserError: a GPU is asked for and not there, or another number of them than this process uses already.
    """
    if name == "cpu":
        return "cpu"
    _take_gpus(gpus)
    import torch

    if torch.cuda.is_available():
        return "cuda"
    if name == "cuda":
        raise UserError("device=cuda: this machine has no GPU that PyTorch can use")
    return "cpu"


@functools.cache
def visible_gpus() -> tuple[str, ...]:
    """The GPUs that this process was given, as CUDA_VISIBLE_DEVICES names them."""
    import torch

    names = [name.strip() for name in os.environ.get("CUDA_VISIBLE_DEVICES", "").split(",")]
    count = torch.cuda.device_count()
    return tuple(names[:count] if names[0] else map(str, range(count)))


def _take_gpus(count: int) -> None:
    """Leave this process the first of several visible GPUs, or the first `count`.

    With more than one, transformers would wrap the model in `nn.DataParallel`, which TRL refuses. CUDA reads the
    variable when it is first used, so this comes before `torch.cuda.is_available`; `device_count` asks the driver's
    management library instead.
    """
    import torch

    visible, taken = visible_gpus(), ",".join(visible_gpus()[:count])
    if len(visible) < 2:
        return
    if torch.cuda.is_initialized() and os.environ.get("CUDA_VISIBLE_DEVICES", taken) != taken:
        raise UserError(f"gpus={count}: this process uses another number of cards already; run it in another command")
    os.environ["CUDA_VISIBLE_DEVICES"] = taken
    logger.info(
        "%d GPUs are visible and a process uses %s: GPU %s (CUDA_VISIBLE_DEVICES chooses another)",
        len(visible), "one" if count == 1 else f"gpus={count}", taken,
    )  # fmt: skip


@functools.cache
def hardware(device: str) -> str:
    """The name of the GPU, or the model of the CPU: as Linux gives it, elsewhere the architecture."""
    if device != "cpu":
        import torch

        return str(torch.cuda.get_device_name())
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        lines = []
    names = (line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    return next(names, platform.processor() or platform.machine())


def gpu_bytes() -> tuple[int, int]:
    """Bytes of the GPU's memory that are free, once PyTorch gave back what it keeps of earlier work; and in all."""
    import torch

    gc.collect()  # a trainer and its model hold each other
    torch.cuda.empty_cache()
    free, total = torch.cuda.mem_get_info()
    return int(free), int(total)


def conditions(device: str) -> dict[str, Any]:
    """On what this process computes, as `train.json` and `summary.json` say it: `device`, `hardware` and `threads`.

    The number of threads is PyTorch's, which is also that of vLLM's CPU kernels in the same process: they share one
    OpenMP. It decides in which order a sum is rounded, so another number gives other last bits.
    """
    import torch

    return {"device": device, "hardware": hardware(device), "threads": torch.get_num_threads()}
