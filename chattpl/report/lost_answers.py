"""The section on why answers were lost: the kinds of each cell's answers, and what gaps between formats are made of."""

import math
from collections.abc import Sequence
from dataclasses import fields

import pandas

from chattpl.report.collect import writable
from chattpl.report.families import Contrast
from chattpl.report.split import KINDS, Gap, split_answers
from chattpl.report.study import Shown, Study
from chattpl.report.text import escape, percent, points, table
from chattpl.report.verdict import MOST_ROWS

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


def split_shown(study: Study, shown: Shown) -> dict[str, float]:
    """The share of each kind of what is shown as one; empty where that cannot be read."""
    if not all(cell.name in study.results for cell in shown.cells):
        return {}
    return split_answers(result for cell in shown.cells for result in study.results[cell.name])


def lost_answers(study: Study) -> str:
    """The section on the kinds of answers and on the gaps between formats, as Markdown."""
    parts = [_kinds_table(study)]
    largest = sorted(range(len(study.gaps)), key=lambda place: -abs(study.gaps[place][1].total))[:MOST_ROWS]
    found = [study.gaps[place] for place in sorted(largest)]
    if found:
        left = len(study.gaps) - len(found)
        more = f" The other {left} gaps, none of them larger, are in gaps.csv alone." if left else ""
        parts += [f"{_gaps_table(found)}{more}", "\n".join(f"* {_sentence(*each)}" for each in found)]
    return "\n\n".join(parts)


def to_frame(found: Sequence[tuple[Contrast, Gap]]) -> pandas.DataFrame:
    """One row for each gap: what it is between, and the fields of `Gap`."""
    rows = [
        (each.group, each.first, each.second, each.cells(0), each.cells(1), *vars(gap).values()) for each, gap in found
    ]
    columns = ["group", "first", "second", "first_cell", "second_cell", *(field.name for field in fields(Gap))]
    return pandas.DataFrame([[writable(value) for value in row] for row in rows], columns=columns)


def _kinds_table(study: Study) -> str:
    rows = []
    for shown in study.shown:
        shares = split_shown(study, shown)
        rows.append((escape(shown.label), *(percent(shares.get(kind, math.nan)) for kind in KINDS)))
    return f"{table(('cell', *KINDS), rows, numbers_from=1)}\n\n{DEFINITIONS}"


def _gaps_table(found: Sequence[tuple[Contrast, Gap]]) -> str:
    rows = [
        (
            *(escape(contrast.group), f"{escape(contrast.first)} less {escape(contrast.second)}", str(gap.n)),
            *(points(value) for value in (gap.total, gap.form, gap.reasoning)),
        )
        for contrast, gap in found
    ]
    return f"{table(('model', 'formats', 'n', 'gap', 'form', 'reasoning'), rows, numbers_from=2)}\n\n{FORMULA}"


def _sentence(contrast: Contrast, gap: Gap) -> str:
    """What a gap is made of."""
    model, first, second = (escape(name) for name in (contrast.group, contrast.first, contrast.second))
    if not gap.total:
        return f"Model {model}: {first} and {second} got equally many right."
    sign, ahead, behind = (1, first, second) if gap.total > 0 else (-1, second, first)
    size, form, reasoning = (points(sign * value) for value in (gap.total, gap.form, gap.reasoning))
    return f"Model {model}: {ahead} less {behind} is {size} points: form {form}, reasoning {reasoning}."
