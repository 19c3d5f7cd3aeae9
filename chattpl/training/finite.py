"""Trainings that end where their gradients are no numbers any more."""

import math
from typing import Any

import torch
from torch import Tensor
from torch.distributed.tensor import DTensor
from transformers import Trainer

from chattpl.errors import UserError


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
