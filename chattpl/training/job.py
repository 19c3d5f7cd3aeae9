"""A training as plain data: everything that one process hands to another.

job = TrainingJob.from_json(json.loads(Path("job.json").read_text()))
"""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from chattpl.generation.base import EngineSpec
from chattpl.tasks.config import TaskConfig


@dataclass(frozen=True)
class TrainingJob:
    """One training. It leaves a model folder with its `train.json` in `output`.

    Attributes:
        name: of the model, for messages and trackers; `study` likewise.
        method: a row of `METHODS`.
        masking: "answer" or "full"; null where the method learns from no given answers.
        base: folder of the model to start from; `base_name` is what others find it by: its hub id, or the folder.
        work: folder for checkpoints; an interrupted run resumes from there.
        output: folder that is filled; `train.json` is written last.
        dtype: of the published weights; `train_dtype`: of those that are trained.
        master_weights: the optimizer keeps bfloat16 weights in float32 as well.
        format_name, format: the training format and its fields.
        hyperparameters: fields of TRL's configuration class.
        lora: fields of peft's `LoraConfig`; null for full fine-tuning.
        stop: stop strings of the rollouts.
        engine: what makes the rollouts; null where the method has none.
        device: "cpu" or "cuda".
        gpus: processes that it is shared out among, each with a card of its own; `gpu_share` is the part of a card's
            memory that one may use.
        tracker: a row of `TRACKERS`; `tracking` is the folder for what it writes.
        inputs: everything that decides the model; written into `train.json` with its fingerprint.
    """

    name: str
    study: str
    method: str
    masking: str | None
    base: str
    base_name: str
    work: str
    output: str
    dtype: str
    train_dtype: str
    master_weights: bool
    attn_implementation: str | None
    trust_remote_code: bool
    format_name: str
    format: Mapping[str, Any]
    task: TaskConfig
    hyperparameters: Mapping[str, Any]
    lora: Mapping[str, Any] | None
    stop: tuple[str, ...]
    engine: EngineSpec | None
    seed: int
    device: str
    gpus: int
    gpu_share: float
    tracker: str
    tracking: str
    inputs: Mapping[str, Any]

    def to_json(self) -> dict[str, Any]:
        """The job as JSON values."""
        return {**asdict(self), "stop": list(self.stop)}

    @classmethod
    def from_json(cls, content: Mapping[str, Any]) -> "TrainingJob":
        """The job that `to_json` gave.

        Raises:
            TypeError: a key is missing or unknown.
        """
        engine = content["engine"]
        return cls(
            **{
                **content,
                "task": TaskConfig(**content["task"]),
                "stop": tuple(content["stop"]),
                "engine": EngineSpec(**engine) if engine else None,
            }
        )

    @property
    def base_folder(self) -> Path:
        """`base` as a path."""
        return Path(self.base)
