"""A model shared out among the ranks: each holds a part of every weight, its gradient and its optimizer state.

PyTorch's FSDP2 (https://arxiv.org/abs/2304.11277) gathers weights where they are computed with and hands every part of
the gradient to the rank that holds it. Gradients are added up over the ranks, in float32: a rank's loss is its part of
the step's, not a loss of its own.
"""

from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import FSDPModule, MixedPrecisionPolicy, fully_shard
from transformers import PreTrainedModel, Trainer
from transformers.modeling_layers import GradientCheckpointingLayer
from transformers.trainer_utils import rotate_checkpoints

from chattpl import ranks
from chattpl.training.job import TrainingJob

SHARDS = "model.safetensors"  # in a rank's checkpoint


def shard(model: PreTrainedModel, whole: bool, device: str) -> None:
    """Leave each rank its part of the model's weights.

    Args:
        model: on the device, the same on all ranks.
        whole: between its forward and its backward pass each rank keeps all weights, which saves gathering them a
            second time; else one layer's.
        device: "cpu" or "cuda".
    """
    mesh = init_device_mesh(device, (ranks.count(),))
    policy = MixedPrecisionPolicy(reduce_dtype=torch.float32)
    layers = [module for module in model.modules() if isinstance(module, GradientCheckpointingLayer)]
    for module in (*layers, model):
        fully_shard(module, mesh=mesh, mp_policy=policy, reshard_after_forward=not whole)
    for module in (*layers, model):
        assert isinstance(module, FSDPModule)
        module.set_gradient_divide_factor(1.0)
        module.set_force_sum_reduction_for_comms(True)  # Gloo knows no other


def unshard(model: PreTrainedModel, weights: dict[str, torch.nn.Parameter]) -> None:
    """Make it a plain model again, with these weights under all their names."""
    for module in model.modules():
        if isinstance(module, FSDPModule):
            module.__class__ = type(module).__bases__[1]
    for name, weight in weights.items():
        place, _, own = name.rpartition(".")
        setattr(model.get_submodule(place), own, weight)


def folder_of(job: TrainingJob) -> Path:
    """Where this rank keeps its checkpoints. Those of another number of ranks hold other parts of the weights."""
    return Path(job.work) / f"{ranks.rank()}-of-{ranks.count()}" if ranks.count() > 1 else Path(job.work)


class ShardedTrainer(Trainer):
    """A trainer each of whose ranks keeps its part of the model, where there are several, in checkpoints of its own."""

    def _save(self, output_dir: str | None = None, state_dict: dict[str, Any] | None = None) -> None:
        if ranks.count() == 1:
            super()._save(output_dir, state_dict)
            return
        folder = Path(output_dir or self.args.output_dir)
        folder.mkdir(parents=True, exist_ok=True)
        parts = {name: ranks.local(each.detach()).contiguous() for name, each in self.model.named_parameters()}
        save_file(parts, folder / SHARDS)

    def _load_from_checkpoint(self, resume_from_checkpoint: str, model: Any = None) -> None:
        if ranks.count() == 1:
            super()._load_from_checkpoint(resume_from_checkpoint, model)
            return
        parts = load_file(Path(resume_from_checkpoint) / SHARDS)
        with torch.no_grad():
            for name, parameter in self.model.named_parameters():
                ranks.local(parameter).copy_(parts[name])

    def _save_checkpoint(self, model: Any, trial: Any) -> None:
        """No rank removes a checkpoint before all have the next."""
        limit, self.args.save_total_limit = self.args.save_total_limit, None
        super()._save_checkpoint(model, trial)
        self.args.save_total_limit = limit
        ranks.wait()
        rotate_checkpoints(self.args.output_dir, limit, self.state.best_model_checkpoint)
