"""PyTorch's settings for the whole process, while a model is trained in it and afterwards."""

from collections.abc import Iterator
from contextlib import contextmanager

import torch

from chattpl.environment import restored

# What `full_determinism` sets, which a process that is started later would take over.
DETERMINISTIC = (
    "CUDA_LAUNCH_BLOCKING",
    "CUBLAS_WORKSPACE_CONFIG",
    "FLASH_ATTENTION_DETERMINISTIC",
    "ASCEND_LAUNCH_BLOCKING",
    "HCCL_DETERMINISTIC",
)


@contextmanager
def settings_of_a_training() -> Iterator[None]:
    """Train without cuDNN's attention, and put back afterwards what the trainer changed.

    Given a mask, as padded batches need one, the backward pass of cuDNN's attention gives NaN on an H100 or H200 where
    the longest sample of a batch has a length of 64 modulo 128 (https://github.com/pytorch/pytorch/issues/196678).
    An evaluation and further trainings follow in this process, which did not ask for `full_determinism`.
    """
    attention, cudnn = torch.backends.cuda.cudnn_sdp_enabled(), torch.backends.cudnn
    kernels = cudnn.deterministic, cudnn.benchmark
    strict, warns = torch.are_deterministic_algorithms_enabled(), torch.is_deterministic_algorithms_warn_only_enabled()
    torch.backends.cuda.enable_cudnn_sdp(False)
    try:
        with restored(DETERMINISTIC):
            yield
    finally:
        torch.backends.cuda.enable_cudnn_sdp(attention)
        torch.use_deterministic_algorithms(strict, warn_only=warns)
        cudnn.deterministic, cudnn.benchmark = kernels
