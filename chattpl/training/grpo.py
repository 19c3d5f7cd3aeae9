"""GRPO with `trl.GRPOTrainer`, its rollouts made by the engine that evaluates.

The reward is 1 for an answer that the task's own grader calls correct, else 0. Rollouts start from the very prompt
ids that evaluation uses, stop as evaluation stops, and carry the sampler's log-probabilities, with which TRL corrects
for the difference between sampler and trainer (truncated importance sampling).
"""

import logging
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import torch
from transformers import PreTrainedModel
from trl import GRPOConfig, GRPOTrainer

from chattpl import basemodel
from chattpl.formats import decode_completion
from chattpl.generation import LiveEngine, Sampling
from chattpl.generation.pool import EnginePool, Model
from chattpl.hashing import seed_of
from chattpl.tasks.loading import make_task
from chattpl.training.callbacks import callbacks
from chattpl.training.data import grpo_dataset
from chattpl.training.trainer import LiveJob, load_model, train, trainer_arguments
from chattpl.training.trl_fields import value_of

logger = logging.getLogger(__name__)


class Rollouts:
    """What `GRPOTrainer` takes for its vLLM: the running engine, on the trainer's live weights.

    The two methods are those of `trl.generation.VLLMGeneration` that the trainer calls.
    """

    def __init__(self, engine: LiveEngine, sampling: Sampling, prompts: Sequence[list[int]], seed: int):
        self._engine = engine
        self._sampling = sampling
        self._prompts = {tuple(prompt) for prompt in prompts}
        self._seed = seed
        self.trainer: Any = None  # handed over by the trainer itself, which is made with these rollouts

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
        seeds = [seed_of(self._seed, step, index) for index in range(len(prompts))]
        completions = self._engine.generate(prompts, self._sampling, seeds)
        self._engine.sleep()
        self.trainer._last_loaded_step = -1  # an engine that slept has no weights any more
        logprobs = [[[value] for value in completion.logprobs or ()] for completion in completions]
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

    def _tokenize_prompts(self, prompts: list[list[int]]) -> tuple[list[list[int]], None, dict[str, Any]]:
        return prompts, None, {}


def train_grpo(live: LiveJob, pool: EnginePool) -> tuple[PreTrainedModel, dict[str, Any]]:
    """The trained model, and the course of its training (fields of `chattpl.results.Curves`).

    Raises:
        UserError: no prompt leaves room for a completion, or the engine cannot take live weights.
    """
    job, samples = live.job, live.samples
    assert job.engine is not None
    length = value_of("grpo", job.hyperparameters, "max_completion_length")
    prepared = grpo_dataset(samples, live.form, job.engine.max_model_len - length)
    if prepared.dropped:
        logger.warning("%d of %d prompts are too long and are left out", prepared.dropped, len(samples))
    arguments = trainer_arguments(job, GRPOConfig, bf16=value_of("grpo", job.hyperparameters, "bf16") is not False)
    engine = pool.live(job.engine, Model(job.base_folder, basemodel.files_fingerprint(job.base_folder)))
    sampling = Sampling(length, arguments.temperature, 1.0, live.stop, logprobs=True)
    trainer = RolloutTrainer(
        rollouts=Rollouts(engine, sampling, prepared.dataset["prompt"], job.seed),
        model=load_model(live),
        reward_funcs=_reward(live),
        args=arguments,
        train_dataset=prepared.dataset,
        processing_class=live.tokenizer,
        callbacks=callbacks(),
    )
    report = train(trainer, job)
    report |= {"samples": len(prepared.dataset), "dropped_samples": prepared.dropped}
    return trainer.model, report | _rollout_figures(report["log"], arguments)


def _reward(live: LiveJob) -> Callable[..., list[float]]:
    """1 for a completion that the task's own grader calls correct, else 0."""
    task = make_task(live.job.task)

    def correct(completion_ids: list[list[int]], gold: list[str], **_: Any) -> list[float]:
        texts = [decode_completion(live.tokenizer, ids, live.stop) for ids in completion_ids]
        return [float(task.grade(text, answer).correct) for text, answer in zip(texts, gold, strict=True)]

    return correct


def _rollout_figures(log: Sequence[dict[str, Any]], arguments: GRPOConfig) -> dict[str, Any]:
    """The tokens that were generated and the mean reward of each logged step."""
    lengths = [entry["completions/mean_length"] for entry in log if "completions/mean_length" in entry]
    completions = arguments.generation_batch_size * max(1, int(arguments.logging_steps))
    return {
        "tokens": round(sum(lengths) * completions),
        "mean_reward": [[entry["step"], entry["reward"]] for entry in log if "reward" in entry],
    }
