"""The families of contrasts: what is tested, declared from which cells there are, before any answer is looked at.

Each family is a row. Holm's adjustment is over the tests of one family, under one grading rule.
"""

import itertools
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

from chattpl.report.arms import Arm
from chattpl.report.collect import format_order
from chattpl.report.stats import PairedComparison

# Arms whose mean is taken; two sides are compared, four are a difference of differences.
Side = tuple[Arm, ...]


@dataclass(frozen=True)
class Contrast:
    """Two sides of one test.

    Attributes:
        group: what both have in common: the model, the evaluation format, or the two formats of an interaction.
        first, second: what differs.
        by_rule: the comparison under each grading rule that all its cells have, the default rule first; p_holm is
            adjusted over its family, for each rule by itself. Empty where they cannot be paired; then `problem` says
            why.
        family: its row of `FAMILIES`.
        sides: the first and the second; of an interaction four: (first - second) - (third - fourth).
        accuracies: of each side under each grading rule.
    """

    group: str
    first: str
    second: str
    by_rule: dict[str, PairedComparison] = field(default_factory=dict)
    problem: str = ""
    family: str = "formats"
    sides: tuple[Side, ...] = ()
    accuracies: dict[str, tuple[float, ...]] = field(default_factory=dict)

    def cells(self, *places: int) -> str:
        """The names of the cells on these sides."""
        return " + ".join(cell.name for place in places for arm in self.sides[place] for cell in arm.cells.values())

    @property
    def test(self) -> frozenset[str]:
        """What it has in common with the same test in another family, whichever side comes first."""
        return frozenset(self.cells(place) for place in range(len(self.sides)))


@dataclass(frozen=True)
class Family:
    """A family of contrasts.

    Attributes:
        declare: all its contrasts that these arms allow.
        title: of its section of the report.
        question: that it answers, in short.
        asks_for_first: whether the answer is yes only where the first side is higher.
        higher_of_many: the same where contrasts of one group have several first and second sides.
        member: what a sentence calls one of its contrasts among the others.
        named: what a sentence calls one of its contrasts among those of all families.
        columns: what its tables call the group and the two sides.
        about: how a sentence on a contrast begins; takes its group.
        side: how a sentence calls the first or the second; takes its name and the group.
        exceeds: the verb for a difference that is significant.
        higher: what is so where the first side is higher, and where the second is.
        nothing: what is said where there is no contrast.
        note: what has to be known to read its table.
    """

    declare: Callable[[Sequence[Arm]], Iterator[Contrast]]
    title: str
    question: str
    columns: tuple[str, str]
    about: str
    nothing: str
    higher: tuple[str, str] = ("{first} is better than {second}", "{second} is better than {first}")
    higher_of_many: tuple[str, str] = ("{first} is better", "{second} is better")
    member: str = "{group}"
    named: str = "{first} against {second} for {group}"
    asks_for_first: bool = True
    side: str = "{name}"
    exceeds: str = "beats"
    note: str = ""


def _formats(arms: Sequence[Arm]) -> Iterator[Contrast]:
    """Every pair of a model's evaluation formats, chat against raw first."""
    for label, by_format in _models(arms):
        for first, second in itertools.combinations(format_order(by_format), 2):
            yield Contrast(label, first, second, sides=((by_format[first],), (by_format[second],)))


def _training(arms: Sequence[Arm]) -> Iterator[Contrast]:
    """Each trained model against the untrained one that was asked the same in the same format."""
    untrained = {arm.asked: arm for arm in arms if arm.train_format is None}
    for arm in arms:
        if arm.train_format is not None and (base := untrained.get(arm.asked)):
            yield Contrast(arm.format, arm.label, base.label, family="training", sides=((arm,), (base,)))


def _matched(arms: Sequence[Arm]) -> Iterator[Contrast]:
    """Each trained model in the format that it was trained in, against the mean of its other formats."""
    for label, by_format in _models(arms):
        own = next(iter(by_format.values())).train_format
        others = [name for name in format_order(by_format) if name != own]
        if own in by_format and others:
            second = others[0] if len(others) == 1 else f"the mean of {', '.join(others)}"
            sides = ((by_format[own],), tuple(by_format[name] for name in others))
            yield Contrast(label, own, second, family="matched", sides=sides)


def _interaction(arms: Sequence[Arm]) -> Iterator[Contrast]:
    """Two trainings that differ in their format alone, each evaluated in both of these formats."""
    recipes: dict[tuple[Any, ...], dict[str, dict[str, Arm]]] = {}
    for arm in arms:
        if arm.train_format is not None:
            recipes.setdefault(arm.recipe, {}).setdefault(arm.train_format, {})[arm.format] = arm
    for trained in recipes.values():
        for a, b in itertools.combinations(format_order(trained), 2):
            if {a, b} <= trained[a].keys() & trained[b].keys():
                sides = tuple((trained[own][asked],) for own in (a, b) for asked in (a, b))
                first, second = (trained[own][own].label for own in (a, b))
                yield Contrast(f"{a} less {b}", first, second, family="interaction", sides=sides)


def _models(arms: Sequence[Arm]) -> list[tuple[str, dict[str, Arm]]]:
    """The label and the arms by evaluation format of each model."""
    models: dict[tuple[Any, ...], dict[str, Arm]] = {}
    for arm in arms:
        models.setdefault(arm.model, {})[arm.format] = arm
    return [(next(iter(by_format.values())).label, by_format) for by_format in models.values()]


FAMILIES: dict[str, Family] = {
    "formats": Family(
        _formats,
        title="Evaluation formats compared",
        question="Does the format of the prompt matter?",
        asks_for_first=False,
        columns=("model", "formats"),
        about="Model {group}",
        nothing="No model was evaluated in two formats, so there is nothing to compare.",
    ),
    "training": Family(
        _training,
        title="Trained against untrained",
        question="Did training help?",
        columns=("evaluated in", "models"),
        about="Evaluated in {group}",
        higher=("the trained model is better", "the untrained model is better"),
        member="{first} in {group}",
        named="{first} against {second} in {group}",
        nothing="No trained model was asked the same as the untrained one, so there is nothing to compare.",
    ),
    "matched": Family(
        _matched,
        title="Matched against mismatched formats",
        question="Is a model better in the format that it was trained in?",
        columns=("model", "formats"),
        about="Model {group}",
        higher=("its own format is better", "the others are better"),
        nothing="No trained model was evaluated in its own format and in another one, so there is nothing to compare.",
        note="The format of the training comes first: a plus sign means that the model is better in its own format."
        " With one other format the test is the same as in the comparison of the evaluation formats.",
    ),
    "interaction": Family(
        _interaction,
        title="Interaction of training and evaluation format",
        question="Does the best format depend on the format of the training?",
        columns=("gap", "trainings"),
        about="Gap of {group}",
        higher=("each training gains from its own format", "each training gains from the other's format"),
        member="{first} against {second}",
        named="the gap {group} of {first} against that of {second}",
        side="the gap of {name}",
        exceeds="exceeds",
        nothing="No two trainings that differ in their format alone were evaluated in both formats, so there is nothing"
        " to compare.",
        note="A difference of differences, in points: the gap between the two evaluation formats after training in the"
        " first of them, less the same gap after training in the second. It is above 0 where each training gains from"
        " its own format, and 0 where the formats of training and evaluation act independently of each other.",
    ),
}
