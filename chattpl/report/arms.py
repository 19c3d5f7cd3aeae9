"""Arms: the cells that differ in their seed alone, and what they answered, question by question.

sft_no_chat_eval_chat, sft_no_chat--seed=1_eval_chat, sft_no_chat--seed=2_eval_chat     one arm of three seeds
"""

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy

from chattpl.hashing import canonical
from chattpl.report.collect import Cell
from chattpl.report.labels import label_cells
from chattpl.report.samples import Samples, read_samples, verdicts
from chattpl.results import DEFAULT_RULE, Result


@dataclass(frozen=True)
class Arm:
    """A training in one evaluation format, with the cell of each seed, in the seeds' order.

    Attributes:
        label: of its model, without the seed.
    """

    cells: dict[int, Cell]
    label: str

    @property
    def first(self) -> Cell:
        """One of the cells, where they are all alike."""
        return next(iter(self.cells.values()))

    @property
    def format(self) -> str:
        """The format of the evaluation."""
        return self.first.format

    @property
    def train_format(self) -> str | None:
        """None for the untrained model."""
        return self.first.summary.train_format

    @property
    def recipe(self) -> tuple[Any, ...]:
        """What it has in common with a training that differs in its format alone."""
        summary = self.first.summary
        changes = {key: value for key, value in summary.changes.items() if key != "seed"}
        return summary.train_method, summary.train_masking, canonical(changes)

    @property
    def model(self) -> tuple[Any, ...]:
        """What it has in common with the same model in other evaluation formats."""
        return self.train_format, *self.recipe

    @property
    def asked(self) -> tuple[str, str]:
        """What it has in common with other models that are asked the same in the same way."""
        return self.first.asked

    @property
    def is_fixed(self) -> bool:
        """Whether its one cell stands for every seed: the untrained model has none of its own."""
        return self.train_format is None and len(self.cells) == 1

    def cell(self, seed: int | None) -> Cell:
        """Its cell of a seed."""
        return self.first if self.is_fixed or seed is None else self.cells[seed]


def arms_of(cells: Sequence[Cell]) -> list[Arm]:
    """The arms, in the order of their first cells. Of two cells of one seed, copies, the last counts."""
    models = label_cells(cells).models
    found: dict[tuple[Any, ...], dict[int, Cell]] = {}
    for cell in cells:
        one = Arm({cell.summary.seed: cell}, "")
        found.setdefault((*one.model, one.format), {})[cell.summary.seed] = cell
    return [Arm(dict(sorted(members.items())), _label(members.values(), models)) for members in found.values()]


def _label(cells: Iterable[Cell], models: Mapping[str, str]) -> str:
    return min((re.sub(r" seed=\d+\b", "", models[cell.group]) for cell in cells), key=len)


def common_seeds(arms: Sequence[Arm]) -> list[int | None]:
    """The seeds that all of them have, None where they have no seed of their own; empty where they share none."""
    seeded = [arm for arm in arms if not arm.is_fixed]
    if not seeded:
        return [None]
    return [seed for seed in seeded[0].cells if all(seed in arm.cells for arm in seeded)]


class Answers:
    """The share of each question's answers that are right, of every cell under every grading rule.

    A question is its index, its text and its gold answer: only what is the same in two cells is compared.
    """

    def __init__(self, cells: Sequence[Cell], samples: Samples | None = None):
        self._samples = read_samples(cells) if samples is None else samples
        self._questions: dict[tuple[int, str, str], int] = {}
        self._problems: dict[str, str] = {}
        self._read = {cell.name: self._shares(cell) for cell in cells}

    def problem(self, cells: Sequence[Cell]) -> str:
        """Why these cells cannot be compared; empty where they can."""
        problems = [self._problems[cell.name] for cell in cells if cell.name in self._problems]
        if problems:
            return problems[0]
        return "" if self._common(cells).any() else "the two cells have no sample in common"

    def shares(self, cells: Sequence[Cell]) -> dict[str, Any]:
        """By rule, for each rule that all of them have, an array of shape (cells, questions that all were asked)."""
        common, read = self._common(cells), [self._read[cell.name] for cell in cells]
        rules = [rule for rule in read[0] if all(rule in each for each in read)]
        return {rule: numpy.stack([self._padded(each[rule])[common] for each in read]) for rule in rules}

    def _common(self, cells: Sequence[Cell]) -> Any:
        asked = [~numpy.isnan(self._padded(self._read[cell.name][DEFAULT_RULE])) for cell in cells]
        return numpy.logical_and.reduce(asked)

    def _padded(self, values: Any) -> Any:
        """A cell's values with a place for every question of the study."""
        return numpy.pad(values, (0, len(self._questions) - len(values)), constant_values=numpy.nan)

    def _shares(self, cell: Cell) -> dict[str, Any]:
        """The cell's shares by rule, nan for a question that it was not asked."""
        results = self._samples[cell.name]
        if isinstance(results, str):
            self._problems[cell.name] = results
            return {}
        if len({result.index for result in results}) < len(results):
            self._problems[cell.name] = f"results.json of {cell.name} repeats an index"
            return {}
        keys = [result.sample for result in results]
        places = [self._questions.setdefault(key, len(self._questions)) for key in keys]
        found = [_shares_of(result) for result in results]
        shares = {}
        for rule in (
            rule for rule in (found[0] if found else {DEFAULT_RULE: 0}) if all(rule in each for each in found)
        ):
            shares[rule] = numpy.full(len(self._questions), numpy.nan)
            shares[rule][places] = [each[rule] for each in found]
        return shares


def _shares_of(result: Result) -> dict[str, float]:
    answers = [verdicts(grading) for grading in result.gradings()]
    if len(answers) == 1:
        return dict(answers[0])
    return {rule: sum(answer.get(rule, False) for answer in answers) / len(answers) for rule in answers[0]}
