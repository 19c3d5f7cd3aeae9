"""The fields of TRL's configuration classes, read from their source.

Importing TRL takes several seconds, and a misspelt field should be told at once, so the dataclasses' annotations
are read with `ast` from the installed files instead.
"""

import ast
import importlib.util
from functools import cache
from pathlib import Path
from typing import Any

from chattpl.errors import UserError, nearest

SOURCES = {
    "sft": ("transformers/training_args.py", "trl/trainer/base_config.py", "trl/trainer/sft_config.py"),
    "grpo": ("transformers/training_args.py", "trl/trainer/base_config.py", "trl/trainer/grpo_config.py"),
}
TYPES = {"bool": bool, "int": int, "float": float, "str": str, "dict": dict, "list": list, "None": type(None)}

# What chattpl decides itself, because the cell, the format or the run folder depends on it; and why.
_RUN = "chattpl decides where a run is kept and when it is resumed"
_FORMAT = "the formats decide what the tokens and the masks are"
_SAMPLER = "the engine that evaluates also makes the rollouts"
_RATIO = "it would make the sampler's distribution differ from the one whose probabilities GRPO uses"
RESERVED = {
    "output_dir": _RUN,
    "resume_from_checkpoint": _RUN,
    "push_to_hub": _RUN,
    "load_best_model_at_end": _RUN,
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


@cache
def fields_of(method: str) -> dict[str, tuple[type, ...]]:
    """Field name to the types that it takes; an empty tuple where the annotation names others than plain types."""
    fields: dict[str, tuple[type, ...]] = {}
    for source in SOURCES[method]:
        package, _, inside = source.partition("/")
        folder = Path(importlib.util.find_spec(package).origin).parent
        for node in ast.parse((folder / inside).read_text(encoding="utf-8")).body:
            if isinstance(node, ast.ClassDef):
                fields |= {
                    statement.target.id: _types(statement.annotation)
                    for statement in node.body
                    if isinstance(statement, ast.AnnAssign)
                }
    return fields


def _types(annotation: ast.expr) -> tuple[type, ...]:
    names = [part.strip().partition("[")[0] for part in ast.unparse(annotation).split("|")]
    return tuple(TYPES[name] for name in names) if all(name in TYPES for name in names) else ()


def check_fields(method: str, values: dict[str, Any]) -> None:
    """Refuse a field that TRL does not have, that chattpl decides itself, or whose value has another type.

    Raises:
        UserError: names the first such field.
    """
    known = fields_of(method)
    for name, value in values.items():
        if name in RESERVED or (name.startswith("vllm_") and "importance_sampling" not in name):
            raise UserError(f"{method}.{name}: cannot be set here: {RESERVED.get(name, _SAMPLER)}")
        if name not in known:
            raise UserError(f"{method}.{name}: TRL's {method.upper()}Config has no such field{nearest(name, known)}")
        if known[name] and not _fits(value, known[name]):
            wanted = " or ".join(kind.__name__ for kind in known[name] if kind is not type(None))
            raise UserError(f"{method}.{name}={value!r}: must be of type {wanted}")


def _fits(value: Any, types: tuple[type, ...]) -> bool:
    if isinstance(value, bool):
        return bool in types
    return isinstance(value, types) or (isinstance(value, int) and float in types)
