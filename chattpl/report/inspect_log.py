"""The cells as logs of inspect_ai, for its viewer: `inspect view --log-dir outputs/<study>/eval`.

`cell.eval` beside a cell's `results.json` holds each question with its answers, and a score for each grading rule.
"""

from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from chattpl.files import PARTIAL
from chattpl.report.collect import Cell, writable
from chattpl.report.samples import Samples, verdicts
from chattpl.results import DEFAULT_RULE, Grading, Result, Summary

FILE = "cell.eval"
STOP_REASONS = {"eos": "stop", "stop": "stop", "length": "max_tokens"}
# Of the summary: what the viewer shows of the cell as a whole.
METADATA = (
    "cell", "group", "changes", "train_format", "train_method", "train_masking", "eval_format", "split", "seed",
    "engine", "hardware", "strict_accuracy", "no_answer_rate", "truncated_rate", "run_on_rate", "not_fitting",
    "model_fingerprint", "prompt_fingerprint", "grader", "fingerprint",
)  # fmt: skip


def write_logs(cells: Sequence[Cell], samples: Samples) -> None:
    """Write the log of each cell whose samples can be read, where there is none as new as its summary."""
    for cell in cells:
        results, path = samples[cell.name], cell.folder / FILE
        if not isinstance(results, str) and not _is_current(path, cell.folder / "summary.json"):
            _write(path, cell, results)


def _is_current(path: Path, summary: Path) -> bool:
    return path.is_file() and path.stat().st_mtime >= summary.stat().st_mtime


def _write(path: Path, cell: Cell, results: Sequence[Result]) -> None:
    from inspect_ai.log import write_eval_log

    partial = path.with_name(f".{path.name}{PARTIAL}")
    write_eval_log(_log(cell, results), str(partial), format="eval")
    partial.replace(path)


def _log(cell: Cell, results: Sequence[Result]) -> Any:
    """`inspect_ai.log.EvalLog` of a cell."""
    from inspect_ai.log import EvalConfig, EvalDataset, EvalLog, EvalSpec, EvalStats

    summary = cell.summary
    ended = (cell.folder / "summary.json").stat().st_mtime
    began, done = (datetime.fromtimestamp(each, UTC).isoformat() for each in (ended - summary.seconds, ended))
    return EvalLog(
        status="success",
        eval=EvalSpec(
            created=began,
            eval_id=summary.fingerprint,
            run_id=summary.fingerprint,
            task=writable(f"{summary.task} in {summary.eval_format}"),
            task_id=summary.fingerprint,
            dataset=EvalDataset(name=summary.task, samples=len(results)),
            model=writable(f"chattpl/{summary.model_name}"),
            config=EvalConfig(epochs=summary.num_samples or 1),
            packages={name: str(version) for name, version in summary.versions.items()},
            metadata={key: _plain(getattr(summary, key)) for key in METADATA},
        ),
        results=_results(summary),
        stats=EvalStats(started_at=began, completed_at=done),
        samples=[
            _sample(result, number, grading)
            for result in results
            for number, grading in enumerate(result.gradings(), start=1)
        ],
    )


def _results(summary: Summary) -> Any:
    """The accuracy under each rule; the interval is that of the default rule."""
    from inspect_ai.log import EvalMetric, EvalResults, EvalScore

    scores = []
    for rule, accuracy in summary.accuracy_by_rule.items():
        values = {"accuracy": accuracy}
        if rule == DEFAULT_RULE:
            values |= {"ci_low": summary.ci_low, "ci_high": summary.ci_high}
        metrics = {name: EvalMetric(name=name, value=value) for name, value in values.items()}
        scores.append(EvalScore(name=writable(rule), scorer=writable(rule), metrics=metrics))
    answers = summary.num_answers or summary.n
    return EvalResults(total_samples=answers, completed_samples=answers, scores=scores)


def _sample(result: Result, number: int, grading: Grading) -> Any:
    """One answer: `EvalSample`, whose epoch is the number of the answer to its question."""
    from inspect_ai.log import EvalSample
    from inspect_ai.model import ChatCompletionChoice, ChatMessageAssistant, ChatMessageUser, ModelOutput, ModelUsage
    from inspect_ai.scorer import CORRECT, INCORRECT, Score

    said, tokens = _said(grading), grading.completion_tokens
    asked, answered = ChatMessageUser(content=writable(result.question)), ChatMessageAssistant(content=said)
    choice = ChatCompletionChoice(message=answered, stop_reason=STOP_REASONS[grading.stop_reason])
    extracted = None if grading.extracted is None else writable(grading.extracted)
    return EvalSample(
        id=result.index,
        epoch=number,
        input=writable(result.question),
        target=writable(result.gold),
        messages=[asked, answered],
        output=ModelOutput(choices=[choice], usage=ModelUsage(output_tokens=tokens, total_tokens=tokens)),
        scores={
            writable(rule): Score(value=CORRECT if right else INCORRECT, answer=extracted)
            for rule, right in verdicts(grading).items()
        },
        metadata={"strict": grading.strict, "run_on": grading.run_on, "fits": grading.fits},
    )


def _said(grading: Grading) -> Any:
    """The content of the answer; what was thought before is told apart."""
    from inspect_ai.model import ContentReasoning, ContentText

    output = writable(grading.output)
    if grading.thought is None:
        return output
    return [ContentReasoning(reasoning=writable(grading.thought)), ContentText(text=output)]


def _plain(value: Any) -> Any:
    """A value of the summary; a dictionary may hold any text."""
    return (
        {writable(key): writable(each) for key, each in value.items()} if isinstance(value, dict) else writable(value)
    )
