"""What SFT and GRPO share: loading, configuring, resuming, saving."""

import json
import logging
import shutil
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from transformers import (
    AutoModelForCausalLM,
    GenerationConfig,
    PreTrainedModel,
    PreTrainedTokenizerBase,
    PrinterCallback,
    Trainer,
    TrainerCallback,
    TrainerControl,
    TrainerState,
    TrainingArguments,
)
from transformers.trainer_callback import ExportableState

from chattpl import signals, vectormath
from chattpl.basemodel import FILES
from chattpl.config import Config
from chattpl.errors import UserError
from chattpl.formats import Format, StopPolicy

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Job:
    """Everything that a training run needs, wherever it runs.

    Attributes:
        base: folder of the model to start from.
        work: folder for checkpoints; what lies there from an interrupted run is gone on from.
        device: "cpu" or "cuda".
    """

    config: Config
    base: Path
    tokenizer: PreTrainedTokenizerBase
    form: Format
    stop: StopPolicy
    work: Path
    device: str


def load_model(job: Job) -> PreTrainedModel:
    """The base model in `model.train_dtype`, its end tokens set to those at which this study stops."""
    vectormath.settle()
    model = AutoModelForCausalLM.from_pretrained(
        job.base,
        dtype=getattr(torch, job.config.model.train_dtype),
        attn_implementation=job.config.model.attn_implementation,
        trust_remote_code=job.config.model.trust_remote_code,
        use_safetensors=True,
    )
    model.generation_config.eos_token_id = list(job.stop.token_ids)
    return model


def trainer_arguments(job: Job, kind: type, own: dict[str, Any], **ours: Any) -> Any:
    """TRL's configuration of class `kind` from the fields in `own`, with what the run folder and device decide.

    Raises:
        UserError: TRL refuses a value.
    """
    fields = {
        "report_to": "none",
        "disable_tqdm": not sys.stderr.isatty(),
        "dataloader_pin_memory": job.device != "cpu",
        "logging_nan_inf_filter": False,
        **own,
        "output_dir": str(job.work),
        "seed": job.config.seed,
        "use_cpu": job.device == "cpu",
        **ours,
    }
    try:
        return kind(**fields)
    except (ValueError, TypeError) as error:
        reason = " ".join(str(error).split())
        raise UserError(f"{job.config.train.method}.*: {kind.__name__} refuses the configuration: {reason}") from error


class _Checkpoints(TrainerCallback):
    """A waiting signal ends the training after this step, with a checkpoint; the end itself needs none."""

    def on_step_end(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> TrainerControl:
        if signals.pending():
            control.should_save = control.should_training_stop = True
        elif state.global_step >= state.max_steps:
            control.should_save = False  # the model is published next; its optimizer state is of no more use
        return control


class _LogProgress(TrainerCallback):
    """What the trainer logs, as one line in the run's log."""

    def __init__(self) -> None:
        self._last = 0.0

    def on_log(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, logs: dict[str, Any], **kwargs: Any
    ) -> None:
        shown = {key: logs[key] for key in ("loss", "reward", "learning_rate", "grad_norm") if key in logs}
        due = time.monotonic() - self._last > 2 or state.global_step == state.max_steps
        if shown and due:
            figures = ", ".join(f"{key} {float(value):.4g}" for key, value in shown.items())
            logger.info("step %d of %d: %s", state.global_step, state.max_steps, figures)
            self._last = time.monotonic()


class _Clock(TrainerCallback, ExportableState):
    """The seconds that went into the model so far, those before an interruption included. Kept in each checkpoint."""

    def __init__(self, checkpoint: Path | None):
        self._before = 0.0
        if checkpoint:
            kept = _state_of(checkpoint)["stateful_callbacks"][type(self).__name__]
            self._before = kept["attributes"]["seconds"]
        self._started = time.monotonic()

    @property
    def seconds(self) -> float:
        return self._before + time.monotonic() - self._started

    def state(self) -> dict[str, Any]:
        return {"args": {}, "attributes": {"seconds": self.seconds}}


def callbacks() -> list[TrainerCallback]:
    """Those of every training run."""
    return [_Checkpoints(), _LogProgress()]


def last_checkpoint(folder: Path) -> Path | None:
    """The newest whole checkpoint; what is not whole is removed. A checkpoint's state is the last file written."""
    whole: dict[int, Path] = {}
    for path in folder.glob("checkpoint-*"):
        try:
            step = _state_of(path)["global_step"]
        except (OSError, ValueError, KeyError):
            shutil.rmtree(path)
            continue
        whole[step] = path
    return whole[max(whole)] if whole else None


def _state_of(checkpoint: Path) -> dict[str, Any]:
    return json.loads((checkpoint / "trainer_state.json").read_text(encoding="utf-8"))


def train(trainer: Trainer, job: Job) -> dict[str, Any]:
    """Train to the end, from the last checkpoint if there is one. Returns what `train.json` says of it.

    Raises:
        Interrupted: a signal arrived; a checkpoint was written first.
    """
    checkpoint = last_checkpoint(job.work)
    if checkpoint is not None:
        logger.info("going on from %s", checkpoint.name)
    trainer.remove_callback(PrinterCallback)
    clock = _Clock(checkpoint)
    trainer.add_callback(clock)
    with signals.deferred():
        trainer.train(resume_from_checkpoint=str(checkpoint) if checkpoint else None)
    history = trainer.state.log_history
    return {
        "seconds": round(clock.seconds, 2),
        "steps": trainer.state.global_step,
        "resumed_from_step": int(checkpoint.name.partition("-")[2]) if checkpoint else None,
        "device": torch.cuda.get_device_name() if job.device == "cuda" else "cpu",
        "loss": _curve(history, "loss"),
        "log": history,
    }


def _curve(history: Sequence[dict[str, Any]], key: str) -> list[list[float]]:
    """`[step, value]` for each log entry that holds `key`."""
    return [[entry["step"], entry[key]] for entry in history if key in entry]


def save_model(model: PreTrainedModel, job: Job, folder: Path) -> None:
    """A Hugging Face folder that plain transformers and vLLM use as this study does: template, end tokens and all."""
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    for path in (path for pattern in FILES for path in job.base.glob(pattern)):
        if path.suffix != ".safetensors" and not path.name.endswith(".safetensors.index.json"):
            shutil.copyfile(path, folder / path.name)
    (folder / "train.json").unlink(missing_ok=True)
    model.to(getattr(torch, job.config.model.dtype))
    model.config.use_cache = True
    model.save_pretrained(folder)
    generation = GenerationConfig.from_pretrained(folder)
    generation.eos_token_id = list(job.stop.token_ids)
    generation.pad_token_id = job.tokenizer.pad_token_id
    generation.save_pretrained(folder)
