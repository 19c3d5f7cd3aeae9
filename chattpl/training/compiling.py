"""Elementwise work compiled to single kernels on a GPU, where its memory is what it waits for."""

import functools
import logging
from collections.abc import Callable
from typing import Any

import torch

logger = logging.getLogger(__name__)


@functools.cache
def compiled(function: Callable[..., Any], device: str) -> Callable[..., Any]:
    """`function`, on a GPU compiled for any shapes. On a CPU, and where no compiler works, which is said, as it is."""
    if device == "cpu" or not _works():
        return function
    made: Callable[..., Any] = torch.compile(function, dynamic=True, fullgraph=True)
    return made


@functools.cache
def _works() -> bool:
    try:
        double = torch.compile(lambda numbers: numbers * 2 + 1, fullgraph=True)
        return float(double(torch.ones(8, device="cuda")).sum()) == 24.0
    except Exception as error:  # whatever a compiler that is missing or broken raises
        logger.warning("nothing is compiled and training takes longer (%s)", type(error).__name__)
        return False
