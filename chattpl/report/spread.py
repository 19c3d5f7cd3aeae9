"""How far a model's accuracy goes over the prompts that it was asked with: evaluation formats and wordings.

A model that was trained with another wording is another model.

Source of what is reported: Sclar et al., Quantifying Language Models' Sensitivity to Spurious Features in Prompt
Design (FormatSpread, arXiv:2310.11324); here with intervals.
"""

import itertools
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy

from chattpl.hashing import canonical
from chattpl.report.arms import Answers, Arm, common_seeds
from chattpl.report.contrasts import rules_of
from chattpl.report.stats import pooled_difference_interval, pooled_interval
from chattpl.report.text import NONE, escape, interval, percent, table
from chattpl.results import DEFAULT_RULE

LEAST_PROMPTS = 3  # of two, the comparison of the formats says it all
WORDING = ("task.wording", "task.instruction", "wordings.")

Estimate = tuple[float, float, float]  # a fraction of one and the ends of its interval


@dataclass(frozen=True)
class Range:
    """Lowest, median and highest accuracy over prompts, and how far they are apart."""

    lowest: Estimate
    median: Estimate
    highest: Estimate
    spread: Estimate


@dataclass(frozen=True)
class Spread:
    """One model over `prompts`, by grading rule."""

    model: str
    prompts: tuple[str, ...]
    by_rule: dict[str, Range]
    worst: str = ""
    best: str = ""


def spread_over(values: Any) -> Range:
    """The range over prompts of accuracies of shape (prompts, seeds, questions), each prompt asked the same.

    The lowest of k true accuracies is above the lowest of the lower ends unless the interval of one certain prompt
    fails, and below the lowest of the upper ends unless one of k fails: so the lower ends are those of the level of
    2.5 %, the upper ones those of 5 % / k (Bonferroni). Likewise for the highest, and for the greatest difference of
    two prompts. The interval of the median is that of the prompt in the middle, or of the mean of the two.
    """
    accuracies, k = values.mean((-2, -1)), len(values)
    order = numpy.argsort(accuracies, kind="stable")
    (low, high), (far_low, far_high) = (pooled_interval(values, each) for each in (0.95, 1 - 0.1 / k))
    middle = values[order[(k - 1) // 2 : k // 2 + 1]].mean(0)
    one, other = (values[list(each)] for each in zip(*itertools.permutations(range(k), 2), strict=True))
    apart = pooled_difference_interval(one, other)[1].max()
    least = pooled_difference_interval(one, other, 1 - 0.1 / (k * (k - 1)))[0].max()
    return Range(
        lowest=_estimate(accuracies.min(), low.min(), far_high.min()),
        median=_estimate(middle.mean(), *pooled_interval(middle)),
        highest=_estimate(accuracies.max(), far_low.max(), high.max()),
        spread=_estimate(accuracies.max() - accuracies.min(), max(least, 0), apart),
    )


def _estimate(*values: Any) -> Estimate:
    found, low, high = (float(value) for value in values)
    return found, low, high


def spreads_of(arms: Sequence[Arm], answers: Answers) -> list[Spread]:
    """Of each model that was asked with several prompts, what their accuracies are."""
    models = _grouped((_key(arm), arm) for arm in arms)
    return [spread for members in models if len(members) >= LEAST_PROMPTS for spread in _spread(members, answers)]


def rewordings_of(arms: Sequence[Arm], answers: Answers) -> list[Spread]:
    """The same of each model and format by itself, where it was asked in several wordings."""
    models = _grouped(((*_key(arm), arm.format), arm) for arm in arms)
    return [spread for members in models if len(members) > 1 for spread in _spread(members, answers)]


def _grouped(keyed: Iterable[tuple[tuple[Any, ...], Arm]]) -> list[list[Arm]]:
    found: dict[tuple[Any, ...], list[Arm]] = {}
    for key, arm in keyed:
        found.setdefault(key, []).append(arm)
    return list(found.values())


def _key(arm: Arm) -> tuple[Any, ...]:
    """What an arm has in common with the same model that was asked otherwise."""
    return arm.train_format, *arm.recipe[:2], canonical(_changes(arm))


def _spread(arms: list[Arm], answers: Answers) -> Iterator[Spread]:
    seeds, prompts = common_seeds(arms), _prompts(arms)
    cells = [arm.cell(seed) for arm in arms for seed in seeds]
    if not cells or answers.problem(cells):
        return
    found = {rule: shares.reshape(len(arms), len(seeds), -1) for rule, shares in answers.shares(cells).items()}
    accuracies = found[DEFAULT_RULE].mean((1, 2))
    yield Spread(
        model=_model(arms),
        prompts=prompts,
        by_rule={rule: spread_over(values) for rule, values in found.items()},
        worst=prompts[int(accuracies.argmin())],
        best=prompts[int(accuracies.argmax())],
    )


def _changes(arm: Arm) -> dict[str, Any]:
    """What was changed beside the seed and the wording that it was asked in."""
    changes = arm.first.summary.changes
    rephrased = changes.get("eval.wording")
    of_prompt = WORDING if arm.train_format is None else ("eval.wording", f"wordings.{rephrased}.")
    return {key: value for key, value in changes.items() if key != "seed" and not key.startswith(of_prompt)}


def _model(arms: list[Arm]) -> str:
    """What the labels of all arms say."""
    first, *others = (arm.label.split(" ") for arm in arms)
    return " ".join(word for word in first if all(word in other for other in others)) or arms[0].label


def _prompts(arms: list[Arm]) -> tuple[str, ...]:
    """The name of each arm's prompt: its format, with its wording where there are several."""
    wordings = [_wording(arm) for arm in arms]
    several = len(set(wordings)) > 1
    return tuple(
        f"{arm.format}, {wording}" if several else arm.format for arm, wording in zip(arms, wordings, strict=True)
    )


def _wording(arm: Arm) -> str:
    name, summary = arm.first.wording, arm.first.summary
    changed = any(key.startswith(f"wordings.{name}.") for key in summary.changes)
    return "own instruction" if name is None or changed or "task.instruction" in summary.inputs else name


def spread_section(spreads: Sequence[Spread]) -> str:
    """The section on the spread, as Markdown; empty where no model has enough prompts."""
    if not spreads:
        return ""
    header = ("model", "prompts", "lowest", "median", "highest", "spread", "lowest in", "highest in")
    rows = [
        (
            *(escape(each.model), str(len(each.prompts)), *_estimates(each.by_rule[DEFAULT_RULE])),
            *(escape(each.worst), escape(each.best)),
        )
        for each in spreads
    ]
    note = (
        "Each model over all evaluation formats and wordings of the instruction that it was asked with, under the"
        " default rule: accuracies in percent, the spread between the lowest and the highest in points, with 95 %"
        " intervals that allow for which prompt is the lowest and the highest. What was trained with another wording"
        " is another model."
    )
    rules = rules_of(spreads)
    text = f"{table(header, rows, numbers_from=1)}\n\n{note}"
    if len(rules) == 1:
        return text
    others = [(escape(each.model), *(_under(each, rule) for rule in rules)) for each in spreads]
    under = table(("model", *(escape(rule) for rule in rules)), others, numbers_from=1)
    return f"{text}\n\n{under}\n\nLowest, median and highest under every grading rule."


def _estimates(found: Range) -> list[str]:
    estimates = (found.lowest, found.median, found.highest, found.spread)
    return [f"{percent(value)} {interval(low, high)}" for value, low, high in estimates]


def _under(spread: Spread, rule: str) -> str:
    found = spread.by_rule.get(rule)
    return " / ".join(percent(each[0]) for each in (found.lowest, found.median, found.highest)) if found else NONE
