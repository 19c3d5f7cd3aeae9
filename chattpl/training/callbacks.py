"""What runs beside a training: checkpoints for whoever interrupts it, progress, the clock."""

import json
import logging
import shutil
import time
from pathlib import Path
from typing import Any

from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments
from transformers.trainer_callback import ExportableState

from chattpl import signals

logger = logging.getLogger(__name__)


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


class Clock(TrainerCallback, ExportableState):
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
    state: dict[str, Any] = json.loads((checkpoint / "trainer_state.json").read_text(encoding="utf-8"))
    return state
