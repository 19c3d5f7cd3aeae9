"""The samples as they stand in the page: packed columns, the questions once, and a part of its own for each cell.

A part is JSON, compressed by gzip and written in base64, in a script element that no browser runs. In a cell's part
all lists have one entry per answer; its keys are those of `Columns`.
"""

import base64
import gzip
import itertools
import json
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import Executor
from dataclasses import dataclass, field
from typing import Any

from chattpl.report.collect import Cell
from chattpl.report.html.settings import settings_of
from chattpl.report.samples import Samples, each_answer, rules_of, verdicts
from chattpl.report.split import KINDS, kind_of
from chattpl.results import STOP_REASONS, Grading, Result

RUN_ON, FITS = 1, 2

Question = tuple[int, str, str]  # index, text and gold answer, as where cells are compared


@dataclass
class Columns:
    """The answers of one cell.

    Attributes:
        question: the place of the question in the list of all questions.
        answer: the number of the answer to its question.
        output, extracted, tokens: as in results.json.
        thought: by the number of the row, where the model thought.
        known, right: by which rules an answer was graded and is right; the n-th rule is bit n.
        kind: the place in `kinds` (`chattpl.report.split`).
        flags: the sum of RUN_ON and FITS.
        stop: the place in `stop_reasons`.
    """

    question: list[int] = field(default_factory=list)
    answer: list[int] = field(default_factory=list)
    output: list[str] = field(default_factory=list)
    thought: dict[int, str] = field(default_factory=dict)
    extracted: list[str | None] = field(default_factory=list)
    tokens: list[int] = field(default_factory=list)
    known: list[int] = field(default_factory=list)
    right: list[int] = field(default_factory=list)
    kind: list[int] = field(default_factory=list)
    flags: list[int] = field(default_factory=list)
    stop: list[int] = field(default_factory=list)


def embed(cells: Sequence[Cell], samples: Samples, labels: Mapping[str, str], thread: Executor) -> Iterator[str]:
    """The script elements: `samples-all` on all cells, then `samples-0` and so on with the answers of each.

    They are compressed in `thread`, which leaves the interpreter free for other work until they are wanted.
    """
    places = _places(samples)
    rules = rules_of(samples)
    bits = {rule: 1 << bit for bit, rule in enumerate(rules)}
    reasons = list(dict.fromkeys((*STOP_REASONS, *(each.stop_reason for _, _, _, each in each_answer(samples)))))
    head = {
        "rules": rules,
        "stop_reasons": reasons,
        "kinds": KINDS,
        "questions": _questions(places),
        "cells": [_head(cell, labels[cell.name], samples[cell.name]) for cell in cells],
    }
    columns = (_columns(samples[cell.name], places, bits, reasons) for cell in cells)
    contents = (_text(content) for content in itertools.chain([head], map(vars, columns)))
    names = ("all", *(str(number) for number in range(len(cells))))
    return thread.map(_element, names, contents)


def _places(samples: Samples) -> dict[Question, int]:
    questions = {result.sample for results in samples.values() if isinstance(results, list) for result in results}
    return {question: place for place, question in enumerate(sorted(questions))}


def _questions(places: Mapping[Question, int]) -> list[dict[str, Any]]:
    """The questions; the name of one is its index, and where an index has several questions, their number besides."""
    found: dict[int, int] = {}
    questions = []
    for index, text, gold in places:
        found[index] = found.get(index, 0) + 1
        name = str(index) if found[index] == 1 else f"{index}.{found[index]}"
        questions.append({"name": name, "text": text, "gold": gold})
    return questions


def _head(cell: Cell, label: str, results: list[Result] | str) -> dict[str, Any]:
    problem = results if isinstance(results, str) else None
    known = {"name": cell.name, "label": label, "group": cell.group}
    return {**known, "settings": settings_of(cell), "problem": problem}


def _columns(
    results: list[Result] | str, places: Mapping[Question, int], bits: Mapping[str, int], reasons: Sequence[str]
) -> Columns:
    columns = Columns()
    for _, result, answer, grading in each_answer({"": results}):
        _append(columns, places[result.sample], answer, grading, bits, reasons)
    return columns


def _append(
    columns: Columns, place: int, answer: int, grading: Grading, bits: Mapping[str, int], reasons: Sequence[str]
) -> None:
    if grading.thought is not None:
        columns.thought[len(columns.question)] = grading.thought
    columns.question.append(place)
    columns.answer.append(answer)
    columns.output.append(grading.output)
    columns.extracted.append(grading.extracted)
    columns.tokens.append(grading.completion_tokens)
    graded = verdicts(grading)
    columns.known.append(sum([bits[rule] for rule in graded]))
    columns.right.append(sum([bits[rule] for rule, right in graded.items() if right]))
    columns.kind.append(KINDS.index(kind_of(grading)))
    columns.flags.append(RUN_ON * grading.run_on + FITS * grading.fits)
    columns.stop.append(reasons.index(grading.stop_reason))


def _text(content: Any) -> bytes:
    """In ASCII, where a lone surrogate is an escape sequence: the page gives back exactly what the model wrote."""
    return json.dumps(content, separators=(",", ":")).encode("ascii")


def _element(name: str, text: bytes) -> str:
    packed = base64.b64encode(gzip.compress(text, compresslevel=6, mtime=0)).decode("ascii")
    return f'<script type="application/octet-stream;base64" id="samples-{name}">{packed}</script>'
