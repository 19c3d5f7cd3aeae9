"""One training as several processes: the same steps over the same samples, the same weights but for rounding."""

from pathlib import Path

import pytest
import torch
from conftest import training_job
from safetensors.torch import load_file

from chattpl.basemodel import EMBEDDED
from chattpl.generation.pool import EnginePool
from chattpl.train_report import TrainReport
from chattpl.training.run import run_job

SFT = [
    "device=cpu", "task.train_limit=21", "sft.max_steps=5", "sft.per_device_train_batch_size=8", "sft.logging_steps=1",
    "sft.gradient_accumulation_steps=1", "sft.learning_rate=1e-4", "sft.warmup_steps=0",
]  # fmt: skip
FLOAT32 = ["model.train_dtype=float32", "model.dtype=float32", "sft.bf16=false"]


def trained(folder: Path, *overrides: str, **changes) -> tuple[TrainReport, torch.Tensor]:
    """What a training says, and how far it moved all weights."""
    job = training_job(folder, *overrides, **changes)
    report = run_job(job, EnginePool())
    before, after = load_file(EMBEDDED / "model.safetensors"), load_file(Path(job.output) / "model.safetensors")
    assert before.keys() == after.keys()
    return report, torch.cat([(after[name].float() - before[name].float()).flatten() for name in before])


def distance(one: torch.Tensor, other: torch.Tensor) -> float:
    return float((one - other).norm() / other.norm())


def test_two_ranks_train_the_model_of_one(tmp_path):
    one, moved = trained(tmp_path / "one", *SFT, *FLOAT32)
    two, moved_by_two = trained(tmp_path / "two", *SFT, *FLOAT32, "gpus=2")
    assert (one.gpus, two.gpus) == (1, 2)
    assert [loss for _, loss in two.loss] == pytest.approx([loss for _, loss in one.loss], rel=1e-4)
    assert two.tokens == one.tokens
    assert distance(moved_by_two, moved) < 0.01
