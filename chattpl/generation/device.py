"""The device that a process computes on: one GPU, or the CPU."""

import functools
import logging
import os

from chattpl.errors import UserError

logger = logging.getLogger(__name__)

DEVICES = ("auto", "cpu", "cuda")


@functools.cache
def resolved_device(name: str) -> str:
    """`auto` is a GPU where there is one, else the CPU.

    Raises:
        UserError: a GPU is asked for and not there.
    """
    if name == "cpu":
        return "cpu"
    _take_one_gpu()
    import torch

    if torch.cuda.is_available():
        return "cuda"
    if name == "cuda":
        raise UserError("device=cuda: this machine has no GPU that PyTorch can use")
    return "cpu"


def _take_one_gpu() -> None:
    """Leave this process the first of several visible GPUs.

    With more, transformers would wrap the model in `nn.DataParallel`, which TRL refuses. CUDA reads the variable when
    it is first used, so this comes before `torch.cuda.is_available`; `device_count` asks the driver's management
    library instead.
    """
    import torch

    count = torch.cuda.device_count()
    if count < 2:
        return
    visible = os.environ.get("CUDA_VISIBLE_DEVICES", "").split(",")
    first = visible[0].strip() or "0"
    os.environ["CUDA_VISIBLE_DEVICES"] = first
    logger.info(
        "%d GPUs are visible and a process uses one: GPU %s (CUDA_VISIBLE_DEVICES chooses another)", count, first
    )
