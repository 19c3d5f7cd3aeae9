"""A model shared out among the ranks: each holds a part of every weight, its gradient and its optimizer state.

PyTorch's FSDP2 (https://arxiv.org/abs/2304.11277) gathers weights where they are computed with and hands every part of
the gradient to the rank that holds it. Gradients are added up over the ranks, in float32: a rank's loss is its part of
the step's, not a loss of its own. An adapter is small: every rank has it whole, and a part of its base at most.

A model is loaded outside a GPU's memory, where its weights are the files themselves, mapped into memory once for all
ranks. From there each rank takes its parts, a layer at a time: no GPU has to hold all weights to share them out.
"""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from accelerate.utils import is_peft_model
from safetensors.torch import load_file, save_file
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import FSDPModule, MixedPrecisionPolicy, fully_shard
from torch.distributed.tensor import DTensor
from transformers import Trainer
from transformers.modeling_layers import GradientCheckpointingLayer
from transformers.trainer_utils import rotate_checkpoints

from chattpl import ranks
from chattpl.generation.base import drawing
from chattpl.hashing import seed_of
from chattpl.training.job import TrainingJob

SHARDS = "model.safetensors"  # in a rank's checkpoint


def shard(model: Any, whole: bool, device: torch.device) -> None:
    """Put each rank's part of the model's weights on its device; of an adapter's model, of those that are not trained.

    Args:
        model: not yet on the device, the same on all ranks.
        whole: between its forward and its backward pass each rank keeps all weights, which saves gathering them a
            second time; else one layer's. The base of an adapter, which never changes, it then keeps for good.
        device: of this rank.
    """
    adapted = is_peft_model(model)
    if adapted and whole:
        model.to(device)
        return
    kept = {each for each in model.parameters() if each.requires_grad} if adapted else set()
    for each in kept:
        each.data = each.data.to(device)
    mesh = init_device_mesh(device.type, (ranks.count(),))
    policy = MixedPrecisionPolicy(reduce_dtype=torch.float32)
    layers = [module for module in model.modules() if isinstance(module, GradientCheckpointingLayer)]
    for module in (*layers, model):  # each is moved to the device when its turn comes
        fully_shard(module, mesh=mesh, mp_policy=policy, reshard_after_forward=not whole, ignored_params=kept)
    for module in (*layers, model):
        assert isinstance(module, FSDPModule)
        module.set_gradient_divide_factor(1.0)
        module.set_force_sum_reduction_for_comms(True)  # Gloo knows no other
        made, own = type(module), type(module).__bases__[1]
        made.__module__, made.__name__ = own.__module__, own.__name__  # by which others find what belongs to a model


def forget_others(model: torch.nn.Module) -> None:
    """Keep this rank's parts alone, whatever was gathered of the others' to compute with."""
    for module in model.modules():
        if isinstance(module, FSDPModule):
            module.reshard()


def unshard(model: torch.nn.Module, weights: Mapping[torch.nn.Parameter, torch.nn.Parameter]) -> None:
    """Make it a plain model again, with each of these weights wherever its parts are."""
    for module in model.modules():
        if isinstance(module, FSDPModule):
            module.__class__ = type(module).__bases__[1]
        for name, parts in module.named_parameters(recurse=False):
            if parts in weights:
                setattr(module, name, weights[parts])


def add_up_gradients(model: torch.nn.Module) -> None:
    """Over the ranks, in float32, those of weights that each has whole; FSDP2 did it for the others."""
    for each in model.parameters():
        if each.requires_grad and not isinstance(each, DTensor):
            if each.grad is None:  # of what another rank may have computed with
                each.grad = torch.zeros_like(each)
            each.grad.copy_(ranks.add_up(each.grad.float()))


@contextmanager
def drawing_apart(device: str, *place: int) -> Iterator[None]:
    """Let each rank draw for itself, as dropout does, by its number and `place`; afterwards all go on alike."""
    if ranks.count() == 1:
        yield
        return
    with drawing(seed_of(*place, ranks.rank()), device):
        yield


def folder_of(job: TrainingJob) -> Path:
    """Where this rank keeps its checkpoints. Those of another number of ranks hold other parts of the weights."""
    return Path(job.work) / f"{ranks.rank()}-of-{ranks.count()}" if ranks.count() > 1 else Path(job.work)


class ShardedTrainer(Trainer):
    """A trainer each of whose ranks, where there are several, has its part of the model, and checkpoints of its own.

    Args:
        whole: as of `shard`.
        arguments: of the trainer.
    """

    def __init__(self, *, whole: bool = True, **arguments: Any):
        self._whole = whole
        super().__init__(**arguments)
        self.accelerator.device_placement = True

    def _move_model_to_device(self, model: torch.nn.Module, device: torch.device) -> None:
        if ranks.count() == 1:
            super()._move_model_to_device(model, device)
        else:
            shard(model, self._whole, device)
            self.accelerator.device_placement = False  # for now: a reference model too is shared out, not moved

    def _save(self, output_dir: str | None = None, state_dict: dict[str, Any] | None = None) -> None:
        if ranks.count() == 1:
            super()._save(output_dir, state_dict)
            return
        folder = Path(output_dir or self.args.output_dir)
        folder.mkdir(parents=True, exist_ok=True)
        save_file({name: part.contiguous() for name, part in self._trained()}, folder / SHARDS)

    def _load_from_checkpoint(self, resume_from_checkpoint: str, model: Any = None) -> None:
        if ranks.count() == 1:
            super()._load_from_checkpoint(resume_from_checkpoint, model)
            return
        parts = load_file(Path(resume_from_checkpoint) / SHARDS)
        for name, part in self._trained():
            part.copy_(parts[name])

    def _trained(self) -> Iterator[tuple[str, torch.Tensor]]:
        """What this rank has of the weights that are trained, in the memory where it lies."""
        for name, each in self.model.named_parameters():
            if each.requires_grad:
                yield name, ranks.local(each.detach())

    def _save_checkpoint(self, model: Any, trial: Any) -> None:
        """No rank removes a checkpoint before all have the next."""
        limit, self.args.save_total_limit = self.args.save_total_limit, None
        super()._save_checkpoint(model, trial)
        self.args.save_total_limit = limit
        ranks.wait()
        rotate_checkpoints(self.args.output_dir, limit, self.state.best_model_checkpoint)
