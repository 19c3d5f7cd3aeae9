"""A training whose gradients are no numbers any more: it ends there, says so, and publishes nothing."""

import math
from pathlib import Path

import pytest
import torch
from conftest import training_job
from transformers import AutoModelForCausalLM

from chattpl.basemodel import EMBEDDED
from chattpl.errors import UserError
from chattpl.generation.pool import EnginePool
from chattpl.training import sft
from chattpl.training.grpo import train_grpo
from chattpl.training.live import LiveJob
from chattpl.training.optimizer import MasterAdamW
from chattpl.training.rollouts import RolloutTrainer
from chattpl.training.sft import train_sft
from chattpl.training.weights import finish_weights

SHORT = ["sft.max_steps=6", "sft.per_device_train_batch_size=4", "sft.gradient_accumulation_steps=1"]
ROLLOUTS = ["method=grpo", "grpo.max_steps=3", "grpo.per_device_train_batch_size=8", "grpo.num_generations=4",
            "grpo.gradient_accumulation_steps=1", "grpo.max_completion_length=8",
            "engine.name=transformers"]  # fmt: skip


@pytest.fixture
def broken_from(monkeypatch):
    """Makes a gradient of a step no number."""

    def at(step: int, kind: type = sft.StepTrainer) -> None:
        training_step = kind.training_step

        def breaking(trainer, model, *arguments):
            loss = training_step(trainer, model, *arguments)
            if trainer.state.global_step == step - 1:
                next(model.parameters()).grad.fill_(math.nan)
            return loss

        monkeypatch.setattr(kind, "training_step", breaking)

    return at


def test_the_step_whose_gradient_is_not_finite_is_named(tmp_path, broken_from):
    broken_from(3)
    job = training_job(tmp_path, *SHORT, "sft.logging_steps=5")
    with pytest.raises(UserError, match="the gradient of step 3 is not finite"):
        train_sft(LiveJob.of(job), EnginePool())


def test_no_checkpoint_is_written_after_it(tmp_path, broken_from):
    broken_from(3)
    job = training_job(tmp_path, *SHORT, "sft.logging_steps=100", "sft.save_steps=2", "sft.save_total_limit=null")
    with pytest.raises(UserError, match="not finite"):
        train_sft(LiveJob.of(job), EnginePool())
    assert [each.name for each in Path(job.work).glob("checkpoint-*")] == ["checkpoint-2"]


def test_it_is_seen_in_the_last_step_even_where_nothing_is_logged(tmp_path, broken_from):
    broken_from(6)
    job = training_job(tmp_path, *SHORT, "sft.logging_strategy=no", "sft.save_strategy=no")
    with pytest.raises(UserError, match="the gradient of step 6 is not finite"):
        train_sft(LiveJob.of(job), EnginePool())


def test_grpo_ends_there_too(tmp_path, broken_from):
    broken_from(2, RolloutTrainer)
    with pytest.raises(UserError, match="the gradient of step 2 is not finite"):
        train_grpo(LiveJob.of(training_job(tmp_path, *ROLLOUTS)), EnginePool())


def test_a_weight_that_is_no_number_is_not_published():
    model = AutoModelForCausalLM.from_pretrained(EMBEDDED)
    with torch.no_grad():
        model.model.norm.weight[0] = math.inf
    with pytest.raises(UserError, match=r"model\.norm\.weight has values .* no finite numbers"):
        finish_weights(model, MasterAdamW(model.parameters()), EMBEDDED, torch.bfloat16)


def test_a_weight_that_the_published_data_type_cannot_hold_is_not_published():
    model = AutoModelForCausalLM.from_pretrained(EMBEDDED)
    with torch.no_grad():
        model.model.norm.weight[0] = 1e5
    with pytest.raises(UserError, match=r"no finite numbers in torch\.float16"):
        finish_weights(model, MasterAdamW(model.parameters()), EMBEDDED, torch.float16)
