"""The processes of one training: which of them this one is, and what they tell each other.

With `gpus=1` there is one, and nothing here does anything. Otherwise every rank runs the whole program on the same
samples and takes its share of the computation alone, so that all of them decide the same: libraries below are not told
that they are several.
"""

import contextlib
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from chattpl.environment import restored

if TYPE_CHECKING:
    from torch import Tensor

Value = TypeVar("Value")

# Who waits for another rank waits as long as that one computes; whoever started them ends them all if one dies.
PATIENCE = timedelta(days=7)
BACKENDS = {"cpu": "gloo", "cuda": "cpu:gloo,cuda:nccl"}


@dataclass(frozen=True)
class Ranks:
    """This process is the `rank`-th of `count`, from 0."""

    rank: int = 0
    count: int = 1


_ours = Ranks()


@contextlib.contextmanager
def joined(ranks: Ranks, folder: Path, device: str) -> Iterator[None]:
    """Be one of `ranks.count` processes that meet in `folder`, an empty one on this machine."""
    global _ours
    import torch

    where = f"file://{(folder / 'meeting').absolute()}"
    torch.distributed.init_process_group(
        BACKENDS[device], init_method=where, rank=ranks.rank, world_size=ranks.count, timeout=PATIENCE
    )
    before, _ours = _ours, ranks
    try:
        yield
    finally:
        _ours = before
        if torch.distributed.is_initialized():  # vLLM ends it with its engine
            torch.distributed.destroy_process_group()


def rank() -> int:
    """Of this process, from 0."""
    return _ours.rank


def count() -> int:
    """How many processes compute this training."""
    return _ours.count


def is_first() -> bool:
    """Whether this is the process that speaks and publishes for all."""
    return _ours.rank == 0


def wait() -> None:
    """Until all ranks are here."""
    gathered(None)


def gathered(value: Value) -> list[Value]:
    """What each rank gives, which can be pickled; the same list on all."""
    if _ours.count == 1:
        return [value]
    import torch

    values: list[Any] = [None] * _ours.count
    torch.distributed.all_gather_object(values, value)  # on the CPU, which all of BACKENDS serve
    return values


def add_up(tensor: "Tensor") -> "Tensor":
    """The sum over the ranks, in place and without a gradient."""
    if _ours.count > 1:
        import torch

        torch.distributed.all_reduce(tensor)
    return tensor


def local(tensor: "Tensor") -> "Tensor":
    """This rank's part of a tensor that is shared out among the ranks, in the same memory; any other as it is."""
    from torch.distributed.tensor import DTensor

    return tensor.to_local() if isinstance(tensor, DTensor) else tensor


def whole(part: "Tensor", like: "Tensor") -> "Tensor":
    """All of a tensor that is shared out as `like` is, of which this rank has `part`. All ranks must ask together."""
    from torch.distributed.tensor import DTensor

    if not isinstance(like, DTensor):
        return part
    mesh, placements = like.device_mesh, like.placements
    parts = DTensor.from_local(part, mesh, placements, run_check=False, shape=like.shape, stride=like.stride())
    return parts.full_tensor()


def shares(weights: Sequence[int]) -> list[list[int]]:
    """The places of `weights` for each rank: the heaviest goes first, always to whoever has least. Each share rises."""
    totals, parts = [0] * _ours.count, [list[int]() for _ in range(_ours.count)]
    for place in sorted(range(len(weights)), key=lambda each: -weights[each]):
        least = min(range(_ours.count), key=lambda each: totals[each])
        totals[least] += weights[place]
        parts[least].append(place)
    return [sorted(part) for part in parts]


@contextlib.contextmanager
def told() -> Iterator[None]:
    """Meanwhile the environment says which rank this is, with a device of its own, as `torchrun` would."""
    added = {"RANK": str(_ours.rank), "LOCAL_RANK": "0", "WORLD_SIZE": str(_ours.count)} if _ours.count > 1 else {}
    with restored(added):
        os.environ.update(added)
        yield
