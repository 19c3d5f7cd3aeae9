"""The finished cells of a study, in the order of the experiment's table.

One cell, outputs/arithmetic-tiny/eval/grpo_no_chat_eval_raw--eval.max_tokens=64:

    Cell.name    "grpo_no_chat_eval_raw--eval.max_tokens=64"
    Cell.model   "grpo_no_chat"
    Cell.format  "raw"
    Cell.group   "grpo_no_chat--eval.max_tokens=64"     the cells of one group differ in the evaluation format alone
"""

import json
import logging
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas

from chattpl.errors import UserError

log = logging.getLogger(__name__)

MODEL_ORDER = (
    "sft_chat_template",
    "grpo_chat_template",
    "sft_no_chat_full_loss",
    "sft_no_chat_mask_q",
    "grpo_no_chat",
    "base",
    "sft_chat_template_full_loss",
)
FORMAT_ORDER = ("chat", "raw")

NAMES = ("model_name", "eval_format")
RATES = ("accuracy", "ci_low", "ci_high", "strict_accuracy", "no_answer_rate", "truncated_rate", "run_on_rate")
NUMBERS = ("n", "correct", *RATES, "mean_completion_tokens")
TRAINING = ("train_format", "train_method", "train_masking")
COLUMNS = (
    *("cell", "study", "task", "model_name", *TRAINING, "eval_format", "seed", *NUMBERS),
    *("engine", "seconds", "tokens_per_second", "model_fingerprint", "prompt_fingerprint"),
)
OPTIONAL_COLUMNS = ("num_samples", "pass_at_k", "not_fitting")


@dataclass(frozen=True)
class Cell:
    """One finished cell: its run folder and the content of its summary.json."""

    folder: Path
    summary: dict[str, Any]

    @property
    def name(self) -> str:
        """The name of the run folder."""
        return self.folder.name

    @property
    def model(self) -> str:
        """The name of the evaluated model, with its suffix."""
        return self.summary["model_name"]

    @property
    def format(self) -> str:
        """The format of the evaluation."""
        return self.summary["eval_format"]

    @property
    def group(self) -> str:
        """What the cell has in common with the same model's cells in other formats."""
        return group_name(self.name, self.model, self.format)


def group_name(cell: str, model: str, eval_format: str) -> str:
    """The model's name and what was changed beside the format in the evaluation, as the folder's name says."""
    start = f"{model}_eval_{eval_format}"
    return model + cell.removeprefix(start) if cell.startswith(start) else cell


def collect_cells(study_dir: Path) -> list[Cell]:
    """All finished cells of the study, ordered; a damaged summary.json is left out with a warning.

    Raises:
        UserError: there is none.
    """
    paths = sorted(path for path in study_dir.glob("eval/*/summary.json") if not path.parent.name.startswith("."))
    cells = [cell for path in paths if (cell := _read_cell(path)) is not None]
    if not cells:
        raise UserError(f"study {study_dir.name} holds nothing to report: no eval/*/summary.json in {study_dir}")
    return sorted(cells, key=_place)


def format_order(formats: Iterable[str]) -> list[str]:
    """The distinct formats: chat, raw, then the others by name."""
    return sorted(set(formats), key=lambda name: _rank(FORMAT_ORDER, name))


def to_frame(cells: list[Cell]) -> pandas.DataFrame:
    """One row per cell with the columns that a person compares; rates are fractions of one."""
    optional = [key for key in OPTIONAL_COLUMNS if any(key in cell.summary for cell in cells)]
    rows = [{**cell.summary, "cell": cell.name} for cell in cells]
    columns = [*COLUMNS, *optional]
    return pandas.DataFrame([[_scalar(row.get(key)) for key in columns] for row in rows], columns=columns)


def read_results(cell: Cell) -> pandas.DataFrame:
    """Which samples the cell answered correctly: columns index, question, gold, correct.

    Raises:
        ValueError: results.json is missing, damaged or lacks a field.
    """
    path = cell.folder / "results.json"
    try:
        entries = json.loads(path.read_text(encoding="utf-8"))
        rows = [(entry["index"], entry["question"], entry["gold"], entry["correct"]) for entry in entries]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise ValueError(f"{path} cannot be read ({type(error).__name__}: {error})") from error
    if not all(isinstance(row[3], bool) for row in rows):
        raise ValueError(f"{path} cannot be read (`correct` is not true or false everywhere)")
    return pandas.DataFrame(rows, columns=["index", "question", "gold", "correct"])


def _read_cell(path: Path) -> Cell | None:
    try:
        summary = json.loads(path.read_text(encoding="utf-8"))
        _check(summary)
    except (OSError, ValueError) as error:
        log.warning("%s is left out of the report: %s", path, error)
        return None
    return Cell(path.parent, summary)


def _check(summary: Any) -> None:
    if not isinstance(summary, dict):
        raise ValueError("it holds no summary")
    for key in NAMES:
        if not isinstance(summary.get(key), str):
            raise ValueError(f"{key} is no name")
    for key in NUMBERS:
        if isinstance(summary.get(key), bool) or not isinstance(summary.get(key), int | float):
            raise ValueError(f"{key} is no number")


def _place(cell: Cell) -> tuple:
    model, _, suffix = cell.model.partition("--")
    return *_rank(MODEL_ORDER, model), suffix, *_rank(FORMAT_ORDER, cell.format), cell.name


def _rank(order: tuple[str, ...], name: str) -> tuple[int, str]:
    return (order.index(name) if name in order else len(order)), name


def _scalar(value: Any) -> Any:
    return json.dumps(value, sort_keys=True) if isinstance(value, dict | list) else value
