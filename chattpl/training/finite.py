"""Trainings that stay among the numbers: what makes gradients that are none is left out, and where one is, it ends."""

import math
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor
from torch.distributed.tensor import DTensor
from transformers import Trainer

from chattpl.errors import UserError


@contextmanager
def without_cudnn_attention() -> Iterator[None]:
    """Have `scaled_dot_product_attention` choose among PyTorch's own kernels.

    Given a mask, as padded batches need one, cuDNN's backward pass gives NaN on an H100 or H200 for a batch whose
    longest sample has a length of 64 modulo 128 (https://github.com/pytorch/pytorch/issues/196678).
    """
    before = torch.backends.cuda.cudnn_sdp_enabled()
    torch.backends.cuda.enable_cudnn_sdp(False)
    try:
        yield
    finally:
        torch.backends.cuda.enable_cudnn_sdp(before)


class FiniteTrainer(Trainer):
    """A trainer that ends where a gradient is not finite: the weights that it leads to are no numbers.

    The device keeps which step was the first. It is asked when something is logged, for which it is waited for anyway,
    and so before each checkpoint. A scaler of float16 gradients leaves such steps out itself.
    """

    _first_lost: Tensor | None = None  # a step, or infinity

    def _maybe_log_save_evaluate(
        self, tr_loss: Tensor, grad_norm: Tensor | float | None, *arguments: Any, **named: Any
    ) -> None:
        if grad_norm is not None and self.accelerator.scaler is None:
            norm = grad_norm.full_tensor() if isinstance(grad_norm, DTensor) else torch.as_tensor(grad_norm)
            lost = torch.where(norm.isfinite(), math.inf, float(self.state.global_step))
            self._first_lost = lost if self._first_lost is None else torch.minimum(self._first_lost, lost)
        if self.control.should_log:
            self.check_gradients()
        super()._maybe_log_save_evaluate(tr_loss, grad_norm, *arguments, **named)

    def check_gradients(self) -> None:
        """See that all were finite so far.

        Raises:
            UserError: one was not.
        """
        step = math.inf if self._first_lost is None else float(self._first_lost)
        if step < math.inf:
            raise UserError(
                f"the gradient of step {step:.0f} is not finite, and no weight would be a number after it; "
                "a lower learning rate may help, or another model.attn_implementation"
            )
