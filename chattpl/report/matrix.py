"""Every cell against every other: the paired difference and p, who won how often, and what could have been seen."""

import itertools
import math
from typing import Any

import numpy
import pandas
import seaborn
from matplotlib.figure import Figure
from matplotlib.patches import Patch

from chattpl.report.canvas import CELL_WIDTH, WITHIN, legend_beside, new_figure, rows_height, say_instead
from chattpl.report.sentences import SIGNIFICANT
from chattpl.report.stats import PairedComparison, holm, paired_comparison
from chattpl.report.study import Study
from chattpl.report.text import percent, wrap
from chattpl.results import DEFAULT_RULE

FIELD_INCHES = (0.85, 0.5)
MOST_CELLS = 30  # 435 pairs; further ones would be too small to be read
COLOURS = "PuOr"  # both ends differ from white for the colour-blind too; the sign is printed
LEGEND = (
    "above the diagonal: row less column,\nin points, and p",
    "below: questions that only the row\nand only the column got right, and\n"
    "the smallest true difference that four\nof five such studies would find",
    "* p < 0.05 after Holm's adjustment\nover all pairs of this figure",
)


def paired_matrix(study: Study) -> Figure:
    """Row against column for the cells that can be read, at most the best `MOST_CELLS`."""
    names = _readable(study)
    found = _compare(study, names)
    if not found:
        figure, axes = new_figure(4, 3)
        say_instead(axes, "No two cells answered the same questions.")
        return figure
    labels = [wrap(study.labels.cells[name], CELL_WIDTH) for name in names]
    figure, [ax] = new_figure(FIELD_INCHES[0] * len(names), rows_height(labels, FIELD_INCHES[1]))
    values, texts = _fields(len(names), found)
    most = max(numpy.nanmax(numpy.abs(values)), 1)
    ax.set_facecolor("0.93")
    look = {"cmap": COLOURS, "vmin": -most, "vmax": most, "cbar": False, "linewidths": 1, "linecolor": "white"}
    text = {"annot": texts, "fmt": "", "annot_kws": {"size": 8, **WITHIN}}
    seaborn.heatmap(pandas.DataFrame(values), ax=ax, mask=numpy.isnan(values), **look, **text)
    ax.set_xticks([place + 0.5 for place in range(len(names))], labels, rotation=90)
    ax.set_yticks([place + 0.5 for place in range(len(names))], labels, rotation=0)
    left_out = f": the best {MOST_CELLS} of {len(study.results)}" if len(study.results) > len(names) else ""
    ax.set(title=f"Every cell against every other, paired by question{left_out}")
    ax.grid(visible=False)
    legend_beside(ax, [Patch(fill=False, linewidth=0, label=line) for line in LEGEND])
    return figure


def _readable(study: Study) -> list[str]:
    """The cells of the matrix by name, in the study's order."""
    ranked = sorted(study.cells, key=lambda cell: -cell.summary.accuracy)
    best = {cell.name for cell in [cell for cell in ranked if cell.name in study.results][:MOST_CELLS]}
    return [cell.name for cell in study.cells if cell.name in best]


def _compare(study: Study, names: list[str]) -> dict[tuple[int, int], tuple[PairedComparison, bool]]:
    """The comparison of each pair that shares questions, by its two places, and whether Holm's p is significant."""
    cells, answers = {cell.name: cell for cell in study.cells}, study.findings.answers
    found = {}
    for one, other in itertools.combinations(range(len(names)), 2):
        pair = [cells[names[place]] for place in (one, other)]
        if not answers.problem(pair):
            found[one, other] = paired_comparison(*answers.shares(pair)[DEFAULT_RULE])
    adjusted = holm([each.p for each in found.values()])
    return {pair: (found[pair], p < SIGNIFICANT) for pair, p in zip(found, adjusted, strict=True)}


def _fields(n: int, found: dict[tuple[int, int], tuple[PairedComparison, bool]]) -> tuple[Any, Any]:
    """Value (points) and text of each field, both of shape (n, n); NaN where nothing is compared."""
    values = numpy.full((n, n), math.nan)
    texts: Any = numpy.full((n, n), "", dtype=object)
    for (row, column), (each, significant) in found.items():
        values[row, column], values[column, row] = 100 * each.difference, -100 * each.difference
        p = "p<.001" if each.p < 0.001 else f"p={each.p:.3f}".replace("0.", ".")
        texts[row, column] = f"{100 * each.difference:+.1f}{'*' if significant else ''}\n{p}"
        texts[column, row] = f"{each.only_second} : {each.only_first}\n\N{PLUS-MINUS SIGN}{percent(each.detectable)}"
    return values, texts
