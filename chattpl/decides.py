"""The one table: of every configuration key, when it decides the trained model and when the evaluation.

Names and fingerprints both derive from it (`chattpl.cell`). A key that is in no row is a programming error: whoever
adds a key adds its row.
"""

from collections.abc import Callable
from operator import attrgetter

from chattpl.generation import ENGINES
from chattpl.schema import Config
from chattpl.tasks.config import TaskConfig
from chattpl.training import METHODS
from chattpl.training.lora_fields import is_adapted, trains_base_weights
from chattpl.training.trl_fields import BOOKKEEPING

Condition = Callable[[Config, str], bool]
TaskOf = Callable[[Config], TaskConfig]
_TAUGHT: TaskOf = attrgetter("task")
_ASKED: TaskOf = attrgetter("asked")


def _always(config: Config, key: str) -> bool:
    return True


def _never(config: Config, key: str) -> bool:
    return False


def _trained(config: Config, key: str) -> bool:
    return METHODS[config.train.method].trains


def _trained_in_16_bits(config: Config, key: str) -> bool:
    """Weights that are trained in float32, as an adapter's are, have no other masters."""
    return _trained(config, key) and config.model.train_dtype != "float32" and trains_base_weights(config.lora)


def _adapted(config: Config, key: str) -> bool:
    return _trained(config, key) and is_adapted(config.lora)


def _learns_answers(config: Config, key: str) -> bool:
    return METHODS[config.train.method].learns_answers


def _rolls_out(config: Config, key: str) -> bool:
    return METHODS[config.train.method].rolls_out


def _sampled(config: Config, key: str) -> bool:
    return config.eval.temperature > 0


def _engine_reads(config: Config, key: str) -> bool:
    return key in ENGINES[config.engine.name].decided_by


def _engine_draws_by(config: Config, key: str) -> bool:
    return _sampled(config, key) and _engine_reads(config, key)


def _hyperparameter(config: Config, key: str) -> bool:
    node, _, name = key.partition(".")
    return node == config.train.method and name not in BOOKKEEPING


def _in_train_format(config: Config, key: str) -> bool:
    return _in_format(config, config.train.format, key)


def _in_eval_format(config: Config, key: str) -> bool:
    return _in_format(config, config.eval.format, key)


def _in_format(config: Config, name: str, key: str) -> bool:
    """All fields that decide a format's tokens; how worked examples stand means nothing where there is none."""
    field = key.removeprefix(f"formats.{name}.")
    return field not in (key, "teach_empty_thought") and (field != "turns" or config.formats[name].shots > 0)


def _asks(split: str) -> Condition:
    return lambda config, key: config.eval.split == split


def _rephrased(config: Config, key: str) -> bool:
    """Evaluation asks in another wording than training."""
    return config.asked != config.task


def _not_rephrased(config: Config, key: str) -> bool:
    return not _rephrased(config, key)


def _in_wording(task_of: TaskOf) -> Condition:
    def decides(config: Config, key: str) -> bool:
        wording = task_of(config).wording
        return wording is not None and key.startswith(f"wordings.{wording}.")

    return decides


def _in_own_words(task_of: TaskOf) -> Condition:
    """The instruction is no wording's."""

    def decides(config: Config, key: str) -> bool:
        task = task_of(config)
        return task.wording is None or task.instruction != config.wordings[task.wording].instruction

    return decides


def _trained_and(condition: Condition) -> Condition:
    return lambda config, key: _trained(config, key) and condition(config, key)


# A key, or `node.*` for all others of a node -> when it decides the trained model, when it decides the evaluation of a
# given model. What lies at a path counts by its content instead (`base`, `data`, `examples` in the inputs).
DECIDES: dict[str, tuple[Condition, Condition]] = {
    "train.method": (_trained, _never),
    "train.format": (_trained, _never),
    "train.masking": (_learns_answers, _never),
    "eval.format": (_never, _always),
    "eval.wording": (_never, _rephrased),
    "eval.split": (_never, _always),
    "eval.max_tokens": (_never, _always),
    "eval.temperature": (_never, _always),
    "eval.top_p": (_never, _sampled),
    "eval.num_samples": (_never, _always),
    "eval.stop": (_rolls_out, _always),
    "eval.batch_size": (_never, _engine_draws_by),
    "formats.*": (_trained_and(_in_train_format), _in_eval_format),
    "sft.*": (_hyperparameter, _never),
    "grpo.*": (_hyperparameter, _never),
    "lora": (_adapted, _never),
    "lora.learning_rate_factor": (_never, _never),
    "lora.*": (_adapted, _never),
    "model.name": (_never, _never),
    "model.path": (_never, _never),
    "model.dtype": (_trained, _always),
    "model.train_dtype": (_trained, _never),
    "model.master_weights": (_trained_in_16_bits, _never),
    "model.attn_implementation": (_trained, _engine_reads),
    "model.trust_remote_code": (_trained, _always),
    "task.name": (_never, _never),
    "task.source": (_never, _never),
    "task.path": (_never, _never),
    "task._target_": (_rolls_out, _always),
    "task.wording": (_trained, _not_rephrased),
    "task.instruction": (_trained_and(_in_own_words(_TAUGHT)), _in_own_words(_ASKED)),
    "task.train_limit": (_trained, _never),
    "task.test_limit": (_never, _asks("test")),
    "task.validation": (_trained, _asks("validation")),
    "task.*": (_trained, _always),
    "wordings.*": (_trained_and(_in_wording(_TAUGHT)), _in_wording(_ASKED)),
    "engine.name": (_rolls_out, _always),
    "engine.max_model_len": (_rolls_out, _always),
    "engine.*": (_never, _never),
    "report.*": (_never, _never),
    "seed": (_trained, _sampled),
    "device": (_never, _never),
    "gpus": (_never, _never),
    "gpu_share": (_never, _never),
    "tracker": (_never, _never),
    "study": (_never, _never),
    "output_root": (_never, _never),
    "stage": (_never, _never),
    "overwrite": (_never, _never),
    "objective": (_never, _never),
}


def decides_model(config: Config, key: str) -> bool:
    """Whether this key decides the trained model of this configuration."""
    return _row(key)[0](config, key)


def decides_evaluation(config: Config, key: str) -> bool:
    """Whether this key decides the figures of this configuration, its trained model aside."""
    return _row(key)[1](config, key)


def _row(key: str) -> tuple[Condition, Condition]:
    return DECIDES.get(key) or DECIDES[f"{key.partition('.')[0]}.*"]
