"""AdamW for bfloat16 weights, with updates as fine as those of float32 weights.

A weight in bfloat16 has eight significant bits, so an update of less than 1/500 of the weight rounds away. Here each
weight is the upper half of a float32 master, rounded half up, and the optimizer keeps what rounding left out. Twelve
bytes a parameter: weight, gradient, rest and first moment two each, the second moment four.
"""

import logging
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from chattpl import ranks
from chattpl.ranks import local
from chattpl.training.compiling import compiled

logger = logging.getLogger(__name__)

# Elements that are updated at a time. What is computed in float32 on the way stays small, on a CPU within its cache.
CHUNKS = {"cpu": 1 << 16, "cuda": 1 << 26}


@dataclass
class _Kept:
    """The update of a group of parameters as a graph, and where it reads the gradients and its numbers."""

    places: tuple[int, ...]
    graph: Any = None
    numbers: Any = None


class MasterAdamW(torch.optim.Optimizer):
    """`torch.optim.AdamW` (decoupled weight decay, https://arxiv.org/abs/1711.05101) with float32 masters.

    Takes bfloat16 parameters; single ones that a model keeps in float32 need no master. The first moment is kept in the
    parameter's precision, the second, whose relative changes are smaller, in float32. On a GPU the update is compiled,
    where that is possible. Of a parameter that is shared out among ranks each updates its own part.

    Args:
        params: parameters or groups of them.
        lr, betas, eps, weight_decay: as of `torch.optim.AdamW`.

    Raises:
        ValueError: a parameter is neither bfloat16 nor float32.
    """

    def __init__(
        self,
        params: Iterable[Any],
        lr: float = 1e-3,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-8,
        weight_decay: float = 1e-2,
    ):
        super().__init__(params, {"lr": lr, "betas": betas, "eps": eps, "weight_decay": weight_decay})
        self._graphs: dict[int, _Kept] = {}
        self._capturable = ranks.count() == 1  # others' gradients lie elsewhere in each step
        for parameter in (each for group in self.param_groups for each in group["params"]):
            if parameter.dtype not in (torch.bfloat16, torch.float32):
                raise ValueError(f"a parameter of {parameter.dtype} cannot have a float32 master in these bits")

    @torch.no_grad()
    def step(self, closure: Callable[[], Any] | None = None) -> Any:
        """Update every parameter that has a gradient."""
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        for group in self.param_groups:
            present = [each for each in group["params"] if each.grad is not None]
            for parameter in present:
                state = self.state[parameter]
                if not state:
                    state.update(_fresh_state(local(parameter.detach())))
                state["step"] += 1
            self._update_all(group, present)
        return loss

    def _update_all(self, group: dict[str, Any], parameters: Sequence[Tensor]) -> None:
        """On a GPU by a graph, once the gradients lie where they lay before: its kernels are short and many."""
        numbers = {self.state[each]["step"]: torch.empty(0) for each in parameters}
        places = tuple(local(each.grad).data_ptr() for each in parameters if each.grad is not None)
        kept = self._graphs.get(id(group))
        if kept is not None and kept.graph is not None and kept.places == places and len(numbers) == 1:
            kept.numbers.copy_(_numbers(group, *numbers))
            kept.graph.replay()
            return
        for step in numbers:
            numbers[step] = _numbers(group, step).to(parameters[0].device)
        for parameter in parameters:
            self._update(parameter, numbers[self.state[parameter]["step"]])
        if len(numbers) == 1 and parameters[0].device.type == "cuda" and self._capturable:
            seen = kept is not None and kept.places == places
            self._graphs[id(group)] = self._captured(parameters, places, *numbers.values()) if seen else _Kept(places)

    def _captured(self, parameters: Sequence[Tensor], places: tuple[int, ...], numbers: Tensor) -> "_Kept":
        graph = torch.cuda.CUDAGraph()
        torch.cuda.synchronize()
        try:
            with torch.cuda.graph(graph, capture_error_mode="thread_local"):
                for parameter in parameters:
                    self._update(parameter, numbers)
        except RuntimeError as error:
            self._capturable = False
            logger.warning("the optimizer goes without a CUDA graph: %s", str(error).splitlines()[0])
            return _Kept(places)
        return _Kept(places, graph, numbers)

    def _update(self, parameter: Tensor, numbers: Tensor) -> None:
        state, weight = self.state[parameter], local(parameter.detach())
        changing = [weight, state["exp_avg"], state["exp_avg_sq"]]
        update: Callable[..., None] = _adamw
        if "rest" in state:
            changing[:1] = [weight.view(torch.int16), state["rest"]]
            update = compiled(_split_adamw, parameter.device.type)
        assert parameter.grad is not None
        flat = [local(parameter.grad).reshape(-1), *(tensor.view(-1) for tensor in changing)]
        for pieces in zip(*(tensor.split(CHUNKS[parameter.device.type]) for tensor in flat), strict=True):
            update(*pieces, numbers)

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Go on from `state_dict`, to the bit: PyTorch's own method would cast all state to bfloat16."""
        self._graphs.clear()
        super().load_state_dict({**state_dict, "state": {}})
        for group, saved in zip(self.param_groups, state_dict["param_groups"], strict=True):
            for parameter, key in zip(group["params"], saved["params"], strict=True):
                for name, value in state_dict["state"].get(key, {}).items():
                    self.state[parameter][name] = value.to(parameter.device) if torch.is_tensor(value) else value


@torch.no_grad()
def master_of(parameter: Tensor, optimizer: torch.optim.Optimizer) -> Tensor:
    """The parameter in float32: its master where the optimizer keeps one, else its own value.

    Of the shape of the parameter, or of this rank's part of it.
    """
    rest, weight = optimizer.state.get(parameter, {}).get("rest"), local(parameter.detach())
    return weight.float() if rest is None else _join(weight.view(torch.int16), rest)


def _fresh_state(parameter: Tensor) -> dict[str, Any]:
    moment = torch.zeros_like(parameter, memory_format=torch.contiguous_format)
    state = {"step": 0, "exp_avg": moment, "exp_avg_sq": torch.zeros_like(moment, dtype=torch.float32)}
    if parameter.dtype == torch.bfloat16:
        state["rest"] = torch.zeros_like(moment, dtype=torch.int16)
    return state


def _numbers(group: dict[str, Any], step: int) -> Tensor:
    """What the update needs beside the tensors, computed in float64 and of one shape, so that it is compiled once."""
    (beta1, beta2), rate = group["betas"], group["lr"]
    step_size, root = rate / (1 - beta1**step), (1 - beta2**step) ** 0.5
    return torch.tensor([1 - beta1, beta2, 1 - beta2, root, group["eps"], step_size, rate * group["weight_decay"]])


def _adamw(grad: Tensor, weight: Tensor, exp_avg: Tensor, exp_avg_sq: Tensor, numbers: Tensor) -> None:
    """One update in float32; `weight` and the moments change in place."""
    fresh1, beta2, fresh2, root, eps, step_size, decay = numbers.unbind()
    gradient = grad.float()
    mean = exp_avg.float().lerp(gradient, fresh1)
    exp_avg.copy_(mean)
    exp_avg_sq.mul_(beta2).add_(gradient.square().mul_(fresh2))
    denominator = exp_avg_sq.sqrt().div_(root).add_(eps)
    weight.sub_(mean.div_(denominator).mul_(step_size).add_(weight * decay))


def _split_adamw(
    grad: Tensor, bits: Tensor, rest: Tensor, exp_avg: Tensor, exp_avg_sq: Tensor, numbers: Tensor
) -> None:
    """One update of weights that are split into the bits of their bfloat16 value and the rest, both int16."""
    master = _join(bits, rest)
    _adamw(grad, master, exp_avg, exp_avg_sq, numbers)
    _split(master, bits, rest)


def _split(master: Tensor, bits: Tensor, rest: Tensor) -> None:
    """Write the upper halves of float32 numbers, rounded half up, into `bits`, and the differences into `rest`."""
    whole = master.view(torch.int32)
    upper = (whole + 0x8000) >> 16
    bits.copy_(upper)
    rest.copy_(whole - (upper << 16))


def _join(bits: Tensor, rest: Tensor) -> Tensor:
    """The float32 numbers that `_split` took apart."""
    return ((bits.int() << 16) + rest).view(torch.float32)
