"""The keys of the configuration and their types: the schema that Hydra validates against.

`conf/` holds the values, each with a comment; what they may be is checked in `chattpl.config`.
"""

from dataclasses import dataclass, replace
from typing import Any

from hydra.core.config_store import ConfigStore
from omegaconf import MISSING, DictConfig, OmegaConf

from chattpl.formats import FormatFields
from chattpl.report.settings import ReportConfig
from chattpl.tasks.config import TaskConfig, Wording


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
    wording: str | None = MISSING
    split: str = MISSING
    max_tokens: int = MISSING
    temperature: float = MISSING
    top_p: float = MISSING
    num_samples: int = MISSING
    stop: list[str] = MISSING
    batch_size: int = MISSING


@dataclass
class ModelConfig:
    """Which model, and how transformers loads it. `train_dtype` is that of the weights while they are trained."""

    name: str = MISSING
    path: str = MISSING
    dtype: str = MISSING
    train_dtype: str = MISSING
    master_weights: bool = MISSING
    attn_implementation: str | None = MISSING
    trust_remote_code: bool = MISSING


@dataclass
class EngineConfig:
    """What generates. All but `name` and `max_model_len` is a matter of resources and changes no result."""

    name: str = MISSING
    max_model_len: int | None = MISSING
    gpu_memory_utilization: float | None = MISSING
    kv_cache_gib: float | None = MISSING
    enforce_eager: bool | None = MISSING
    compile: bool = MISSING


@dataclass
class _Common:
    train: TrainConfig = MISSING
    eval: EvalConfig = MISSING
    model: ModelConfig = MISSING
    sft: dict[str, Any] = MISSING
    grpo: dict[str, Any] = MISSING
    lora: dict[str, Any] = MISSING
    engine: EngineConfig = MISSING
    report: ReportConfig = MISSING
    tracker: str = MISSING
    device: str = MISSING
    gpus: int = MISSING
    gpu_share: float = MISSING
    seed: int = MISSING
    study: str = MISSING
    output_root: str = MISSING
    stage: str = MISSING
    overwrite: bool = MISSING
    objective: str = MISSING


@dataclass
class Schema(_Common):
    """The keys as Hydra composes them. What a task, a wording and a format may hold is known to them alone."""

    task: dict[str, Any] = MISSING
    wordings: dict[str, Any] = MISSING
    formats: dict[str, Any] = MISSING


@dataclass
class Config(_Common):
    """The whole configuration of `python -m chattpl.main`, checked."""

    task: TaskConfig = MISSING
    wordings: dict[str, Wording] = MISSING
    formats: dict[str, FormatFields] = MISSING

    @property
    def asked(self) -> TaskConfig:
        """The task as evaluation puts it: in the wording `eval.wording`, or as it stands."""
        if self.eval.wording is None:
            return self.task
        wording = self.wordings[self.eval.wording]
        return replace(self.task, wording=self.eval.wording, instruction=wording.instruction, form=wording.form)


def schema_node() -> DictConfig:
    """The schema without any value. The nodes whose keys are checked here by name take any key without Hydra's `+`."""
    typed = {
        "train": TrainConfig,
        "eval": EvalConfig,
        "model": ModelConfig,
        "engine": EngineConfig,
        "report": ReportConfig,
    }
    node: DictConfig = OmegaConf.structured(Schema)
    for name, kind in typed.items():
        node[name] = kind
    for name in ("sft", "grpo", "lora", "task", "wordings", "formats"):
        node[name] = {}
        OmegaConf.set_struct(node[name], False)
    return node


def register_schema() -> None:
    """Let `conf/config.yaml` name the schema as `schema` in its defaults list."""
    ConfigStore.instance().store(name="schema", node=schema_node())
