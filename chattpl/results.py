"""The fields of `results.json`, `summary.json`, `train.json` and `comparison.csv`.

Training and evaluation write through these classes and the report reads through them, so a field has one name, one
type and one place where it is declared. One entry of `results.json`:

    {"index": 0, "question": "Paul has 4 packs ...", "gold": "3", "output": "4 * 9 = 36 rulers\\n...\\n#### 3",
     "extracted": "3", "correct": true, "strict": true, "run_on": false, "stop_reason": "eos",
     "completion_tokens": 41, "fits": true}
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from chattpl.records import Record

# Of the files as a whole. It changes when what was written before can no longer be compared with what is written now.
SCHEMA = 2

STOP_REASONS = ("eos", "stop", "length")


class OtherVersionError(ValueError):
    """A file is whole, but of another schema."""


@dataclass(frozen=True, kw_only=True)
class Grading(Record):
    """One answer and what the grader says of it.

    Attributes:
        extracted: the answer that was found in the output, whatever its form; None if none was found.
        run_on: text other than white space follows the first complete answer.
        stop_reason: "eos" an end token, "stop" a stop string, "length" the token budget.
        fits: false where the prompt left no room for an answer and was never asked.
    """

    output: str
    extracted: str | None
    correct: bool
    strict: bool
    run_on: bool
    stop_reason: str
    completion_tokens: int
    fits: bool


@dataclass(frozen=True, kw_only=True)
class Result(Grading):
    """An entry of `results.json`: one test sample with its first answer, and all of them where several were drawn."""

    index: int
    question: str
    gold: str
    answers: list[dict[str, Any]] | None = None

    def to_json(self) -> dict[str, Any]:
        """The sample first, then its answer."""
        content = super().to_json()
        return {key: content.pop(key) for key in ("index", "question", "gold")} | content

    def gradings(self) -> list[Grading]:
        """Every answer to this sample."""
        return [Grading.from_json(each) for each in self.answers] if self.answers else [self]


@dataclass(frozen=True, kw_only=True)
class Figures(Record):
    """The figures of a cell; all rates are fractions of one. `ci_low` and `ci_high`: Wilson's 95 % interval."""

    n: int
    correct: int
    accuracy: float
    ci_low: float
    ci_high: float
    strict_accuracy: float
    no_answer_rate: float
    truncated_rate: float
    run_on_rate: float
    not_fitting: int = 0
    mean_completion_tokens: float
    seconds: float
    tokens_per_second: float | None
    num_samples: int | None = None
    pass_at_k: dict[Any, float] | None = None


@dataclass(frozen=True, kw_only=True)
class Summary(Figures):
    """`summary.json`: which cell this is, its figures, and what they were computed from.

    Attributes:
        cell: the name of the run folder.
        group: what the cell has in common with the same model's cells in other evaluation formats.
        changes: dotted key to value of what was changed beside the axes, in training or evaluation.
        train_format: null for the untrained model.
        train_masking: null for methods without a loss on given answers.
        inputs: everything that decided these figures; `fingerprint` is its SHA-256.
    """

    schema: int
    study: str
    cell: str
    group: str
    changes: dict[str, Any]
    model_name: str
    task: str
    train_format: str | None
    train_method: str
    train_masking: str | None
    eval_format: str
    seed: int
    engine: str
    device: str
    stop: dict[str, Any]
    model_fingerprint: str
    prompt_fingerprint: str
    versions: dict[str, Any]
    fingerprint: str
    inputs: dict[str, Any]

    def to_json(self) -> dict[str, Any]:
        """What the cell is first, then its figures, then the rest."""
        content = super().to_json()
        first = {key: content.pop(key) for key in IDENTITY}
        last = {key: content.pop(key) for key in ("versions", "fingerprint", "inputs")}
        return first | content | last


@dataclass(frozen=True, kw_only=True)
class Curves(Record):
    """The course of a training; part of `train.json`.

    Attributes:
        seconds: those before an interruption included.
        steps: optimizer steps.
        tokens: seen (SFT) or generated (GRPO).
        loss, mean_reward: `[step, value]` for each log entry that holds it.
        log: everything that the trainer logged.
    """

    seconds: float
    steps: int
    resumed_from_step: int | None
    device: str
    samples: int
    dropped_samples: int
    tokens: int
    tokens_per_second: float
    end_token: dict[str, Any]
    loss: list[list[float]]
    log: list[dict[str, Any]]
    mean_reward: list[list[float]] | None = None


@dataclass(frozen=True, kw_only=True)
class TrainReport(Curves):
    """`train.json`: everything that decided the model (`fingerprint` is its SHA-256), and the training's course."""

    schema: int
    fingerprint: str
    inputs: dict[str, Any]
    versions: dict[str, Any]


IDENTITY = (
    "schema", "study", "cell", "group", "changes", "task", "model_name",
    "train_format", "train_method", "train_masking", "eval_format", "seed",
)  # fmt: skip
# What a person compares: the columns of comparison.csv, in order.
COMPARISON = (
    "cell", "group", "study", "task", "model_name", "train_format", "train_method", "train_masking", "eval_format",
    "seed", "n", "correct", "accuracy", "ci_low", "ci_high", "strict_accuracy", "no_answer_rate", "truncated_rate",
    "run_on_rate", "mean_completion_tokens", "engine", "seconds", "tokens_per_second", "model_fingerprint",
    "prompt_fingerprint",
)  # fmt: skip
OPTIONAL_COMPARISON = ("num_samples", "pass_at_k", "not_fitting")  # columns only where some cell has them


# The figures that a job can return to a sweeper that searches (`objective`).
OBJECTIVES = (
    "accuracy", "strict_accuracy", "no_answer_rate", "truncated_rate", "run_on_rate", "mean_completion_tokens",
)  # fmt: skip


def read_results(path: Path) -> list[Result]:
    """The entries of a `results.json`.

    Raises:
        ValueError: the file is missing or damaged, or an entry lacks a field; the message names the file.
    """
    try:
        return [Result.from_json(entry) for entry in json.loads(path.read_text(encoding="utf-8"))]
    except (OSError, ValueError, TypeError) as error:
        raise ValueError(f"{path} cannot be read ({type(error).__name__}: {error})") from error


def read_summary(path: Path) -> Summary:
    """The content of a `summary.json`.

    Raises:
        OSError: the file cannot be opened.
        ValueError: the file is damaged or lacks a field.
        OtherVersionError: it was written by another version of chattpl; also a ValueError.
    """
    content = json.loads(path.read_text(encoding="utf-8"))
    if isinstance(content, Mapping) and content.get("schema") != SCHEMA:
        raise OtherVersionError(other_version(content))
    return Summary.from_json(content)


def other_version(manifest: Mapping[str, Any]) -> str:
    """What a manifest of another schema was written by, for a message."""
    versions = manifest.get("versions")
    version = versions.get("chattpl", "of unknown version") if isinstance(versions, Mapping) else "of unknown version"
    return f"it was written by chattpl {version}, whose files (schema {manifest.get('schema', 1)}) this version " \
           f"(schema {SCHEMA}) does not read"  # fmt: skip
