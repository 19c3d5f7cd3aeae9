"""Every cell against every other: the paired difference and p, who won how often, and what could have been seen."""

import itertools
import math
from typing import Any

import numpy
import pandas
import seaborn
from matplotlib.figure import Figure
from matplotlib.patches import Patch

from chattpl.report.arms import Arm, common_seeds
from chattpl.report.canvas import (
    CELL_WIDTH,
    WITHIN,
    legend_beside,
    new_figure,
    readable_text,
    rows_height,
    say_instead,
)
from chattpl.report.sentences import SIGNIFICANT
from chattpl.report.stats import PairedComparison, holm, paired_comparison
from chattpl.report.study import Study
from chattpl.report.text import percent, points, wrap
from chattpl.results import DEFAULT_RULE

FIELD_INCHES = (0.85, 0.5)
MOST_CELLS = 30  # 435 pairs; further ones would be too small to be read
COLOURS = "PuOr"  # both ends differ from white for the colour-blind too; the sign is printed
LEGEND = (
    "above the diagonal: row less column,\nin points, and p",
    "below: questions that only the row\nand only the column got right; min:\n"
    "the smallest true difference that four\nof five such studies would find",
    "* p < 0.05 after Holm's adjustment\nover all pairs of this figure",
)


def paired_matrix(study: Study) -> Figure:
    """Row against column for the cells that can be read, at most the best `MOST_CELLS`."""
    arms = _readable(study)
    found = _compare(study, [arm for arm, _ in arms])
    if not found:
        figure, axes = new_figure(4, 3)
        say_instead(axes, "No two cells answered the same questions.")
        return figure
    labels = [wrap(label, CELL_WIDTH) for _, label in arms]
    figure, [ax] = new_figure(FIELD_INCHES[0] * len(arms), rows_height(labels, FIELD_INCHES[1]))
    values, texts = _fields(len(arms), found)
    most = max(numpy.nanmax(numpy.abs(values)), 1)
    ax.set_facecolor("0.93")
    look = {"cmap": COLOURS, "vmin": -most, "vmax": most, "cbar": False, "linewidths": 1, "linecolor": "white"}
    text = {"annot": texts, "fmt": "", "annot_kws": {"size": 8, **WITHIN}}
    seaborn.heatmap(pandas.DataFrame(values), ax=ax, mask=numpy.isnan(values), **look, **text)
    readable_text(ax)
    ax.set_xticks([place + 0.5 for place in range(len(arms))], labels, rotation=90)
    ax.set_yticks([place + 0.5 for place in range(len(arms))], labels, rotation=0)
    left_out = f": the best {MOST_CELLS} of {len(study.shown)}" if len(study.shown) > len(arms) == MOST_CELLS else ""
    ax.set(title=f"Every cell against every other, paired by question{study.over_seeds}{left_out}")
    ax.grid(visible=False)
    legend_beside(ax, [Patch(fill=False, linewidth=0, label=line) for line in LEGEND])
    return figure


def _readable(study: Study) -> list[tuple[Arm, str]]:
    """The rows of the matrix with their labels, in the study's order."""
    accuracies = study.drawn["accuracy"]
    readable = [place for place, shown in enumerate(study.shown) if all(c.name in study.results for c in shown.cells)]
    best = sorted(sorted(readable, key=lambda place: -accuracies[place])[:MOST_CELLS])
    chosen = [study.shown[place] for place in best]
    return [(Arm({cell.summary.seed: cell for cell in each.cells}, each.model), each.label) for each in chosen]


def _compare(study: Study, arms: list[Arm]) -> dict[tuple[int, int], tuple[PairedComparison, bool]]:
    """The comparison of each pair that shares questions, by its two places, and whether Holm's p is significant."""
    answers, found = study.findings.answers, {}
    for one, other in itertools.combinations(range(len(arms)), 2):
        pair = arms[one], arms[other]
        seeds = common_seeds(pair) or [None] * all(len(arm.cells) == 1 for arm in pair)
        cells = [arm.cell(seed) for arm in pair for seed in seeds]
        if cells and not answers.problem(cells):
            shares = answers.shares(cells)[DEFAULT_RULE]
            found[one, other] = paired_comparison(*shares.reshape(2, len(seeds), -1))
    adjusted = holm([each.p for each in found.values()])
    return {pair: (found[pair], p < SIGNIFICANT) for pair, p in zip(found, adjusted, strict=True)}


def _fields(n: int, found: dict[tuple[int, int], tuple[PairedComparison, bool]]) -> tuple[Any, Any]:
    """Value (points) and text of each field, both of shape (n, n); NaN where nothing is compared."""
    values = numpy.full((n, n), math.nan)
    texts: Any = numpy.full((n, n), "", dtype=object)
    for (row, column), (each, significant) in found.items():
        values[row, column], values[column, row] = 100 * each.difference, -100 * each.difference
        p = "p<.001" if each.p < 0.001 else f"p={each.p:.3f}".replace("0.", ".")
        texts[row, column] = f"{points(each.difference)}{'*' if significant else ''}\n{p}"
        texts[column, row] = f"{each.only_second} : {each.only_first}\nmin {percent(each.detectable)}"
    return values, texts
