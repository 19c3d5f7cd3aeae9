"""The schema that Hydra validates against, and the checks that go across fields.

`conf/` holds the values, this file says what they may be. What a type can express is left to OmegaConf; the rest is
checked in `checked_config`, before anything is loaded.
"""

import inspect
import math
import re
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

from hydra.core.config_store import ConfigStore
from hydra.errors import InstantiationException
from hydra.utils import get_class
from omegaconf import MISSING, DictConfig, OmegaConf

from chattpl.errors import UserError, nearest
from chattpl.training.fields import check_fields

METHODS = ("sft", "grpo", "none")
MASKINGS = ("answer", "full")
STAGES = ("all", "train", "eval", "report", "preview")
ENGINES = ("auto", "vllm", "transformers")
DEVICES = ("auto", "cpu", "cuda")
DTYPES = ("bfloat16", "float16", "float32")
KINDS = ("chat", "raw")
TASK_KEYS = {"_target_": str, "name": str, "instruction": str, "train_limit": int, "test_limit": int}
NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._+-]*")


@dataclass
class TrainConfig:
    """The three training axes."""

    format: str = MISSING
    method: str = MISSING
    masking: str = MISSING


@dataclass
class EvalConfig:
    """The evaluation axis, and how answers are sampled."""

    format: str = MISSING
    max_tokens: int = 512
    temperature: float = 0.0
    top_p: float = 1.0
    num_samples: int = 1
    stop: list[str] = field(default_factory=list)
    batch_size: int = 512


@dataclass
class ModelConfig:
    """Which model, and how transformers loads it. `train_dtype` is that of the weights while they are trained."""

    name: str = MISSING
    path: str = MISSING
    dtype: str = "bfloat16"
    train_dtype: str = "float32"
    attn_implementation: str | None = None
    trust_remote_code: bool = False


@dataclass
class FormatConfig:
    """One way to put a question: through the chat template, or as plain text. `eos` null: the model's own."""

    kind: str = MISSING
    system: str | None = None
    template_kwargs: dict[str, Any] = field(default_factory=dict)
    prompt: str = "Question: {question}\nAnswer:"
    answer_prefix: str = " "
    eos: str | None = None


@dataclass
class EngineConfig:
    """What generates. All but `name` and `max_model_len` is a matter of resources and changes no result."""

    name: str = "auto"
    max_model_len: int | None = None
    gpu_memory_utilization: float = 0.5
    kv_cache_gib: float | None = None
    enforce_eager: bool | None = None


@dataclass
class Config:
    """Everything that `python -m chattpl.main` can be told."""

    train: TrainConfig = field(default_factory=TrainConfig)
    eval: EvalConfig = field(default_factory=EvalConfig)
    model: ModelConfig = field(default_factory=ModelConfig)
    task: dict[str, Any] = field(default_factory=dict)
    formats: dict[str, FormatConfig] = field(default_factory=dict)
    sft: dict[str, Any] = field(default_factory=dict)
    grpo: dict[str, Any] = field(default_factory=dict)
    engine: EngineConfig = field(default_factory=EngineConfig)
    device: str = "auto"
    seed: int = 0
    study: str = MISSING
    output_root: str = "outputs"
    stage: str = "all"
    overwrite: bool = False


@dataclass
class _Composed(Config):
    """`Config` as Hydra composes it: Hydra cannot put a plain mapping where a `FormatConfig` is declared."""

    formats: dict[str, Any] = field(default_factory=dict)


def register_schema() -> None:
    """Let `conf/config.yaml` name the schema as `schema` in its defaults list.

    The open nodes take any key without Hydra's `+`: TRL's fields and a task's own keys are checked here, by name.
    """
    schema = OmegaConf.structured(_Composed)
    for open_node in (schema.sft, schema.grpo, schema.task, schema.formats):
        OmegaConf.set_struct(open_node, False)
    ConfigStore.instance().store(name="schema", node=schema)


def check_choice(key: str, value: object, possible: Iterable[str]) -> None:
    """Refuse a value that is none of the possible ones, naming the key and the nearest."""
    possible = tuple(possible)
    if value not in possible:
        raise UserError(f"{key}={value}: no such value{nearest(str(value), possible)}")


def checked_config(composed: DictConfig) -> Config:
    """The composed configuration as typed objects.

    Raises:
        UserError: the first thing found that makes no sense, with the key's name.
    """
    values = OmegaConf.to_container(OmegaConf.masked_copy(composed, [key for key in composed if key != "hydra"]))
    resolved = OmegaConf.merge(OmegaConf.structured(Config), values)
    config: Config = OmegaConf.to_object(resolved)
    check_choice("stage", config.stage, STAGES)
    check_choice("device", config.device, DEVICES)
    check_choice("engine.name", config.engine.name, ENGINES)
    _check_study(config)
    _check_axes(config)
    _check_formats(config)
    _check_numbers(config)
    check_choice("model.dtype", config.model.dtype, DTYPES)
    check_choice("model.train_dtype", config.model.train_dtype, DTYPES)
    _check_task(config.task)
    check_fields("sft", config.sft)
    check_fields("grpo", config.grpo)
    if config.train.method == "grpo":
        _check_group_size(config.grpo)
    return config


def _check_study(config: Config) -> None:
    if not NAME.fullmatch(config.study) or len(config.study) > 150:
        raise UserError(
            f"study={config.study}: a study is one folder below output_root; use letters, digits, '.', '_', '+', '-'"
        )


def _check_axes(config: Config) -> None:
    check_choice("train.method", config.train.method, METHODS)
    check_choice("train.masking", config.train.masking, MASKINGS)
    check_choice("train.format", config.train.format, config.formats)
    check_choice("eval.format", config.eval.format, config.formats)


def _check_formats(config: Config) -> None:
    for name, form in config.formats.items():
        key = f"formats.{name}"
        if not NAME.fullmatch(name) or "_eval_" in name or name in ("chat_template", "no_chat") or "--" in name:
            raise UserError(f"{key}: this name cannot stand in a folder's name; use letters, digits, '.', '_', '-'")
        if OmegaConf.is_missing(OmegaConf.structured(form), "kind"):
            raise UserError(f"{key}.kind: is not set (possible: {', '.join(KINDS)})")
        check_choice(f"{key}.kind", form.kind, KINDS)
        if form.kind == "raw" and form.prompt.count("{question}") != 1:
            raise UserError(
                f"{key}.prompt: must hold '{{question}}' once, holds it {form.prompt.count('{question}')} times"
            )


def _check_numbers(config: Config) -> None:
    """The bounds of the numbers that are chattpl's own; TRL and vLLM check theirs."""
    checks = {
        "eval.max_tokens": (config.eval.max_tokens, 1, math.inf),
        "eval.temperature": (config.eval.temperature, 0, math.inf),
        "eval.top_p": (config.eval.top_p, 1e-9, 1),
        "eval.num_samples": (config.eval.num_samples, 1, math.inf),
        "eval.batch_size": (config.eval.batch_size, 1, math.inf),
        "engine.gpu_memory_utilization": (config.engine.gpu_memory_utilization, 1e-9, 1),
        "engine.max_model_len": (config.engine.max_model_len or 1, 1, math.inf),
        "engine.kv_cache_gib": (config.engine.kv_cache_gib or 1, 1e-9, math.inf),
        "seed": (config.seed, 0, 2**31 - 1),
    }
    for key, (value, low, high) in checks.items():
        if not low <= value <= high:
            raise UserError(f"{key}={value}: must lie between {low} and {high}")
    for string in config.eval.stop:
        if not string.startswith("\n") or not string.strip():
            raise UserError(
                f"eval.stop={string!r}: a stop string must begin with a line break and go on, or it cuts answers short"
            )
    if config.eval.num_samples > 1 and config.eval.temperature == 0:
        raise UserError(f"eval.num_samples={config.eval.num_samples}: needs eval.temperature above 0")


def task_arguments(task: dict[str, Any]) -> dict[str, Any]:
    """The task's own keys: those that its class is made with."""
    return {key: value for key, value in task.items() if key not in TASK_KEYS}


def task_class(task: dict[str, Any]) -> type:
    """The class that `task._target_` names."""
    try:
        return get_class(task["_target_"])
    except (InstantiationException, ImportError, AttributeError, ValueError) as error:
        reason = str(error).strip().splitlines()[0]
        raise UserError(f"task._target_={task['_target_']}: cannot be imported ({reason})") from error


def _check_task(task: dict[str, Any]) -> None:
    for key, kind in TASK_KEYS.items():
        value = task.get(key)
        optional = key.endswith("_limit") or key == "instruction"
        if value is None and not optional:
            raise UserError(f"task.{key}: is not set")
        if value is not None and (not isinstance(value, kind) or isinstance(value, bool)):
            raise UserError(f"task.{key}={value}: must be of type {kind.__name__}")
        if kind is int and value is not None and value < 1:
            raise UserError(f"task.{key}={value}: must be at least 1, or null for all samples")
    if not NAME.fullmatch(task["name"]):
        raise UserError(f"task.name={task['name']}: use letters, digits, '.', '_', '+', '-'")
    parameters = inspect.signature(task_class(task)).parameters
    if any(parameter.kind is parameter.VAR_KEYWORD for parameter in parameters.values()):
        return
    for key in task_arguments(task):
        if key not in parameters:
            raise UserError(f"task.{key}: {task['name']} has no such key{nearest(key, [*parameters, *TASK_KEYS])}")
    for name, parameter in parameters.items():
        if parameter.default is parameter.empty and name not in task:
            raise UserError(f"task.{name}: {task['name']} needs this key")


def _check_group_size(grpo: dict[str, Any]) -> None:
    """TRL wants whole groups in a generation batch; see `trl.GRPOConfig.generation_batch_size`."""
    group = grpo.get("num_generations", 8)
    steps = grpo.get("steps_per_generation") or grpo.get("gradient_accumulation_steps", 1)
    batch = grpo.get("generation_batch_size") or grpo.get("per_device_train_batch_size", 8) * steps
    if group < 2 or batch % group:
        raise UserError(
            f"grpo.num_generations={group}: must be at least 2 and divide the {batch} completions of a step "
            "(grpo.per_device_train_batch_size x grpo.gradient_accumulation_steps)"
        )
