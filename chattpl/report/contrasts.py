"""Each model's evaluation formats against each other, under every grading rule, over what both answered."""

import itertools
import logging
from dataclasses import dataclass, field, fields, replace

import pandas

from chattpl.report.collect import Cell, format_order, writable
from chattpl.report.stats import PairedComparison, holm, paired_comparison
from chattpl.results import DEFAULT_RULE, Result, read_results

log = logging.getLogger(__name__)

# Under each rule the share of each question's answers that are right; the question is index, text and gold answer.
Means = dict[tuple[int, str, str], dict[str, float]]


@dataclass(frozen=True)
class Contrast:
    """One model (`group`) in two formats.

    Attributes:
        by_rule: the comparison under each grading rule that both cells have, the default rule first; p_holm is
            adjusted over the contrasts of the report, for each rule by itself. Empty where the two cannot be paired;
            then `problem` says why.
    """

    group: str
    first: str
    second: str
    by_rule: dict[str, PairedComparison] = field(default_factory=dict)
    problem: str = ""


def compare_formats(cells: list[Cell]) -> list[Contrast]:
    """All pairs of formats for each group of cells, in the cells' order, chat against raw first."""
    means = {cell.name: _read(cell) for cell in cells}
    contrasts = []
    for group in dict.fromkeys(cell.group for cell in cells):
        members = {cell.format: cell for cell in cells if cell.group == group}
        for first, second in itertools.combinations(format_order(members), 2):
            one, other = means[members[first].name], means[members[second].name]
            contrasts.append(_compare(Contrast(group, first, second), one, other))
    return _adjust(contrasts)


def rules_of(contrasts: list[Contrast]) -> list[str]:
    """All rules of the contrasts, the default rule first."""
    return list(dict.fromkeys(rule for contrast in contrasts for rule in contrast.by_rule))


def to_frame(contrasts: list[Contrast]) -> pandas.DataFrame:
    """One row for each contrast and rule; accuracies and their difference are fractions of one."""
    rows = [
        (writable(contrast.group), contrast.first, contrast.second, rule, *vars(comparison).values())
        for contrast in contrasts
        for rule, comparison in contrast.by_rule.items()
    ]
    columns = ["group", "first", "second", "rule", *(each.name for each in fields(PairedComparison))]
    return pandas.DataFrame([[writable(value) for value in row] for row in rows], columns=columns)


def _read(cell: Cell) -> Means | str:
    """The cell's means, or the reason why they cannot be paired."""
    try:
        results = read_results(cell.folder / "results.json")
        means = {(result.index, result.question, result.gold): _means(result) for result in results}
    except ValueError as error:
        log.warning("%s; the cell is left out of the paired comparison", error)
        return f"results.json of {cell.name} cannot be read"
    if len({result.index for result in results}) < len(results):
        return f"results.json of {cell.name} repeats an index"
    return means


def _means(result: Result) -> dict[str, float]:
    answers = [{DEFAULT_RULE: grading.correct, **grading.rules} for grading in result.gradings()]
    return {rule: sum(answer[rule] for answer in answers) / len(answers) for rule in answers[0]}


def _compare(contrast: Contrast, one: Means | str, other: Means | str) -> Contrast:
    if isinstance(one, str):
        return replace(contrast, problem=one)
    if isinstance(other, str):
        return replace(contrast, problem=other)
    common = [question for question in one if question in other]
    if not common:
        return replace(contrast, problem="the two cells have no sample in common")
    rules = [rule for rule in one[common[0]] if all(rule in one[each] and rule in other[each] for each in common)]
    by_rule = {
        rule: paired_comparison([one[each][rule] for each in common], [other[each][rule] for each in common])
        for rule in rules
    }
    return replace(contrast, by_rule=by_rule)


def _adjust(contrasts: list[Contrast]) -> list[Contrast]:
    adjusted: list[dict[str, PairedComparison]] = [{} for _ in contrasts]
    for rule in rules_of(contrasts):
        family = [place for place, contrast in enumerate(contrasts) if rule in contrast.by_rule]
        found = [contrasts[place].by_rule[rule] for place in family]
        for place, comparison, p in zip(family, found, holm([each.p for each in found]), strict=True):
            adjusted[place][rule] = replace(comparison, p_holm=p)
    return [replace(contrast, by_rule=by_rule) for contrast, by_rule in zip(contrasts, adjusted, strict=True)]
