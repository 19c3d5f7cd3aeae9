"""The fields of TRL's configuration classes, read from their source.

Importing TRL takes several seconds, and a misspelt field should be reported at once, so the dataclasses' annotations
and defaults are read with `ast` from the installed files instead.
"""

import ast
import importlib.util
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from chattpl.errors import UserError, nearest

CLASSES = {"sft": "SFTConfig", "grpo": "GRPOConfig"}
SHARED = ("transformers/training_args.py", "trl/trainer/base_config.py")
TYPES = {"bool": bool, "int": int, "float": float, "str": str, "dict": dict, "list": list, "None": type(None)}

# What chattpl decides itself, because the cell, the format or the run folder depends on it; and why.
_RUN = "chattpl decides where a run is kept and when it is resumed"
_EXACT = "a training that is resumed would not end like one that was never interrupted"
_EVALUATION = "chattpl evaluates the finished model"
_FORMAT = "the formats decide what the tokens and the masks are"
_SAMPLER = "the engine that evaluates also makes the rollouts"
_RATIO = "it would make the sampler's distribution differ from the one whose probabilities GRPO uses"
RESERVED = {
    "output_dir": _RUN,
    "resume_from_checkpoint": _RUN,
    "enable_jit_checkpoint": _RUN,
    "push_to_hub": _RUN,
    "load_best_model_at_end": _RUN,
    "restore_callback_states_from_checkpoint": _RUN,
    "save_only_model": _EXACT,
    "ignore_data_skip": _EXACT,
    "eval_strategy": _EVALUATION,
    "eval_on_start": _EVALUATION,
    "report_to": "set tracker=",
    "use_cpu": "set device=",
    "seed": "set seed=",
    "data_seed": "set seed=",
    "model_init_kwargs": "set model.dtype, model.attn_implementation",
    "trust_remote_code": "set model.trust_remote_code",
    "chat_template_path": _FORMAT,
    "chat_template_kwargs": _FORMAT,
    "dataset_text_field": _FORMAT,
    "dataset_kwargs": _FORMAT,
    "completion_only_loss": "set train.masking",
    "assistant_only_loss": "set train.masking",
    "eos_token": _FORMAT,
    "pad_token": _FORMAT,
    "truncation_mode": "a sample that does not fit is dropped, never cut",
    "remove_unused_columns": _FORMAT,
    "use_vllm": _SAMPLER,
    "vllm_mode": _SAMPLER,
    "generation_kwargs": _SAMPLER,
    "use_transformers_continuous_batching": _SAMPLER,
    "top_p": _RATIO,
    "top_k": _RATIO,
    "min_p": _RATIO,
    "repetition_penalty": _RATIO,
}

# Fields that say when something is kept or shown and how data is fetched, and change nothing in the model.
BOOKKEEPING = frozenset({
    "save_strategy", "save_steps", "save_total_limit", "save_on_each_node", "logging_strategy", "logging_steps",
    "logging_first_step", "logging_nan_inf_filter", "log_on_each_node", "log_level", "log_level_replica",
    "log_completions", "log_multimodal", "log_unique_prompts", "log_completions_hub_repo",
    "num_completions_to_print", "disable_tqdm", "run_name", "project", "trackio_space_id", "trackio_bucket_id",
    "trackio_static_space_id", "hub_token", "hub_private_repo", "hub_model_id", "hub_strategy",
    "hub_always_push", "hub_revision", "dataloader_num_workers", "dataloader_pin_memory",
    "dataloader_persistent_workers", "dataloader_prefetch_factor", "dataloader_multiprocessing_context",
    "dataset_num_proc", "torch_empty_cache_steps", "skip_memory_metrics", "include_num_input_tokens_seen",
})  # fmt: skip


@dataclass(frozen=True)
class Field:
    """A field of one of TRL's configuration classes.

    Attributes:
        types: what its value may be; empty where the annotation names others than plain types.
        has_default: whether the default is a literal, which can be read without running the code.
        default: that literal.
    """

    types: tuple[type, ...]
    has_default: bool
    default: Any = None


@cache
def fields_of(method: str) -> dict[str, Field]:
    """Every field of `SFTConfig` (`method` "sft") or `GRPOConfig` ("grpo"), those that it inherits included."""
    fields: dict[str, Field] = {}
    for source in (*SHARED, f"trl/trainer/{method}_config.py"):
        for node in ast.parse(_path_of(source).read_text(encoding="utf-8")).body:
            if isinstance(node, ast.ClassDef):
                fields |= {
                    statement.target.id: Field(_types(statement.annotation), *_literal_default(statement.value))
                    for statement in node.body
                    if isinstance(statement, ast.AnnAssign) and isinstance(statement.target, ast.Name)
                }
    return fields


def _path_of(source: str) -> Path:
    package, _, inside = source.partition("/")
    found = importlib.util.find_spec(package)
    assert found is not None
    assert found.origin is not None
    return Path(found.origin).parent / inside


def _types(annotation: ast.expr) -> tuple[type, ...]:
    names = [part.strip().partition("[")[0] for part in ast.unparse(annotation).split("|")]
    return tuple(TYPES[name] for name in names) if all(name in TYPES for name in names) else ()


def _literal_default(value: ast.expr | None) -> tuple[bool, Any]:
    """Whether a field's default is a literal, and that literal: `x: int = 3` or `x: int = field(default=3)`."""
    if isinstance(value, ast.Call):
        value = next((keyword.value for keyword in value.keywords if keyword.arg == "default"), None)
    if value is None:
        return False, None
    try:
        return True, ast.literal_eval(value)
    except ValueError:
        return False, None


@cache
def defaults_of(method: str) -> dict[str, Any]:
    """TRL's own value of every field whose default is a literal."""
    return {name: field.default for name, field in fields_of(method).items() if field.has_default}


def value_of(method: str, values: Mapping[str, Any], name: str) -> Any:
    """The field's value: as configured, else TRL's default."""
    return values[name] if name in values else defaults_of(method)[name]


def check_fields(method: str, values: Mapping[str, Any]) -> None:
    """Refuse a field that TRL does not have, that chattpl decides itself, or whose value has another type.

    Raises:
        UserError: names the first such field.
    """
    known = fields_of(method)
    for name, value in values.items():
        if name in RESERVED or (name.startswith("vllm_") and "importance_sampling" not in name):
            raise UserError(f"{method}.{name}: cannot be set here: {RESERVED.get(name, _SAMPLER)}")
        if name not in known:
            raise UserError(f"{method}.{name}: TRL's {CLASSES[method]} has no such field{nearest(name, known)}")
        types = known[name].types
        if types and not _fits(value, types):
            wanted = " or ".join(kind.__name__ for kind in types if kind is not type(None))
            raise UserError(f"{method}.{name}={value!r}: must be of type {wanted}")


def _fits(value: Any, types: tuple[type, ...]) -> bool:
    if isinstance(value, bool):
        return bool in types
    return isinstance(value, types) or (isinstance(value, int) and float in types)
