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
import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction

from chattpl.report.study import Study
from chattpl.report.text import escape, percent, table
from chattpl.results import Grading, Result

HELD = ("right", "other form", "wrong")
FAILED = ("ran on", "cut off", "no answer")
KINDS = ("right", "other form", "wrong", "no answer", "cut off", "ran on")
DEFINITIONS = (
    "Percent of all answers; each is of one kind, the first that applies. Right: correct, in the form that the"
    " instruction asks for. Other form: correct, in another form. Ran on: wrong, and text follows the first complete"
    " answer. Cut off: wrong, and ended by the token limit. No answer: ended by itself without one, or the prompt did"
    " not fit. Wrong: a complete answer that is not the right one."
)
FORMULA = (
    "In points. A gap is the sum of two parts. Form: what the questions add for which one of the two answers ran on,"
    " was cut off or is missing. Reasoning: what those add for which both are complete. (With shares r of right answers"
    " and s of complete ones to a question: the means of r1 (1 - s2) - r2 (1 - s1) and of r1 s2 - r2 s1.)"
)


@dataclass(frozen=True)
class Gap:
    """The accuracy of one cell less that of another, over the questions that both answered.

    Attributes:
        n: the number of these questions.
        total, form, reasoning: fractions of one; the last two add up to the first.
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


def split_answers(results: Sequence[Result]) -> dict[str, float]:
    """The share of each kind in all answers of a cell; they add up to one."""
    count = Counter(kind_of(answer) for result in results for answer in result.gradings())
    return {kind: count[kind] / max(count.total(), 1) for kind in KINDS}


def split_gap(first: Sequence[Result], second: Sequence[Result]) -> Gap | None:
    """What of the gap between two cells is form and what reasoning; None where they share no question."""
    ones, others = ({each.sample: each for each in results} for results in (first, second))
    common = [question for question in ones if question in others]
    if not common:
        return None
    forms: Counter[int] = Counter()  # sums of numerators by their denominator: fractions themselves are slow to add
    reasonings: Counter[int] = Counter()
    for question in common:
        (right1, held1, n1), (right2, held2, n2) = _counts(ones[question]), _counts(others[question])
        reasonings[n1 * n2] += right1 * held2 - right2 * held1
        forms[n1 * n2] += right1 * (n2 - held2) - right2 * (n1 - held1)
    form, reasoning = (sum(Fraction(up, down) for down, up in each.items()) for each in (forms, reasonings))
    n = len(common)
    return Gap(n, float((form + reasoning) / n), float(form / n), float(reasoning / n))


def _counts(result: Result) -> tuple[int, int, int]:
    """Of the answers to one question, how many are right, how many held in their form, and how many there are."""
    answers = result.gradings()
    return sum(each.correct for each in answers), sum(kind_of(each) in HELD for each in answers), len(answers)


def gaps(study: Study) -> list[tuple[str, str, str, Gap]]:
    """The gap of each contrast whose two cells can be read: group, the two formats, and the gap."""
    groups: dict[str, dict[str, Sequence[Result] | None]] = {}
    for cell in study.cells:
        groups.setdefault(cell.group, {})[cell.format] = study.results.get(cell.name)
    found = []
    for group, members in groups.items():
        for first, second in itertools.combinations([name for name in study.formats if name in members], 2):
            one, other = members[first], members[second]
            gap = split_gap(one, other) if one and other else None
            found += [(group, first, second, gap)] if gap else []
    return found


def lost_answers(study: Study) -> str:
    """The section on the kinds of answers and on the gaps between formats, as Markdown."""
    parts = [_kinds_table(study)]
    found = gaps(study)
    if found:
        parts += [_gaps_table(study, found), "\n".join(_sentence(study, *each) for each in found)]
    return "\n\n".join(parts)


def _kinds_table(study: Study) -> str:
    rows = []
    for cell in study.cells:
        shares = split_answers(study.results[cell.name]) if cell.name in study.results else {}
        rows.append((escape(study.labels.cells[cell.name]), *(percent(shares.get(kind, math.nan)) for kind in KINDS)))
    return f"{table(('cell', *KINDS), rows, numbers_from=1)}\n\n{DEFINITIONS}"


def _gaps_table(study: Study, found: list[tuple[str, str, str, Gap]]) -> str:
    rows = [
        (
            *(escape(study.labels.models[group]), f"{escape(first)} less {escape(second)}", str(gap.n)),
            *(f"{100 * value:+.1f}" for value in (gap.total, gap.form, gap.reasoning)),
        )
        for group, first, second, gap in found
    ]
    return f"{table(('model', 'formats', 'n', 'gap', 'form', 'reasoning'), rows, numbers_from=2)}\n\n{FORMULA}"


def _sentence(study: Study, group: str, first: str, second: str, gap: Gap) -> str:
    """What a gap is mostly made of."""
    model, size = escape(study.labels.models[group]), f"{100 * abs(gap.total):.1f}"
    ahead, behind = (first, second) if gap.total > 0 else (second, first)
    if not gap.total:
        return f"* Model {model}: {escape(first)} and {escape(second)} got equally many right."
    sign = 1 if gap.total > 0 else -1
    form, reasoning = (f"{100 * sign * value:+.1f}" for value in (gap.form, gap.reasoning))
    return (
        f"* Model {model}: {escape(ahead)} is {size} points above {escape(behind)};"
        f" {form} of them are form, {reasoning} reasoning."
    )
