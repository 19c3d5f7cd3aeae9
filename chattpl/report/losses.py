"""What became of each cell's answers, as stacked bars."""

from typing import Any

import numpy
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Patch

from chattpl.report.canvas import (
    FEW_ROWS,
    HATCHES,
    WITHIN,
    Look,
    cell_rows,
    draw_bars,
    label_rows,
    legend_beside,
    new_figure,
    percent_axis,
)
from chattpl.report.lost_answers import split_shown
from chattpl.report.split import KINDS
from chattpl.report.study import Study
from chattpl.report.text import NONE

# From dark to light, so that they are told apart without colours too; none of them is a format's colour.
LOOKS = {
    kind: Look(colour, hatch, "")
    for kind, colour, hatch in zip(
        KINDS, ("#00441b", "#5aae61", "#8c6bb1", "#c2a5cf", "#d9d9d9", "#969696"), HATCHES, strict=False
    )
}
BAR_INCHES = 0.34
LEAST_LABELLED = 0.06  # share of a bar that has room for its figure


def answer_split(study: Study) -> Figure:
    """The kinds of answers of each cell as one bar."""
    rows = cell_rows([shown.label for shown in study.shown], BAR_INCHES)
    figure, [ax] = new_figure(7, rows.inches)
    shares = [split_shown(study, shown) for shown in study.shown]
    for place, share in enumerate(shares):
        _write_shares(ax, place, share, min(rows.font, 8))
    left = numpy.zeros(len(shares))
    for kind in KINDS:
        widths = numpy.array([share.get(kind, 0.0) for share in shares])
        draw_bars(ax, range(len(shares)), widths, 0.8, LOOKS[kind].patch(linewidth=0.5), left)
        left += widths
    label_rows(ax, rows.labels, rows.font)
    ax.set(
        ylim=(len(shares) - 0.5, -0.5),
        xlim=(0, 1),
        xlabel="answers (%)",
        title=f"What became of the answers{study.over_seeds}",
    )
    ax.tick_params(axis="x", labeltop=len(shares) > FEW_ROWS)
    ax.grid(axis="y", visible=False)
    percent_axis(ax.xaxis)
    legend_beside(ax, [Patch(**LOOKS[kind].patch(), label=kind) for kind in KINDS])
    return figure


def _write_shares(ax: Axes, place: int, shares: dict[str, float], font: float) -> None:
    """The percentage on each part of a bar that has room for it."""
    box = {"boxstyle": "round,pad=0.15", "facecolor": "white", "edgecolor": "none"}
    middle: dict[str, Any] = {"ha": "center", "va": "center", **WITHIN}
    start = 0.0
    for share in shares.values():
        if share >= LEAST_LABELLED:
            ax.text(start + share / 2, place, f"{100 * share:.0f}", fontsize=font, bbox=box, **middle)
        start += share
    if not start:
        ax.text(0.01, place, f"{NONE} results.json cannot be read", va="center", fontsize=font)
