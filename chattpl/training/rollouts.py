"""GRPO's trainer: `trl.GRPOTrainer` with rollouts made by the engine that evaluates, resumed exactly where it was."""

from collections.abc import Iterator, Sequence
from typing import Any

import torch
from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments
from transformers.trainer_callback import ExportableState
from trl.trainer.utils import RepeatSampler

from chattpl import ranks
from chattpl.generation import Completion, LiveEngine, Sampling
from chattpl.hashing import seed_of
from chattpl.training.adapter import bare, weights_of
from chattpl.training.finite import FiniteTrainer
from chattpl.training.policy import PackedPolicy
from chattpl.training.sharding import ShardedTrainer, add_up_gradients


class Rollouts:
    """What `GRPOTrainer` takes for its vLLM and its rollout function: the running engine, on the live weights."""

    def __init__(self, engine: LiveEngine, awake: bool, sampling: Sampling, prompts: Sequence[list[int]], seed: int):
        self._engine = engine
        self._awake = awake
        self._sampling = sampling
        self._prompts = {tuple(prompt) for prompt in prompts}
        self._seed = seed
        self.trainer: Any = None  # handed over by the trainer itself, which is made with these rollouts

    def sync_weights(self) -> None:
        """Hand the trainer's weights to the engine."""
        self._engine.load_weights(self._parameters())

    def _parameters(self) -> Iterator[tuple[str, torch.Tensor]]:
        model = self.trainer.accelerator.unwrap_model(self.trainer.model)
        tied = set(getattr(bare(model), "all_tied_weights_keys", None) or ())
        for (name, *_), parameter, precision in weights_of(model):
            if name not in tied:
                yield name, ranks.whole(ranks.local(parameter.detach()), like=parameter).to(precision)

    def __call__(self, prompts: list[list[int]], trainer: Any) -> dict[str, list[list[Any]]]:
        """One completion for each prompt, in the fields that `trl` names; log-probabilities in nats."""
        for prompt in prompts:
            assert tuple(prompt) in self._prompts, "a rollout would start from other ids than evaluation uses"
        completions = self._of_all_ranks(prompts, trainer)
        if not self._awake:
            self._engine.sleep()
            trainer._last_loaded_step = -1  # an engine that slept has no weights any more
        ids, logprobs, mask = zip(*map(self._ended, completions), strict=True)
        return {"prompt_ids": prompts, "completion_ids": [*ids], "logprobs": [*logprobs], "env_mask": [*mask]}

    def _of_all_ranks(self, prompts: list[list[int]], trainer: Any) -> list[Completion]:
        """The prompts of a group stay together; where there are several engines, their number is in the seed.

        Ranks over which an engine is spread ask it the same.
        """
        size, ways = trainer.num_generations, self._engine.ways
        engine, engines = ranks.rank() // ways, ranks.count() // ways
        own = [index for index in range(len(prompts)) if index // size % engines == engine]
        seed = seed_of(self._seed, trainer.generation, *([engine] if engines > 1 else []))
        found = self._engine.generate([prompts[index] for index in own], self._sampling, seed)
        every: dict[int, Completion] = {}
        for part in ranks.gathered(dict(zip(own, found, strict=True))):
            every |= part
        return [every[index] for index in range(len(prompts))]

    def _ended(self, completion: Completion) -> tuple[list[int], list[float], list[int]]:
        """Token ids, their log-probabilities, and 1 for each token that the model generated.

        TRL takes every completion without an end token for truncated. One that a stop string ended gets an end token
        that is masked: it enters neither the loss nor the length.
        """
        assert completion.logprobs is not None
        ids, logprobs, mask = completion.token_ids, completion.logprobs, [1] * len(completion.token_ids)
        if completion.stop_reason == "stop" and len(ids) < self._sampling.max_tokens:
            return [*ids, self._sampling.stop.token_ids[0]], [*logprobs, 0.0], [*mask, 0]
        return ids, logprobs, mask


class EpochSampler(RepeatSampler):
    """TRL's order of the prompts, drawn for each epoch from the epoch's number and not from what was drawn before."""

    def set_epoch(self, epoch: int) -> None:
        """Called by accelerate before each epoch."""
        if self.shuffle:
            self.generator.manual_seed(self.seed + epoch)


class RolloutTrainer(FiniteTrainer, ShardedTrainer, PackedPolicy):
    """`GRPOTrainer` whose dataset holds token ids as prompts and whose sampler is handed in."""

    def __init__(self, *, rollouts: Rollouts, **arguments: Any):
        super().__init__(**arguments)
        # With use_vllm in the configuration the trainer would start a second engine of its own.
        self.use_vllm = True
        self.vllm_generation = self.rollout_func = rollouts
        self._last_loaded_step = -1
        rollouts.trainer = self
        self.add_callback(Counters(self))

    @property
    def generation(self) -> int:
        """How many times rollouts were generated before those in use."""
        return int(self._step // (self.args.steps_per_generation * self.num_iterations))

    def needs_rollouts(self) -> bool:
        """Whether the next step generates, and takes nothing from rollouts that no checkpoint holds."""
        return bool(self._step % (self.args.steps_per_generation * self.num_iterations) == 0)

    def training_step(self, model: Any, inputs: Any, num_items_in_batch: Any = None) -> torch.Tensor:
        """The loss of a micro-batch, the step's last of which leaves the gradients of all ranks."""
        loss: torch.Tensor = super().training_step(model, inputs, num_items_in_batch)
        if ranks.count() > 1 and self.accelerator.sync_gradients:
            add_up_gradients(model)
        return loss

    def _get_train_sampler(self, dataset: Any = None) -> EpochSampler:
        trls = super()._get_train_sampler(dataset)
        names = ("data_source", "mini_repeat_count", "batch_size", "repeat_count", "shuffle", "seed")
        return EpochSampler(**{name: getattr(trls, name) for name in names})

    def log(self, logs: dict[str, Any], start_time: float | None = None) -> None:
        """With the number of generations over which the entry's figures are means."""
        generations = len(self._metrics["train"].get("reward", ()))
        super().log(logs | ({"generations": generations} if generations else {}), start_time)


class Counters(TrainerCallback, ExportableState):
    """Keeps in each checkpoint what `GRPOTrainer` counts on: where it is between generations, how it weighs entropy."""

    NAMES = ("_step", "entropy_coef", "_last_world_entropy")

    def __init__(self, trainer: RolloutTrainer):
        self._trainer = trainer

    def state(self) -> dict[str, Any]:
        return {"args": {}, "attributes": {name: getattr(self._trainer, name) for name in self.NAMES}}

    def on_train_begin(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        for name, value in state.stateful_callbacks[type(self).__name__]["attributes"].items():
            setattr(self._trainer, name, value)
