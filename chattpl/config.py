"""What the keys of the configuration may hold.

What a type can express is left to OmegaConf (`chattpl.schema`), what belongs to a task, a format or a method is checked
by its row, and the rest here, before anything is loaded.
"""

import math
from collections import ChainMap
from collections.abc import Iterable
from operator import attrgetter
from typing import Any

from omegaconf import DictConfig, OmegaConf

from chattpl.errors import UserError, nearest
from chattpl.formats import FormatFields, parse_fields
from chattpl.generation import ENGINES
from chattpl.generation.device import DEVICES
from chattpl.report.settings import FAMILIES
from chattpl.results import OBJECTIVES
from chattpl.schema import Config, Schema
from chattpl.stages import STAGES
from chattpl.tasks.config import NAME, parse_task, parse_wordings
from chattpl.tasks.loading import SPLITS
from chattpl.training import METHODS
from chattpl.training.lora_fields import check_lora, is_adapted, trains_base_weights
from chattpl.training.precision import check_precision
from chattpl.training.trackers import TRACKERS
from chattpl.training.trl_fields import CLASSES, check_fields

MASKINGS = ("answer", "full")
DTYPES = ("bfloat16", "float16", "float32")
# The values of the keys that have a list of them.
CHOICES: dict[str, Iterable[str]] = {
    "stage": STAGES,
    "eval.split": SPLITS,
    "device": DEVICES,
    "tracker": TRACKERS,
    "objective": OBJECTIVES,
    "engine.name": ChainMap[str, Any](ENGINES, {"auto": None}),
    "train.method": METHODS,
    "train.masking": MASKINGS,
    "model.dtype": DTYPES,
    "model.train_dtype": DTYPES,
}
# The least and the greatest value of the numbers that are chattpl's own; TRL and vLLM check theirs.
BOUNDS: dict[str, tuple[float, float]] = {
    "eval.max_tokens": (1, math.inf),
    "eval.temperature": (0, math.inf),
    "eval.top_p": (1e-9, 1),
    "eval.num_samples": (1, math.inf),
    "eval.batch_size": (1, math.inf),
    "engine.gpu_memory_utilization": (1e-9, 1),
    "engine.max_model_len": (1, math.inf),
    "engine.kv_cache_gib": (1e-9, math.inf),
    "gpus": (1, math.inf),
    "gpu_share": (0.01, 1),
    "seed": (0, 2**31 - 1),
}


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
    values: Any = OmegaConf.to_container(without_hydra(composed) if "hydra" in composed else composed)
    if (wording := values["task"].get("wording")) is not None:
        check_choice("task.wording", wording, values["wordings"])  # before the instruction refers to it
    schema = OmegaConf.to_object(OmegaConf.unsafe_merge(OmegaConf.structured(Schema), values))  # both are thrown away
    assert isinstance(schema, Schema)
    _check_choices(schema)
    _check_study(schema.study)
    formats = {name: _format_of(name, fields) for name, fields in schema.formats.items()}
    check_choice("train.format", schema.train.format, formats)
    check_choice("eval.format", schema.eval.format, formats)
    _check_numbers(schema)
    wordings = parse_wordings(schema.wordings)
    task = parse_task(schema.task, wordings)
    if schema.eval.wording is not None:
        check_choice("eval.wording", schema.eval.wording, wordings)
    for method in CLASSES:
        check_fields(method, getattr(schema, method))
    check_lora(schema.lora)
    hyperparameters = getattr(schema, schema.train.method, {})
    METHODS[schema.train.method].check(hyperparameters)
    if is_adapted(schema.lora) and hyperparameters.get("sync_ref_model"):
        raise UserError("grpo.sync_ref_model=true: with lora the reference model is the base, which stays as it is")
    if schema.gpus > 1 and schema.gpu_share < 1:
        raise UserError(f"gpus={schema.gpus}: a training takes several cards whole; set gpu_share=1, or gpus=1")
    if METHODS[schema.train.method].trains and trains_base_weights(schema.lora):
        model, parts = schema.model, 1 if is_adapted(schema.lora) else schema.gpus
        check_precision(schema.train.method, model.train_dtype, model.master_weights, hyperparameters, parts)
    return Config(**{**vars(schema), "task": task, "wordings": wordings, "formats": formats})


def without_hydra(composed: DictConfig) -> DictConfig:
    """The configuration without Hydra's own node, as a job gets it."""
    return OmegaConf.masked_copy(composed, [str(key) for key in composed if key != "hydra"])


def _check_choices(schema: Schema) -> None:
    for key, possible in CHOICES.items():
        check_choice(key, attrgetter(key)(schema), possible)
    for family in schema.report.families:
        check_choice("report.families", family, FAMILIES)


def _check_study(study: str) -> None:
    if not NAME.fullmatch(study) or len(study) > 150:
        raise UserError(
            f"study={study}: a study is one folder below output_root; use letters, digits, '.', '_', '+', '-'"
        )


def _format_of(name: str, values: Any) -> FormatFields:
    if not NAME.fullmatch(name) or "." in name or "--" in name or "_eval_" in name:
        raise UserError(f"formats.{name}: this name cannot stand in a folder's name; use letters, digits, '_', '-'")
    return parse_fields(name, values or {})


def _check_numbers(schema: Schema) -> None:
    evaluation, engine = schema.eval, schema.engine
    for key, (low, high) in BOUNDS.items():
        value = attrgetter(key)(schema)
        if value is not None and not low <= value <= high:
            raise UserError(f"{key}={value}: must lie between {low} and {high}")
    if engine.enforce_eager and engine.compile:
        raise UserError("engine.compile=true: engine.enforce_eager=true leaves the compiler out; set one of them")
    for string in evaluation.stop:
        if not string.startswith("\n") or not string.strip():
            raise UserError(
                f"eval.stop={string!r}: a stop string must begin with a line break and go on, or it cuts answers short"
            )
    if evaluation.num_samples > 1 and evaluation.temperature == 0:
        raise UserError(f"eval.num_samples={evaluation.num_samples}: needs eval.temperature above 0")
