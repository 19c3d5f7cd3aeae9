"""`lora.*`: the fields of peft's `LoraConfig`, beside two that are chattpl's own. Nothing heavy is imported here."""

from collections.abc import Mapping
from functools import cache
from typing import Any

from chattpl.errors import UserError, nearest
from chattpl.training.fields import check_type, read_fields

NONE = "none"  # the name of full fine-tuning
OWN = ("name", "learning_rate_factor")
CLASS = "LoraConfig"
SOURCES = ("peft/config.py:PeftConfigMixin", "peft/config.py:PeftConfig", "peft/tuners/lora/config.py:LoraConfig")

# What cannot be set, and why.
_OURS = "chattpl fills it in"
_ONE_BASE = "adapter, merged model and reference model share a base, whose weights this would change"
_DATA = "it starts from data of its own, of which chattpl has none"
_NOT_MERGED = "such an adapter cannot be merged into its base"
_QUANTIZED = "it is for quantized weights"
RESERVED = {
    "task_type": _OURS,
    "peft_type": _OURS,
    "peft_version": _OURS,
    "auto_mapping": _OURS,
    "base_model_name_or_path": "set model.path",
    "revision": "set model.path to the folder of another revision",
    "inference_mode": _OURS,
    "runtime_config": "no adapter keeps it",
    "layer_replication": _ONE_BASE,
    "kasa_config": _ONE_BASE,
    "eva_config": _DATA,
    "corda_config": _DATA,
    "lora_ga_config": _DATA,
    "alora_invocation_tokens": _NOT_MERGED,
    "arrow_config": _NOT_MERGED,
    "monteclora_config": _NOT_MERGED,
    "lora_bias": "the merged model would have biases that its base has not",
    "loftq_config": _QUANTIZED,
    "use_qalora": _QUANTIZED,
    "qalora_group_size": _QUANTIZED,
    "megatron_config": "layers of Megatron are not supported",
    "megatron_core": "layers of Megatron are not supported",
}
# Others take the adapter out of the base's weights first, or start from data.
INITIAL = (True, False, "gaussian", "orthogonal", "mica")
BIASES = ("none", "all", "lora_only")


@cache
def defaults() -> dict[str, Any]:
    """peft's own value of every field whose default is a literal."""
    return {name: field.default for name, field in read_fields(*SOURCES).items() if field.has_default}


def is_adapted(values: Mapping[str, Any]) -> bool:
    """Whether `lora` asks for an adapter."""
    return bool(values.get("name", NONE) != NONE)


def adapter_fields(values: Mapping[str, Any]) -> dict[str, Any] | None:
    """What goes to `LoraConfig`; None for full fine-tuning."""
    return {key: value for key, value in values.items() if key not in OWN} if is_adapted(values) else None


def trains_base_weights(values: Mapping[str, Any]) -> bool:
    """Whether weights of the model itself are trained, in the model's precision."""
    return not is_adapted(values) or bool(values.get("modules_to_save")) or values.get("bias", "none") != "none"


def check_lora(values: Mapping[str, Any]) -> None:
    """Refuse a field that peft does not have, that cannot be set, or whose value makes no sense.

    Raises:
        UserError: names the first such field.
    """
    factor = values.get("learning_rate_factor", 1)
    if isinstance(factor, bool) or not isinstance(factor, int | float) or factor <= 0:
        raise UserError(f"lora.learning_rate_factor={factor}: must be a number above 0")
    known = read_fields(*SOURCES)
    for name, value in values.items():
        if name in OWN:
            continue
        if name in RESERVED:
            raise UserError(f"lora.{name}: cannot be set here: {RESERVED[name]}")
        if name not in known:
            raise UserError(f"lora.{name}: peft's {CLASS} has no such field{nearest(name, [*known, *OWN])}")
        if not is_adapted(values):
            raise UserError(f"lora.{name}: lora={NONE} trains all weights and has no adapter; set lora=r16 as well")
        check_type(f"lora.{name}", value, known[name])
    _check_choice("init_lora_weights", values.get("init_lora_weights", True), INITIAL)
    _check_choice("bias", values.get("bias", "none"), BIASES)


def _check_choice(name: str, value: Any, possible: tuple[Any, ...]) -> None:
    if value not in possible:
        raise UserError(f"lora.{name}={value}: must be one of {', '.join(str(each).lower() for each in possible)}")
