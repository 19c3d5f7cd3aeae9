"""The device that a process computes on: one GPU, or the CPU."""

import functools
import gc
import platform
from pathlib import Path
from typing import Any

from chattpl.errors import UserError

DEVICES = ("auto", "cpu", "cuda")


@functools.cache
def resolved_device(name: str) -> str:
    """`auto` is a GPU where there is one, else the CPU.

    Raises:
        UserError: a GPU is asked for and not there.
    """
    if name == "cpu":
        return "cpu"
    import torch

    # Of several GPUs a process takes its own before it first uses CUDA; whoever plans a sweep takes none.
    if torch.cuda.device_count() > 1 or torch.cuda.is_available():
        return "cuda"
    if name == "cuda":
        raise UserError("device=cuda: this machine has no GPU that PyTorch can use")
    return "cpu"


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


def gpu_bytes(share: float = 1.0) -> tuple[int, int]:
    """Bytes of the GPU's memory that are free, once PyTorch gave back what it keeps of earlier work; and in all.

    Of a GPU that is shared, the part that is this process's: what the others will use is not known, nor when.
    """
    import torch

    gc.collect()  # a trainer and its model hold each other
    torch.cuda.empty_cache()
    free, total = torch.cuda.mem_get_info()
    return min(int(free), int(share * total)), int(share * total)


def conditions(device: str) -> dict[str, Any]:
    """On what this process computes, as `train.json` and `summary.json` say it: `device`, `hardware` and `threads`.

    The number of threads is PyTorch's, which is also that of vLLM's CPU kernels in the same process: they share one
    OpenMP. It decides in which order a sum is rounded, so another number gives other last bits.
    """
    import torch

    return {"device": device, "hardware": hardware(device), "threads": torch.get_num_threads()}
