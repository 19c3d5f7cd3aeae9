"""The finished cells of a study, in the order of the experiment's table.

One cell, outputs/arithmetic-tiny/eval/grpo_no_chat_eval_raw--eval.max_tokens=64:

    Cell.name    "grpo_no_chat_eval_raw--eval.max_tokens=64"
    Cell.model   "grpo_no_chat"
    Cell.format  "raw"
    Cell.group   "grpo_no_chat--eval.max_tokens=64"     the cells of one group differ in the evaluation format alone

All but the name is what summary.json says: nothing is read out of a folder's name.
"""

import contextlib
import functools
import json
import logging
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas

from chattpl.errors import UserError
from chattpl.hashing import canonical
from chattpl.manifests import OtherVersionError, read_summary, read_training
from chattpl.results import Summary
from chattpl.train_report import TrainReport
from chattpl.weights import report_of

log = logging.getLogger(__name__)

# Format, method and masking of the training; whatever else there is comes after these, by name.
TRAINING_ORDER = (
    ("chat", "sft", "answer"),
    ("chat", "grpo", None),
    ("raw", "sft", "full"),
    ("raw", "sft", "answer"),
    ("raw", "grpo", None),
    (None, "none", None),
    ("chat", "sft", "full"),
)
FORMAT_ORDER = ("chat", "raw")
# Of an evaluation's inputs what may differ between two models that are asked alike.
OF_THE_MODEL = ("model", "seed", "device")
_NUMBER = re.compile(r"((?:(?<![^=])-)?\d+(?:\.\d+)?(?:e[-+]?\d+)?)")  # in a name; of a value with its sign
# What a person compares: the columns of comparison.csv, in order; then `accuracy_<rule>` for each grading rule.
COMPARISON = (
    "cell", "group", "study", "task", "model_name", "train_format", "train_method", "train_masking", "eval_format",
    "seed", "n", "correct", "accuracy", "ci_low", "ci_high", "strict_accuracy", "no_answer_rate", "truncated_rate",
    "run_on_rate", "mean_completion_tokens", "engine", "seconds", "tokens_per_second", "model_fingerprint",
    "prompt_fingerprint",
)  # fmt: skip
# Columns only where some cell has them.
OPTIONAL_COMPARISON = ("num_samples", "num_answers", "pass_at_k", "pass_at_k_ci", "not_fitting")


@dataclass(frozen=True)
class Cell:
    """One finished cell: its run folder and its summary."""

    folder: Path
    summary: Summary

    @property
    def name(self) -> str:
        """The name of the run folder."""
        return self.folder.name

    @property
    def model(self) -> str:
        """The name of the evaluated model."""
        return self.summary.model_name

    @property
    def format(self) -> str:
        """The format of the evaluation."""
        return self.summary.eval_format

    @property
    def group(self) -> str:
        """What the cell has in common with the same model's cells in other formats."""
        return self.summary.group

    @functools.cached_property
    def asked(self) -> tuple[str, str]:
        """What the cell has in common with those of other models that are asked the same in the same way."""
        inputs = {key: value for key, value in self.summary.inputs.items() if key not in OF_THE_MODEL}
        inputs["task.wording"] = self.wording
        inputs.pop("eval.wording", None)
        return self.format, canonical(inputs)

    @property
    def wording(self) -> str | None:
        """The wording that it was asked in; None for an instruction that is no wording's."""
        inputs = self.summary.inputs
        return inputs.get("eval.wording") or inputs.get("task.wording")

    @functools.cached_property
    def training(self) -> TrainReport | None:
        """How the weights were trained that answered, if they were and their model's folder still says so."""
        folder = self.folder.parents[1] / "models" / self.model
        for path in (folder / "train.json", report_of(folder, self.summary.weights or "")):
            with contextlib.suppress(OSError, ValueError):
                report = read_training(path)
                if (report.fingerprint, report.weights) == (self.summary.model_fingerprint, self.summary.weights):
                    return report
        return None


def collect_cells(study_dir: Path) -> list[Cell]:
    """All finished cells of the study, ordered.

    A summary.json that is damaged or that another version wrote is left out with a warning.

    Raises:
        UserError: there is none.
    """
    cells: list[Cell] = []
    problems: list[Exception] = []
    for path in sorted(study_dir.glob("eval/*/summary.json")):
        if path.parent.name.startswith("."):
            continue
        try:
            cells.append(Cell(path.parent, read_summary(path)))
        except (OSError, ValueError) as error:
            log.warning("%s is left out of the report: %s", path, error)
            problems.append(error)
    if not cells:
        raise UserError(_nothing_to_report(study_dir, problems))
    return sorted(cells, key=_place)


def format_order(formats: Iterable[str]) -> list[str]:
    """The distinct formats: chat, raw, then the others by name."""
    return sorted(set(formats), key=lambda name: (_rank(FORMAT_ORDER, name), name))


def to_frame(cells: Sequence[Cell]) -> pandas.DataFrame:
    """One row per cell with the columns that a person compares; rates are fractions of one."""
    optional = [key for key in OPTIONAL_COMPARISON if any(getattr(cell.summary, key) for cell in cells)]
    rules = rules_of(cells)
    columns = [*COMPARISON, *(writable(f"accuracy_{rule}") for rule in rules), *optional]
    return pandas.DataFrame([_row(cell, rules, optional) for cell in cells], columns=columns)


def rules_of(cells: Sequence[Cell]) -> list[str]:
    """The grading rules that some cell has."""
    return list(dict.fromkeys(rule for cell in cells for rule in cell.summary.accuracy_by_rule))


def _row(cell: Cell, rules: Sequence[str], optional: Sequence[str]) -> list[Any]:
    summary = cell.summary
    # The folder's name, not the summary's: a reader has to find the folder, also after it was renamed.
    row = [cell.name if key == "cell" else getattr(summary, key) for key in COMPARISON]
    row += [summary.accuracy_by_rule.get(rule) for rule in rules]
    return [writable(value) for value in (*row, *(getattr(summary, key) for key in optional))]


def _nothing_to_report(study_dir: Path, problems: Sequence[Exception]) -> str:
    message = f"study {study_dir.name} holds nothing to report: no eval/*/summary.json in {study_dir}"
    others = sum(isinstance(problem, OtherVersionError) for problem in problems)
    if not others:
        return message
    return (
        f"{message} that this version of chattpl reads, but {others} written by another version:"
        " report the study with that version, or evaluate again with overwrite=true"
    )


def _place(cell: Cell) -> tuple[Any, ...]:
    """Where the cell stands: by training, seed and model, a changed evaluation after the plain one, then by format."""
    summary = cell.summary
    training = (summary.train_format, summary.train_method, summary.train_masking)
    named = summary.seed, _by_number(summary.model_name)
    model = (_rank(TRAINING_ORDER, training), *(axis or "" for axis in training), *named)
    changes = sorted((key, _by_number(str(value))) for key, value in summary.changes.items())
    return *model, changes, _rank(FORMAT_ORDER, cell.format), cell.format, cell.name


def _by_number(text: str) -> list[str | float]:
    """What sorts a text with its numbers as numbers: 2e-06 before 1e-05, 7 before 17."""
    return [float(part) if place % 2 else part for place, part in enumerate(_NUMBER.split(text))]


def _rank(order: Sequence[Any], value: Any) -> int:
    return order.index(value) if value in order else len(order)


def writable(value: Any) -> Any:
    """The value as it can stand in a CSV file: a list or dictionary as JSON."""
    if isinstance(value, str):
        # A lone surrogate can stand in JSON, but not in UTF-8, which is how pandas keeps text.
        return value if value.isascii() else value.encode("utf-8", "backslashreplace").decode("utf-8")
    return json.dumps(value, sort_keys=True) if isinstance(value, dict | list) else value
