"""What makes the same computation give the same bits in every process on a CPU."""

import functools

import torch

# The elementwise functions that PyTorch hands to MKL's vector library.
FUNCTIONS = (
    torch.abs, torch.acos, torch.asin, torch.atan, torch.cos, torch.erf, torch.erfc, torch.exp, torch.expm1,
    torch.lgamma, torch.log, torch.log10, torch.log1p, torch.log2, torch.sin, torch.sqrt, torch.tan, torch.tanh,
    torch.trunc,
)  # fmt: skip


@functools.cache
def settle() -> None:
    """Call each function of MKL's vector library once, on one element, before anything computes with several threads.

    MKL 2024 chooses a function's kernel in its first call. Where several threads make that call at once, one of them
    may compute its part with a kernel of low accuracy: about one fresh process in a thousand gets the cosines of its
    first step, and with them all weights and logits, slightly wrong.
    Source: https://github.com/pytorch/pytorch/issues/188792
    """
    for dtype in (torch.float32, torch.float64):
        one = torch.ones(1, dtype=dtype)
        for function in FUNCTIONS:
            function(one)
