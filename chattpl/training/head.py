"""The output layer: logits in float32, whatever the rest of a model computes in, and never all of them at once.

A logit of 20 in bfloat16 is off by up to 1/16, and with it the loss of every token and the gradient of all weights:
more than all other layers together leave out. A product of bfloat16 matrices is summed up in float32 anyway, so that
logits in float32 cost a GPU next to nothing.
"""

from typing import Any

import torch
import trl.trainer.utils
from torch import Tensor
from transformers import Trainer
from trl.trainer.utils import add_fused_lm_head

from chattpl.training.adapter import bare
from chattpl.training.compiling import compiled

# What TRL's trainers log besides the loss: the entropy, and whether a token was the most likely one.
OUTPUTS = ("log_probs", "entropy", "is_top1")
LOGITS = 1 << 27  # that are in memory at a time: half a GiB in float32


class LogProbs(torch.autograd.Function):
    """Log-probabilities of tokens in float32, from hidden states in any precision, a part of the tokens at a time.

    Takes the place of `trl.kernels.ChunkedLogProbFunction`, whose logits are rounded to the precision of the weights.
    The backward pass computes them again.
    """

    @staticmethod
    def forward(
        ctx: Any, hidden: Tensor, weight: Tensor, bias: Tensor | None, targets: Tensor, temperature: float, chunk: int,
        softcap: float | None = None, scale: float = 1.0, outputs: tuple[str, ...] = OUTPUTS,
    ) -> tuple[Tensor | None, ...]:  # fmt: skip
        """Of the `targets` (tokens,) under `hidden` (tokens, size) times `weight` (vocabulary, size).

        Returns:
            Log-probability, entropy in nats, two that are not computed, and 1 where the token is the most likely;
            (tokens,) each.
        """
        device = hidden.device.type
        kind = torch.get_autocast_dtype(device) if torch.is_autocast_enabled(device) else hidden.dtype
        kind = torch.float32 if device == "cpu" else kind  # only a GPU's kernels take half precision and give float32
        matrix = weight.to(kind)
        shape = scale / temperature, None if softcap is None else softcap / temperature
        found = [
            compiled(_scores, device)(_logits(hidden[part].to(kind), matrix, bias), targets[part], *shape)
            for part in _parts(len(hidden), len(weight))
        ]
        logprobs, entropy, top = (torch.cat(each) for each in zip(*found, strict=True))
        ctx.save_for_backward(hidden, weight, bias, targets)
        ctx.kind, ctx.shape = kind, shape
        ctx.set_materialize_grads(False)
        ctx.mark_non_differentiable(top)
        return logprobs, entropy, None, None, top

    @staticmethod
    def backward(ctx: Any, grad_logprobs: Tensor | None, grad_entropy: Tensor | None, *_: Any) -> tuple[Any, ...]:
        """The gradients of `hidden`, `weight` and `bias`, summed up in float32; of weights that are trained alone."""
        hidden, weight, bias, targets = ctx.saved_tensors
        matrix, device = weight.to(ctx.kind), hidden.device.type
        grad_hidden = torch.empty_like(hidden)
        grad_weight, grad_bias = (
            torch.zeros_like(each, dtype=torch.float32) if wanted else None
            for each, wanted in zip((weight, bias), ctx.needs_input_grad[1:3], strict=True)
        )
        for part in _parts(len(hidden), len(weight)):
            rows = hidden[part].to(ctx.kind)
            given = (None if each is None else each[part].float() for each in (grad_logprobs, grad_entropy))
            grad = compiled(_slopes, device)(_logits(rows, matrix, bias), targets[part], *ctx.shape, *given)
            if grad_bias is not None:
                grad_bias += grad.sum(0)
            grad = grad.to(ctx.kind)
            grad_hidden[part] = grad @ matrix
            if grad_weight is not None:
                _add_product(grad_weight, grad.t(), rows)
        gradients = (None if each is None else each.to(weight.dtype) for each in (grad_weight, grad_bias))
        return grad_hidden, *gradients, *(None,) * 6


def _logits(hidden: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
    """(tokens, vocabulary) in float32."""
    logits = (
        hidden @ weight.t() if hidden.dtype == torch.float32 else torch.mm(hidden, weight.t(), out_dtype=torch.float32)
    )
    return logits if bias is None else logits + bias


def _log_chances(logits: Tensor, factor: float, cap: float | None) -> Tensor:
    scores = logits * factor
    return (scores if cap is None else torch.tanh(scores / cap) * cap).log_softmax(-1)


def _scores(logits: Tensor, targets: Tensor, factor: float, cap: float | None) -> tuple[Tensor, Tensor, Tensor]:
    """Log-probability of each target, entropy, and 1 where the target is the most likely."""
    logs = _log_chances(logits, factor, cap)
    entropy = -(logs.exp() * logs).sum(-1)
    return logs.gather(-1, targets[:, None])[:, 0], entropy, (logs.argmax(-1) == targets).float()


def _slopes(
    logits: Tensor, targets: Tensor, factor: float, cap: float | None, logprob: Tensor | None, entropy: Tensor | None
) -> Tensor:
    """The gradient of the logits from those of log-probability and entropy."""
    logs = _log_chances(logits, factor, cap)
    chances = logs.exp()
    grad = torch.zeros_like(logs)
    if logprob is not None:
        right = torch.arange(logits.shape[-1], device=logits.device) == targets[:, None]
        grad = logprob[:, None] * (right.float() - chances)
    if entropy is not None:
        grad = grad - entropy[:, None] * chances * (logs - (chances * logs).sum(-1, keepdim=True))
    if cap is not None:
        grad = grad * (1 - torch.tanh(logits * factor / cap).square())
    return grad * factor


def _parts(tokens: int, vocabulary: int) -> list[slice]:
    size = max(1, LOGITS // vocabulary)
    return [slice(first, first + size) for first in range(0, max(tokens, 1), size)]


def _add_product(total: Tensor, one: Tensor, other: Tensor) -> None:
    if one.dtype == torch.float32:
        total.addmm_(one, other)
    else:
        torch.addmm(total, one, other, out_dtype=torch.float32, out=total)


def score_in_float32(trainer: Trainer) -> None:
    """Have the trainer's model, and the one that it is kept near to, score tokens in float32.

    Only tokens with a label are scored. TRL's SFT trainer has no option for this; that of its GRPO trainer keeps a
    second copy of tied weights, and multiplies in float32.
    """
    trl.trainer.utils._ChunkedLogProbFunction = LogProbs
    trl.trainer.utils._use_triton = lambda device: True  # it decides there whether tokens without a label are left out
    for model in (bare(trainer.model), getattr(trainer, "ref_model", None)):
        if model is not None:
            add_fused_lm_head(model, temperature=getattr(trainer, "temperature", 1.0), outputs=OUTPUTS)
