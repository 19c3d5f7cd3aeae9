"""GRPO with `trl.GRPOTrainer`, its rollouts made by the engine that evaluates.

The reward is 1 for an answer that the task's own grader calls correct, else 0. Rollouts start from the very prompt
ids that evaluation uses, stop as evaluation stops, and carry the sampler's log-probabilities, with which TRL corrects
for the difference between sampler and trainer (truncated importance sampling).
"""

import logging
from collections.abc import Iterator, Sequence
from typing import Any

import torch
from transformers import PreTrainedModel
from trl import GRPOConfig, GRPOTrainer

from chattpl.cell import digest
from chattpl.errors import UserError
from chattpl.formats import decode_completion
from chattpl.generation import Engine, Sampling
from chattpl.tasks import Sample, Task
from chattpl.training.data import grpo_dataset
from chattpl.training.run import Job, callbacks, load_model, train, trainer_arguments

logger = logging.getLogger(__name__)


class Rollouts:
    """What `GRPOTrainer` takes for its vLLM: the running engine, on the trainer's live weights.

    The two methods are those of `trl.generation.VLLMGeneration` that the trainer calls.
    """

    def __init__(self, engine: Engine, sampling: Sampling, prompts: Sequence[list[int]], seed: int):
        self._engine = engine
        self._sampling = sampling
        self._prompts = {tuple(prompt) for prompt in prompts}
        self._seed = seed
        self.trainer: GRPOTrainer | None = None

    def sync_weights(self) -> None:
        """Hand the trainer's weights to the engine."""
        self._engine.load_weights(self._parameters())

    def _parameters(self) -> Iterator[tuple[str, torch.Tensor]]:
        model = self.trainer.accelerator.unwrap_model(self.trainer.model)
        tied = set(getattr(model, "all_tied_weights_keys", None) or ())
        for name, parameter in model.named_parameters():
            if name not in tied:
                yield name, parameter.detach()

    def generate(
        self, prompts: list[list[int]], images: None, num_generations: int, profiler: Any = None
    ) -> tuple[list[list[int]], list[list[int]], list[list[list[float]]], None]:
        """Prompt ids, completion ids, and log-probabilities of shape (prompts, tokens, 1), in nats."""
        for prompt in prompts:
            assert tuple(prompt) in self._prompts, "a rollout would start from other ids than evaluation uses"
        step = self.trainer.state.global_step
        seeds = [int(digest([self._seed, step, index])[:8], 16) >> 1 for index in range(len(prompts))]
        completions = self._engine.generate(prompts, self._sampling, seeds)
        self._engine.sleep()
        self.trainer._last_loaded_step = -1  # an engine that slept has no weights any more
        logprobs = [[[value] for value in completion.logprobs] for completion in completions]
        return prompts, [completion.token_ids for completion in completions], logprobs, None


class RolloutTrainer(GRPOTrainer):
    """`GRPOTrainer` whose dataset holds token ids as prompts and whose sampler is handed in."""

    def __init__(self, *, rollouts: Rollouts, **arguments: Any):
        super().__init__(**arguments)
        # With use_vllm in the configuration the trainer would start a second engine of its own.
        self.use_vllm = True
        self.vllm_generation = rollouts
        self._last_loaded_step = -1
        rollouts.trainer = self

    def _tokenize_prompts(self, prompts: list[list[int]]) -> tuple[list[list[int]], None, dict]:
        return prompts, None, {}


def train_grpo(
    job: Job, samples: Sequence[Sample], task: Task, engine: Engine
) -> tuple[PreTrainedModel, dict[str, Any]]:
    """The trained model, and what `train.json` says of how it went."""
    config = job.config
    length = config.grpo.get("max_completion_length", 256)
    if length >= engine.max_model_len:
        raise UserError(f"grpo.max_completion_length={length}: the engine's context is {engine.max_model_len} tokens")
    prepared = grpo_dataset(samples, job.form, engine.max_model_len - length)
    if prepared.dropped:
        logger.warning("%d of %d prompts are too long and are left out", prepared.dropped, len(samples))
    arguments = trainer_arguments(job, GRPOConfig, config.grpo, bf16=config.grpo.get("bf16", True))
    sampling = Sampling(length, arguments.temperature, 1.0, job.stop, logprobs=True)
    rollouts = Rollouts(engine, sampling, prepared.dataset["prompt"], config.seed)

    def correct(completion_ids: list[list[int]], gold: list[str], **_: Any) -> list[float]:
        texts = [decode_completion(job.tokenizer, ids, job.stop) for ids in completion_ids]
        return [float(task.grade(text, answer).correct) for text, answer in zip(texts, gold, strict=True)]

    trainer = RolloutTrainer(
        rollouts=rollouts,
        model=load_model(job),
        reward_funcs=correct,
        args=arguments,
        train_dataset=prepared.dataset,
        processing_class=job.tokenizer,
        callbacks=callbacks(),
    )
    report = train(trainer, job)
    lengths = [entry["completions/mean_length"] for entry in report["log"] if "completions/mean_length" in entry]
    per_log = arguments.generation_batch_size * max(1, int(arguments.logging_steps))
    report |= {
        "samples": len(prepared.dataset),
        "dropped_samples": prepared.dropped,
        "tokens": round(sum(lengths) * per_log),
        "mean_reward": [[entry["step"], entry["reward"]] for entry in report["log"] if "reward" in entry],
    }
    return trainer.model, report
