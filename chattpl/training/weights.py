"""The trained weights: rounded to what is published, and compared with those that training began with."""

import logging
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import safe_open
from torch import Tensor
from torch.distributed.tensor import DTensor

from chattpl import ranks
from chattpl.basemodel import weight_files
from chattpl.errors import UserError
from chattpl.training.adapter import bare, weights_of
from chattpl.training.optimizer import master_of
from chattpl.training.sharding import unshard

logger = logging.getLogger(__name__)

CHUNK = 1 << 24  # elements that are compared at a time, in float64


@dataclass
class _Difference:
    """Sums over weights: how many, how many of them changed, and the squares of the change and of the first weights."""

    weights: int = 0
    changed: int = 0
    moved: float = 0.0
    size: float = 0.0

    def add(self, before: Tensor, after: Tensor) -> None:
        for old, new in zip(before.reshape(-1).split(CHUNK), after.reshape(-1).split(CHUNK), strict=True):
            self.weights += old.numel()
            self.changed += int((old != new).sum())
            self.moved += float((new.double() - old.double()).square().sum())
            self.size += float(old.double().square().sum())


@torch.no_grad()
def finish_weights(model: Any, optimizer: torch.optim.Optimizer, base: Path, dtype: torch.dtype) -> dict[str, Any]:
    """Turn each parameter into what is published: its master, rounded to `dtype`. One at a time.

    The weights of a model with an adapter are merged; it computes with them from then on. Of several ranks the first
    gets all, outside a GPU's memory.

    Returns:
        Fields of `chattpl.train_report.Curves`: how the weights differ from those in the folder `base`, as trained and
        as published, each from the base's in the same precision. Tied weights count once.

    Raises:
        UserError: a weight is not a finite number.
    """
    trained, published, first = _Difference(), _Difference(), Tensors(base)
    compared = True
    gathered: dict[torch.nn.Parameter, torch.nn.Parameter] = {}
    for names, parameter, precision in weights_of(model, keep=ranks.is_first()):
        master, weight = (
            ranks.whole(part, like=parameter) for part in (master_of(parameter, optimizer), ranks.local(parameter.data))
        )
        if not ranks.is_first():
            continue
        before = first.find(names, bare(model).base_model_prefix)
        # A weight that is trained in the precision it is published in stays as its rollouts had it.
        after = weight if weight.dtype == dtype else master.to(dtype)
        if not (master.isfinite().all() and after.isfinite().all()):
            raise UserError(f"{names[0]} has values after the training that are no finite numbers in {after.dtype}")
        if before is None or before.shape != after.shape:
            compared = False
        else:
            before = before.to(weight.device)
            trained.add(before.to(precision), master)
            published.add(before.to(dtype), after)
        after = after if ranks.count() == 1 else after.cpu()
        if isinstance(parameter, DTensor):
            gathered[parameter] = torch.nn.Parameter(after)
        else:
            parameter.data = after
    if gathered:
        unshard(model, gathered)
    return _figures(trained, published, dtype) if compared else _unknown(base)


class Tensors:
    """The tensors of a model's folder by `names`, read one at a time."""

    def __init__(self, folder: Path):
        self._file_of: dict[str, Path] = {}
        for path in weight_files(folder):
            with safe_open(path, framework="pt") as file:
                self._file_of |= dict.fromkeys(file.keys(), path)

    @property
    def names(self) -> list[str]:
        return list(self._file_of)

    def find(self, names: list[str], prefix: str) -> Tensor | None:
        """The tensor that has one of the names, with or without `prefix`; None where there is none."""
        possible = [*names, *(name.removeprefix(f"{prefix}.") for name in names)]
        name = next((each for each in possible if each in self._file_of), None)
        if name is None:
            return None
        with safe_open(self._file_of[name], framework="pt") as file:
            tensor: Tensor = file.get_tensor(name)
        return tensor


def _figures(trained: _Difference, published: _Difference, dtype: torch.dtype) -> dict[str, Any]:
    both = {"trained": trained, "published": published}
    shares = {key: each.changed / max(1, each.weights) for key, each in both.items()}
    distances = {key: (each.moved / each.size) ** 0.5 if each.size else 0.0 for key, each in both.items()}
    logger.info(
        "%.1f %% of the weights changed, by %.2g of their length; published in %s, %.1f %% by %.2g",
        100 * shares["trained"], distances["trained"],
        str(dtype).removeprefix("torch."), 100 * shares["published"], distances["published"],
    )  # fmt: skip
    return {"changed_weights": shares, "relative_distance": distances}


def _unknown(base: Path) -> dict[str, Any]:
    logger.info("how far the weights went is not known: the files in %s name them otherwise", base)
    return {"changed_weights": None, "relative_distance": None}
