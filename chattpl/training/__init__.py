"""Training: the methods, and what runs one of them.

`METHODS` says what there is to know of a method without importing a trainer. A training is a `TrainingJob`
(`chattpl.training.job`): plain data, run in this process or by `python -m chattpl.training.worker job.json`.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from chattpl.errors import UserError
from chattpl.training.trl_fields import value_of


@dataclass(frozen=True)
class Method:
    """One way to train.

    Attributes:
        trains: whether a model is made at all.
        learns_answers: the loss is on given answers, so `train.masking` means something.
        rolls_out: answers are generated and graded in training, so the engine and the grader decide the model.
        trainer: `module:function` that does it; imported only when a model is trained.
        check: refuses hyperparameters that TRL would accept and that make no sense; raises UserError.
    """

    trains: bool
    learns_answers: bool = False
    rolls_out: bool = False
    trainer: str = ""
    check: Callable[[Mapping[str, Any]], None] = lambda values: None


def _check_grpo(values: Mapping[str, Any]) -> None:
    """A step must hold whole groups (see `trl.GRPOConfig.generation_batch_size`), drawn at random."""
    temperature = value_of("grpo", values, "temperature")
    if temperature <= 0:
        raise UserError(f"grpo.temperature={temperature}: must be above 0: identical rollouts carry no signal")
    length = value_of("grpo", values, "max_completion_length")
    if length is None or length < 1:
        raise UserError(f"grpo.max_completion_length={length}: must be at least 1")
    group = value_of("grpo", values, "num_generations")
    steps = value_of("grpo", values, "steps_per_generation") or value_of("grpo", values, "gradient_accumulation_steps")
    per_device = value_of("grpo", values, "per_device_train_batch_size")
    batch = value_of("grpo", values, "generation_batch_size") or per_device * steps
    if group < 2 or batch % group:
        raise UserError(
            f"grpo.num_generations={group}: must be at least 2 and divide the {batch} completions of a step "
            "(grpo.per_device_train_batch_size x grpo.gradient_accumulation_steps)"
        )


METHODS: dict[str, Method] = {
    "sft": Method(trains=True, learns_answers=True, trainer="chattpl.training.sft:train_sft"),
    "grpo": Method(trains=True, rolls_out=True, trainer="chattpl.training.grpo:train_grpo", check=_check_grpo),
    "none": Method(trains=False),
}
