"""GRPO with `trl.GRPOTrainer`, its rollouts made by the engine that evaluates.

The reward is 1 for an answer that the task's own grader calls correct, else 0. Rollouts start from the very prompt
ids that evaluation uses, stop as evaluation stops, and carry the sampler's log-probabilities, with which TRL corrects
for the difference between sampler and trainer (`grpo.vllm_importance_sampling_mode`).
"""

import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any

import torch
from transformers import PreTrainedModel
from trl import GRPOConfig

from chattpl import ranks
from chattpl.formats import decode_completion, split_thought
from chattpl.generation import LiveEngine, Sampling
from chattpl.generation.pool import EnginePool, Model
from chattpl.tasks.base import check_verdicts
from chattpl.tasks.loading import make_task
from chattpl.training.adapter import adapter_config
from chattpl.training.data import Prepared, grpo_dataset
from chattpl.training.live import LiveJob, load_model
from chattpl.training.memory import batching, kept
from chattpl.training.rollouts import Rollouts, RolloutTrainer
from chattpl.training.trainer import curve, train, trainer_arguments
from chattpl.training.trl_fields import value_of

logger = logging.getLogger(__name__)

# Fields of `chattpl.train_report.Curves`: a rate, its curve, and what the trainer calls it in its log.
RATES = (
    ("truncated_rate", "truncated", "completions/clipped_ratio"),
    ("discarded_rate", "discarded", "discarded_rate"),
    ("uniform_group_rate", "uniform_groups", "uniform_group_rate"),
)


def train_grpo(live: LiveJob, pool: EnginePool) -> tuple[PreTrainedModel, dict[str, Any]]:
    """The trained model, and the course of its training (fields of `chattpl.train_report.Curves`).

    Where the device has too little memory, the training goes on from its last checkpoint in micro-batches of half as
    many completions.

    Raises:
        UserError: no prompt leaves room for a completion, or the engine cannot take live weights.
    """
    job, samples = live.job, live.samples
    assert job.engine is not None
    length = value_of("grpo", job.hyperparameters, "max_completion_length")
    prepared = grpo_dataset(samples, live.form, job.engine.max_model_len - length)
    if prepared.dropped:
        logger.warning("%d of %d prompts are too long and are left out", prepared.dropped, len(samples))
    spec = job.engine if ranks.count() == 1 else replace(job.engine, beside=kept(job))
    engine, most = pool.live(spec, Model(job.base_folder, job.inputs["base"])), None
    while True:
        pool.sleep()
        trainer = _trainer(live, engine, prepared, most)
        rows = trainer.args.per_device_train_batch_size
        try:
            report = train(trainer, job, resumable=trainer.needs_rollouts)
        except torch.OutOfMemoryError:
            most = rows // 2
            if ranks.count() > 1 or not most or not step_shape(job.hyperparameters, most):
                raise
        else:
            report |= {"samples": len(prepared.dataset), "dropped_samples": prepared.dropped}
            return trainer.model, report | _rollout_figures(report["log"], trainer.args)
        logger.warning("the device has too little memory: from here on %d completions at a time", most)
        del trainer  # and with it the model


def _trainer(live: LiveJob, engine: LiveEngine, prepared: Prepared, most: int | None) -> RolloutTrainer:
    """For micro-batches of at most so many completions, as many as fit if it is None."""
    job = live.job
    length = value_of("grpo", job.hyperparameters, "max_completion_length")
    model, bf16 = load_model(live), value_of("grpo", job.hyperparameters, "bf16") is not False
    adapter = adapter_config(job, model)
    beside = 0 if most else max(ranks.gathered(engine.slept_bytes))  # once memory did not suffice, it sleeps
    plan = batching(model, job, prepared.longest + length, bf16, adapter, beside)
    fitting = ranks.count() * (plan.tokens // (prepared.longest + length))
    shape = step_shape(job.hyperparameters, min(fitting, most or fitting))
    arguments = trainer_arguments(
        job,
        GRPOConfig,
        bf16=bf16,
        gradient_checkpointing=plan.checkpointing,
        # Of the reference model, which the trainer puts where it belongs; without one they are complained about.
        model_init_kwargs={"device_map": None} if job.hyperparameters.get("beta") else None,
        **shape,
    )
    sampling = Sampling(length, arguments.temperature, 1.0, live.stop, logprobs=True)
    return RolloutTrainer(
        rollouts=Rollouts(engine, plan.awake, sampling, prepared.dataset["prompt"], job.seed),
        micro_batch=plan.tokens,
        whole=plan.whole,
        model=model,
        reward_funcs=_reward(live, arguments.num_generations),
        args=arguments,
        train_dataset=prepared.dataset,
        processing_class=live.tokenizer,
        peft_config=adapter,
    )


def step_shape(fields: Mapping[str, Any], most: int) -> dict[str, int]:
    """The completions of a step in micro-batches of at most `most`: the largest that divide those configured, or these.

    Where each micro-batch is normalized by its own tokens (`loss_type` "bnpo"), or rollouts are shared out among
    several steps, another division would be another training: there it stays as it is configured.
    """
    rows, times, per_generation, loss = (
        value_of("grpo", fields, name)
        for name in ("per_device_train_batch_size", "gradient_accumulation_steps", "steps_per_generation", "loss_type")
    )
    whole = rows * times
    if per_generation is not None or fields.get("generation_batch_size") is not None or loss == "bnpo":
        return {}
    fitting = max(size for size in range(1, whole + 1) if whole % size == 0 and size <= max(most, 1))
    return {"per_device_train_batch_size": fitting, "gradient_accumulation_steps": whole // fitting}


def _reward(live: LiveJob, group: int) -> Callable[..., list[float]]:
    """1 for a completion that the task's own grader calls correct, else 0.

    Args:
        live: the job.
        group: how many completions in a row answer one prompt.
    """
    task, in_thought = make_task(live.job.task), live.form.opens_thought

    def correct(
        completion_ids: list[list[int]], gold: list[str], log_metric: Callable[[str, float], None], **_: Any
    ) -> list[float]:
        texts = [decode_completion(live.tokenizer, ids, live.stop) for ids in completion_ids]
        answers = [split_thought(text, in_thought)[1] for text in texts]
        rewards = []
        for answer, right in zip(answers, gold, strict=True):
            verdict = task.grade(answer, right).correct
            check_verdicts(task, right, verdict)
            rewards.append(float(verdict))
        groups = [rewards[first : first + group] for first in range(0, len(rewards), group)]
        log_metric("uniform_group_rate", sum(len(set(each)) == 1 for each in groups) / len(groups))
        return rewards

    return correct


def _rollout_figures(log: Sequence[dict[str, Any]], arguments: GRPOConfig) -> dict[str, Any]:
    """The tokens that were generated, the mean reward, and how many of the rollouts taught nothing, and why."""
    entries = [entry for entry in log if "generations" in entry]
    count = sum(entry["generations"] for entry in entries)

    def total(key: str) -> float:
        return float(sum(entry["generations"] * entry[key] for entry in entries))

    figures: dict[str, Any] = {
        "tokens": round(total("completions/mean_length") * arguments.generation_batch_size),
        "mean_reward": curve(entries, "reward"),
    }
    for rate, course, key in RATES:
        if all(key in entry for entry in entries):
            figures |= {rate: total(key) / count, course: curve(entries, key)}
    return figures
