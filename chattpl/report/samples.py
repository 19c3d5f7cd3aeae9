"""Every answer of every cell: samples.parquet, one row each."""

import logging
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import pandas

from chattpl.report.collect import Cell, writable
from chattpl.results import DEFAULT_RULE, Grading, Result, read_results

log = logging.getLogger(__name__)

# Of a cell's name: its samples, or what is wrong with its results.json.
Samples = Mapping[str, list[Result] | str]

OF_THE_QUESTION = ("index", "question", "gold")
OF_THE_ANSWER = (
    "output", "thought", "extracted", "correct", "strict", "run_on", "stop_reason", "completion_tokens", "fits",
)  # fmt: skip
TEXT = ("cell", "question", "gold", "output", "thought", "extracted", "stop_reason")


def read_samples(cells: Sequence[Cell]) -> Samples:
    """The content of each cell's results.json. One that is missing or damaged is left out, with a warning."""
    samples: dict[str, list[Result] | str] = {}
    for cell in cells:
        try:
            samples[cell.name] = read_results(cell.folder / "results.json")
        except ValueError as error:
            log.warning("%s; the cell's samples are left out of the report", error)
            samples[cell.name] = f"results.json of {cell.name} cannot be read"
    return samples


def rules_of(samples: Samples) -> list[str]:
    """The grading rules that some answer was graded by, the default rule first."""
    found = dict.fromkeys(tuple(grading.rules) for _, _, _, grading in each_answer(samples))
    return list(dict.fromkeys((DEFAULT_RULE, *(rule for rules in found for rule in rules))))


def verdicts(grading: Grading) -> dict[str, bool]:
    """Whether the answer is right, by the name of each rule that it was graded by."""
    return {DEFAULT_RULE: grading.correct, **grading.rules}


def each_answer(samples: Samples) -> Iterator[tuple[str, Result, int, Grading]]:
    """Cell, sample, number of the answer from 0 on, and answer, of all cells that can be read."""
    for cell, results in samples.items():
        if not isinstance(results, str):
            for result in results:
                for number, grading in enumerate(result.gradings()):
                    yield cell, result, number, grading


def to_frame(samples: Samples) -> pandas.DataFrame:
    """One row per cell, question and answer.

    The columns are `cell`, `index`, `question`, `gold`, `answer` (the number of the answer to the question, from 0 on),
    those of `results.Grading`, and for each grading rule `correct_<rule>`: a nullable boolean, since not every cell
    need be graded by every rule.
    """
    answers = list(each_answer(samples))
    gradings = [grading for _, _, _, grading in answers]
    columns: dict[str, list[Any]] = {"cell": [cell for cell, _, _, _ in answers]}
    columns |= {key: [getattr(result, key) for _, result, _, _ in answers] for key in OF_THE_QUESTION}
    columns["answer"] = [number for _, _, number, _ in answers]
    columns |= {key: [getattr(grading, key) for grading in gradings] for key in OF_THE_ANSWER}
    columns |= {key: [writable(value) for value in columns[key]] for key in TEXT}
    graded = [verdicts(grading) for grading in gradings]
    by_rule = {writable(f"correct_{rule}"): [each.get(rule) for each in graded] for rule in rules_of(samples)}
    types = dict.fromkeys(TEXT, "str") | dict.fromkeys(by_rule, "boolean")  # also of a column that holds nothing
    return pandas.DataFrame({**columns, **by_rule}).astype(types)
