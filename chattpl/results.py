"""The fields of `results.json`, `summary.json` and `train.json`.

Training and evaluation write through these classes and the report reads through them, so a field has one name, one
type and one place where it is declared. One entry of `results.json`:

    {"index": 0, "question": "Paul has 4 packs ...", "gold": "3", "output": "4 * 9 = 36 rulers\\n...\\n#### 3",
     "extracted": "3", "correct": true, "strict": true, "rules": {"committed": true, "strict": true},
     "run_on": false, "stop_reason": "eos", "completion_tokens": 41, "fits": true}
"""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from chattpl.records import Record

# Of the files as a whole. It changes when what was written before can no longer be compared with what is written now.
SCHEMA = 3

STOP_REASONS = ("eos", "stop", "length")
DEFAULT_RULE = "committed"  # the grading rule that `correct`, hence accuracy and reward, goes by


@dataclass(frozen=True, kw_only=True)
class Answer(Record):
    """What a model answered.

    Attributes:
        output: the text that is graded.
        thought: what the model thought before it answered, and nobody grades; None where it did not think.
        stop_reason: "eos" an end token, "stop" a stop string, "length" the token budget.
        completion_tokens: those of the thought included.
        fits: false where the prompt left no room for an answer and was never asked.
    """

    output: str
    thought: str | None = None
    stop_reason: str
    completion_tokens: int
    fits: bool


@dataclass(frozen=True, kw_only=True)
class Grading(Answer):
    """One answer and what the grader says of it.

    Attributes:
        extracted: the answer that was found in the output, whatever its form; None if none was found.
        rules: whether the answer is correct, by the name of each grading rule; `correct` is that of `DEFAULT_RULE`.
        run_on: the model went on after it had answered, with another question say.
    """

    extracted: str | None
    correct: bool
    strict: bool
    rules: dict[str, bool]
    run_on: bool


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

    @property
    def sample(self) -> tuple[int, str, str]:
        """What was asked: only answers to the same are compared."""
        return self.index, self.question, self.gold

    def gradings(self) -> list[Grading]:
        """Every answer to this sample."""
        return [Grading.from_json(each) for each in self.answers] if self.answers else [self]


@dataclass(frozen=True, kw_only=True)
class Figures(Record):
    """The figures of a cell; all rates are fractions of one, of the answers.

    Attributes:
        n: the number of questions.
        correct: the number of correct answers: of n, or of `num_answers` where several were drawn.
        ci_low, ci_high: Wilson's 95 % interval of the accuracy, clustered by question where several were drawn.
        accuracy_by_rule: the accuracy by the name of each grading rule; that of `DEFAULT_RULE` is `accuracy`.
        num_samples, num_answers: answers to a question and altogether; none where one was drawn.
        pass_at_k, pass_at_k_ci: by k, the probability that one of k answers is correct, and its interval.
    """

    n: int
    correct: int
    accuracy: float
    ci_low: float
    ci_high: float
    accuracy_by_rule: dict[str, float]
    strict_accuracy: float
    no_answer_rate: float
    truncated_rate: float
    run_on_rate: float
    not_fitting: int = 0
    mean_completion_tokens: float
    seconds: float
    tokens_per_second: float | None
    num_samples: int | None = None
    num_answers: int | None = None
    pass_at_k: dict[Any, float] | None = None
    pass_at_k_ci: dict[Any, list[float]] | None = None


@dataclass(frozen=True, kw_only=True)
class Summary(Figures):
    """`summary.json`: which cell this is, its figures, and what they were computed from.

    Attributes:
        cell: the name of the run folder.
        group: what the cell has in common with the same model's cells in other evaluation formats.
        changes: dotted key to value of what was changed beside the axes, in training or evaluation.
        train_format: null for the untrained model.
        train_masking: null for methods without a loss on given answers.
        device, hardware, threads: on what it was computed (`chattpl.generation.device.conditions`).
        inputs: everything that decided the answers; `fingerprint` is its SHA-256.
        weights: the SHA-256 of the trained model's weights; none of the untrained model.
        grader: the fingerprint of what graded them.
    """

    schema: int
    study: str
    cell: str
    group: str
    changes: dict[str, Any]
    model_name: str
    task: str
    split: str
    train_format: str | None
    train_method: str
    train_masking: str | None
    eval_format: str
    seed: int
    engine: str
    device: str
    hardware: str
    threads: int
    stop: dict[str, Any]
    model_fingerprint: str
    weights: str | None = None
    prompt_fingerprint: str
    grader: str
    versions: dict[str, Any]
    fingerprint: str
    inputs: dict[str, Any]

    def to_json(self) -> dict[str, Any]:
        """What the cell is first, then its figures, then the rest."""
        content = super().to_json()
        first = {key: content.pop(key) for key in IDENTITY}
        last = {key: content.pop(key) for key in ("versions", "fingerprint", "inputs")}
        return first | content | last


IDENTITY = (
    "schema", "study", "cell", "group", "changes", "task", "split", "model_name",
    "train_format", "train_method", "train_masking", "eval_format", "seed",
)  # fmt: skip
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
