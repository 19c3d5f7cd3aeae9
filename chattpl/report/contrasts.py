"""The contrasts of the declared families, under every grading rule, over what all their cells answered."""

from collections.abc import Iterable, Sequence
from dataclasses import fields, replace
from typing import Any

import pandas

from chattpl.report.arms import Answers, Arm, arms_of, common_seeds
from chattpl.report.collect import Cell, writable
from chattpl.report.families import FAMILIES, Contrast
from chattpl.report.stats import PairedComparison, holm, interaction, paired_comparison


def compare(arms: Sequence[Arm], families: Iterable[str], answers: Answers) -> list[Contrast]:
    """All contrasts of these families, in the arms' order; `answers` are those of their cells."""
    declared = [
        _compare(contrast, answers)
        for name in FAMILIES
        if name in set(families)
        for contrast in FAMILIES[name].declare(arms)
    ]
    return _adjust(declared)


def compare_formats(cells: Sequence[Cell]) -> list[Contrast]:
    """The formats of each model against each other."""
    return compare(arms_of(cells), ["formats"], Answers(cells))


def rules_of(compared: Iterable[Any]) -> list[str]:
    """All rules of what has figures `by_rule`, contrasts say, the default rule first."""
    return list(dict.fromkeys(rule for each in compared for rule in each.by_rule))


def to_frame(contrasts: Sequence[Contrast]) -> pandas.DataFrame:
    """One row for each contrast and rule; accuracies and their difference are fractions of one.

    `first_cell` and `second_cell` are what is added and what is subtracted, several names joined by a plus sign.
    """
    rows = [
        (*_identity(contrast), rule, *vars(comparison).values())
        for contrast in contrasts
        for rule, comparison in contrast.by_rule.items()
    ]
    columns = ["family", "group", "first", "second", "first_cell", "second_cell", "rule"]
    columns += [each.name for each in fields(PairedComparison)]
    return pandas.DataFrame([[writable(value) for value in row] for row in rows], columns=columns)


def _identity(contrast: Contrast) -> tuple[str, ...]:
    plus, minus = ((0, 3), (1, 2)) if len(contrast.sides) > 2 else ((0,), (1,))
    cells = contrast.cells(*plus), contrast.cells(*minus)
    return contrast.family, contrast.group, contrast.first, contrast.second, *cells


def _compare(contrast: Contrast, answers: Answers) -> Contrast:
    arms = [arm for side in contrast.sides for arm in side]
    seeds = common_seeds(arms)
    if not seeds:
        return replace(contrast, problem="the two have no seed in common")
    cells = [arm.cell(seed) for arm in arms for seed in seeds]
    if problem := answers.problem(cells):
        return replace(contrast, problem=problem)
    found = answers.shares(cells).items()
    by_arm = {rule: shares.reshape(len(arms), len(seeds), -1) for rule, shares in found}
    sides = {rule: _sides(contrast, shares) for rule, shares in by_arm.items()}
    return replace(
        contrast,
        by_rule={rule: _compare_sides(each) for rule, each in sides.items()},
        accuracies={rule: tuple(float(side.mean()) for side in each) for rule, each in sides.items()},
    )


def _sides(contrast: Contrast, shares: Any) -> list[Any]:
    """Of shares of shape (arms, seeds, questions) the mean over the arms of each side."""
    sides, start = [], 0
    for side in contrast.sides:
        sides.append(shares[start : start + len(side)].mean(0))
        start += len(side)
    return sides


def _compare_sides(sides: list[Any]) -> PairedComparison:
    return interaction(sides[:2], sides[2:]) if len(sides) > 2 else paired_comparison(*sides)


def _adjust(contrasts: list[Contrast]) -> list[Contrast]:
    adjusted: list[dict[str, PairedComparison]] = [{} for _ in contrasts]
    for family in dict.fromkeys(contrast.family for contrast in contrasts):
        for rule in rules_of(contrasts):
            places = [i for i, each in enumerate(contrasts) if each.family == family and rule in each.by_rule]
            found = [contrasts[place].by_rule[rule] for place in places]
            for place, comparison, p in zip(places, found, holm([each.p for each in found]), strict=True):
                adjusted[place][rule] = replace(comparison, p_holm=p)
    return [replace(contrast, by_rule=by_rule) for contrast, by_rule in zip(contrasts, adjusted, strict=True)]
