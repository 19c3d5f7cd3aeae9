"""What runs beside a training: checkpoints for whoever interrupts it, progress, the clock."""

import json
import logging
import shutil
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments
from transformers.trainer_callback import ExportableState

from chattpl import progress, ranks, signals
from chattpl.progress import STEPS

logger = logging.getLogger(__name__)


class Checkpoints(TrainerCallback):
    """Decides after which steps a checkpoint is written: only where the training can be resumed exactly.

    A checkpoint that is due, and a waiting signal, which ends the training there, wait for such a step. The last step
    needs none: the model is published next. What was not logged yet is logged first, since no checkpoint holds it.
    A signal to one rank is one to all, so that they end in the same step.

    Args:
        resumable: whether a checkpoint written now would hold everything that the next step starts from.
    """

    def __init__(self, resumable: Callable[[], bool]):
        self._resumable = resumable
        self._due = False
        self._saved_at = 0

    def on_step_end(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> TrainerControl:
        signals.hold(max(ranks.gathered(signals.waiting())))
        self._due = self._due or control.should_save or signals.pending()
        possible = self._saved_at < state.global_step < state.max_steps and self._resumable()
        control.should_save = self._due and possible
        if control.should_save:
            control.should_log = True
            control.should_training_stop = control.should_training_stop or signals.pending()
        return control

    on_epoch_end = on_step_end  # where `save_strategy=epoch` asks for one

    def on_save(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any) -> None:
        self._due, self._saved_at = False, state.global_step


class LogProgress(TrainerCallback):
    """What the trainer logs, as one line in the run's log; and each step, for whoever watches."""

    SHOWN = {
        "loss": "loss",
        "reward": "reward",
        "learning_rate": "learning_rate",
        "grad_norm": "grad_norm",
        "completions/clipped_ratio": "truncated",
        "discarded_rate": "discarded",
        "uniform_group_rate": "uniform groups",
    }

    def __init__(self) -> None:
        self._last = 0.0

    def on_step_end(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any) -> None:
        progress.current().count(state.global_step, state.max_steps, STEPS)

    on_train_begin = on_step_end

    def on_log(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, logs: dict[str, Any], **kwargs: Any
    ) -> None:
        shown = {name: logs[key] for key, name in self.SHOWN.items() if key in logs}
        figures = ", ".join(f"{name} {float(value):.4g}" for name, value in shown.items())
        progress.current().figures = figures or progress.current().figures
        due = time.monotonic() - self._last > 2 or state.global_step == state.max_steps
        if shown and due:
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


def last_checkpoint(folder: Path) -> Path | None:
    """The newest whole checkpoint; what is not whole is removed. A checkpoint's state is the last file written.

    Of several ranks, each with a folder of its own, the newest that all have.
    """
    whole: dict[int, Path] = {}
    for path in folder.glob("checkpoint-*"):
        try:
            step = _state_of(path)["global_step"]
            next(path.glob("*.safetensors"))  # a copy of a study may lack them
        except (OSError, ValueError, KeyError, StopIteration):
            shutil.rmtree(path)
            continue
        whole[step] = path
    common = set.intersection(*ranks.gathered(set(whole)))
    return whole[max(common)] if common else None


def _state_of(checkpoint: Path) -> dict[str, Any]:
    state: dict[str, Any] = json.loads((checkpoint / "trainer_state.json").read_text(encoding="utf-8"))
    return state
