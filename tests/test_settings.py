"""PyTorch's settings for the whole process, which a training changes and leaves as they were."""

import os

import pytest
import torch
from conftest import training_job

from chattpl.generation.pool import EnginePool
from chattpl.training import sft
from chattpl.training.run import run_job
from chattpl.training.settings import DETERMINISTIC

SHORT = ["sft.max_steps=2", "sft.per_device_train_batch_size=4", "sft.gradient_accumulation_steps=1"]


@pytest.fixture
def seen(monkeypatch):
    """Whether each step could use cuDNN's attention, and whether its kernels had to be deterministic."""
    seen, training_step = [], sft.StepTrainer.training_step

    def watching(*arguments):
        seen.append((torch.backends.cuda.cudnn_sdp_enabled(), torch.are_deterministic_algorithms_enabled()))
        return training_step(*arguments)

    monkeypatch.setattr(sft.StepTrainer, "training_step", watching)
    torch.backends.cuda.enable_cudnn_sdp(True)
    return seen


def test_no_training_computes_attention_with_cudnn(tmp_path, seen):
    run_job(training_job(tmp_path, *SHORT), EnginePool())
    assert seen == [(False, False)] * 2
    assert torch.backends.cuda.cudnn_sdp_enabled()


def test_what_follows_a_deterministic_training_in_the_process_is_not_held_to_it(tmp_path, seen, monkeypatch):
    monkeypatch.setenv("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
    before = {name: os.environ.get(name) for name in DETERMINISTIC}
    run_job(training_job(tmp_path, *SHORT, "sft.full_determinism=true"), EnginePool())
    assert seen == [(False, True)] * 2
    assert not torch.are_deterministic_algorithms_enabled()
    assert {name: os.environ.get(name) for name in DETERMINISTIC} == before
