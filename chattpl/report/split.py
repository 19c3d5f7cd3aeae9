"""Why a cell lost: each answer falls into exactly one of six kinds, and a gap splits into form and reasoning.

The kinds, the first that applies, are

    right       correct, in the form that the instruction asks for
    other form  correct, in another form
    ran on      wrong, and text follows the first complete answer
    cut off     wrong, and the token limit ended it
    no answer   ended by itself without an answer, or the prompt did not fit
    wrong       a complete answer that is not the right one

An answer that ran on, was cut off or is missing failed in its form: it shows little of what the model can work out.

A gap between two cells of one model is the mean over the questions of r1 - r2, the shares of right answers. With s1
and s2 the shares of answers that did not fail in their form (right answers never did),

    reasoning = mean of r1 s2 - r2 s1
    form      = mean of r1 (1 - s2) - r2 (1 - s1)

which add up to the gap. With one answer to a question the first is what the questions add whose two answers both held,
the second what those add where one of the two failed in its form; with several it is the mean over all pairs of them.
"""

import itertools
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction

from chattpl.report.arms import Arm, common_seeds
from chattpl.report.families import FAMILIES, Contrast
from chattpl.results import Grading, Result

HELD = ("right", "other form", "wrong")
FAILED = ("ran on", "cut off", "no answer")
KINDS = ("right", "other form", "wrong", "no answer", "cut off", "ran on")


@dataclass(frozen=True)
class Gap:
    """The accuracy of one cell less that of another, over the questions that both answered.

    Attributes:
        n: the number of these questions.
        total: the first accuracy less the second, as a fraction of one.
        form: what of that comes from answers that ran on, were cut off or are missing.
        reasoning: what of it comes from complete answers; form and reasoning add up to the total.
    """

    n: int
    total: float
    form: float
    reasoning: float


def kind_of(answer: Grading) -> str:
    """The one kind of `KINDS` that the answer is of."""
    if answer.correct:
        return "right" if answer.strict else "other form"
    if answer.run_on:
        return "ran on"
    if answer.fits and answer.stop_reason == "length":
        return "cut off"
    return "no answer" if answer.extracted is None else "wrong"


def split_answers(results: Iterable[Result]) -> dict[str, float]:
    """The share of each kind in all answers of a cell, or of several; they add up to one."""
    count = Counter(kind_of(answer) for result in results for answer in result.gradings())
    return {kind: count[kind] / max(count.total(), 1) for kind in KINDS}


def split_gap(*pairs: tuple[Sequence[Result], Sequence[Result]]) -> Gap | None:
    """What of the gap between two cells is form and what reasoning; None where they share no question.

    With several pairs, one for each seed, it is the mean over them.
    """
    indexed = [tuple({each.sample: each for each in results} for results in pair) for pair in pairs]
    common = [question for question in indexed[0][0] if all(question in each for pair in indexed for each in pair)]
    if not common:
        return None
    forms: Counter[int] = Counter()  # sums of numerators by their denominator: fractions themselves are slow to add
    reasonings: Counter[int] = Counter()
    for (ones, others), question in itertools.product(indexed, common):
        (right1, held1, n1), (right2, held2, n2) = _counts(ones[question]), _counts(others[question])
        reasonings[n1 * n2] += right1 * held2 - right2 * held1
        forms[n1 * n2] += right1 * (n2 - held2) - right2 * (n1 - held1)
    form, reasoning = (sum(Fraction(up, down) for down, up in each.items()) for each in (forms, reasonings))
    n = len(common) * len(pairs)
    return Gap(len(common), float((form + reasoning) / n), float(form / n), float(reasoning / n))


def _counts(result: Result) -> tuple[int, int, int]:
    """Of the answers to one question, how many are right, how many held in their form, and how many there are."""
    answers = result.gradings()
    return sum(each.correct for each in answers), sum(kind_of(each) in HELD for each in answers), len(answers)


def gaps_of(arms: Sequence[Arm], read: Mapping[str, Sequence[Result]]) -> list[tuple[Contrast, Gap]]:
    """The gap between each two formats of a model whose results were `read`; by the name of the cell."""
    found = []
    for contrast in FAMILIES["formats"].declare(arms):
        both = [arm for side in contrast.sides for arm in side]
        names = [[arm.cell(seed).name for arm in both] for seed in common_seeds(both)]
        if names and all(name in read for pair in names for name in pair):
            gap = split_gap(*((read[first], read[second]) for first, second in names))
            found += [(contrast, gap)] if gap else []
    return found
