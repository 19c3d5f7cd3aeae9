"""The fields of TRL's configuration classes: which there are, and which can be set."""

from collections.abc import Mapping
from functools import cache
from typing import Any

from chattpl.errors import UserError, nearest
from chattpl.training.fields import Field, check_type, read_fields

CLASSES = {"sft": "SFTConfig", "grpo": "GRPOConfig"}
SHARED = ("transformers/training_args.py", "trl/trainer/base_config.py")

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


def fields_of(method: str) -> dict[str, Field]:
    """Every field of `SFTConfig` (`method` "sft") or `GRPOConfig` ("grpo"), those that it inherits included."""
    return read_fields(*SHARED, f"trl/trainer/{method}_config.py")


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
        check_type(f"{method}.{name}", value, known[name])
