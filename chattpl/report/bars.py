"""Accuracies as bars. All error bars are 95 % Wilson intervals."""

from collections.abc import Sequence
from typing import Any

import pandas
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from chattpl.report.canvas import (
    ERROR_COLOUR,
    FEW_ROWS,
    WITHIN,
    Look,
    cell_rows,
    draw_bars,
    errors,
    format_patches,
    label_rows,
    legend_beside,
    new_figure,
    percent_axis,
    rows_height,
)
from chattpl.report.study import Study
from chattpl.report.text import percent, wrap

BAR_INCHES = 0.28
THIN_BAR_INCHES = 0.17
FIGURE_SHARE = 0.075  # of the axes' width, that a figure takes beside its interval
FEW_FORMATS = 4  # whose bars may be broad
# With a seam, that it is seen on any bar.
BASE: tuple[dict[str, Any], ...] = (
    {"colors": "white", "linewidth": 3.6, "capstyle": "butt"},
    {"colors": "black", "linewidth": 1.8, "capstyle": "butt"},
)
SEED: dict[str, Any] = {"color": "white", "marker": "o", "markersize": 4, "markeredgecolor": "black", "linewidth": 0}


def accuracy_bar(study: Study) -> Figure:
    """All accuracies, one bar a cell, the best first, with a line where the untrained model is in the same format."""
    rows = study.drawn.sort_values("accuracy", ascending=False, kind="stable")
    shown = cell_rows(list(rows["label"]), 0.06 + BAR_INCHES)
    figure, [ax] = new_figure(6, shown.inches)
    places = pandas.Series(range(len(rows)), index=rows.index)
    for name in study.formats:
        chosen = rows[rows["eval_format"] == name]
        _draw_bars(ax, chosen, list(places[chosen.index]), study.looks[name], 0.75, min(shown.font, 8), _right(rows))
    label_rows(ax, shown.labels, shown.font)
    _finish_bars(ax, len(rows), rows, f"Accuracy, best first{study.over_seeds}")
    legend_beside(ax, format_patches(study.formats, study.looks) + _on_the_bars(rows))
    return figure


def accuracy_grouped(study: Study) -> Figure:
    """The accuracies grouped by model, with a line where the untrained model is in the same format."""
    rows, formats = study.drawn, study.formats
    models = list(dict.fromkeys(rows["model"]))
    labels = [wrap(model) for model in models]
    few = len(formats) <= FEW_FORMATS
    inches, font = (BAR_INCHES, 8) if few else (THIN_BAR_INCHES, 6.5)
    figure, [ax] = new_figure(6, rows_height(labels, 0.1 + len(formats) * inches))
    for number, name in enumerate(formats):
        chosen = rows[rows["eval_format"] == name]
        offset = (number - (len(formats) - 1) / 2) * 0.8 / len(formats)
        places = [models.index(model) + offset for model in chosen["model"]]
        _draw_bars(ax, chosen, places, study.looks[name], 0.74 / len(formats), font, _right(rows))
    label_rows(ax, labels)
    _finish_bars(ax, len(labels), rows, f"Accuracy by model and evaluation format{study.over_seeds}")
    legend_beside(ax, format_patches(formats, study.looks) + _on_the_bars(rows))
    return figure


def _draw_bars(
    ax: Axes, rows: pandas.DataFrame, places: Sequence[float], look: Look, height: float, font: float, right: float
) -> None:
    """Bars with intervals, figures and the lines of the untrained model, on an axis that ends at `right`."""
    draw_bars(ax, places, rows["accuracy"].to_numpy(), height, look.patch(), left=0)
    # A figure stands beside the interval, which crosses the bar's end, and beside a line that it would stand on.
    ax.errorbar(rows["accuracy"], places, xerr=errors(rows), fmt="none", ecolor=ERROR_COLOUR, elinewidth=1, capsize=2)
    text: dict[str, Any] = {"textcoords": "offset points", "va": "center", "fontsize": font, **WITHIN}
    for place, (accuracy, high, base) in zip(places, rows[["accuracy", "ci_high", "base"]].to_numpy(), strict=True):
        beside = base if high <= base < high + FIGURE_SHARE * right else high
        ax.annotate(percent(accuracy), (beside, place), (5, 0), **text)
    ends = [[place + side * height / 2 for place in places] for side in (-1, 1)]
    seeds = pandas.Series(list(rows["seeds"]), places, dtype=object).explode().dropna()
    ax.plot(seeds, seeds.index, **SEED)
    for line in BASE:
        ax.vlines(rows["base"], *ends, **line)


def _finish_bars(ax: Axes, count: int, rows: pandas.DataFrame, title: str) -> None:
    right = _right(rows)
    ax.set_ylim(count - 0.45, -0.55)
    ax.set_xlim(0, right)
    ax.set_xticks([tick for tick in ax.get_xticks() if tick <= min(1.0, right)])
    ax.set_xlabel("accuracy (%), with 95 % interval")
    ax.set_title(title)
    ax.tick_params(axis="x", labeltop=len(rows) > FEW_ROWS)
    ax.grid(axis="y", visible=False)
    percent_axis(ax.xaxis)


def _right(rows: pandas.DataFrame) -> float:
    """Where the axis ends: there is room for the figure beside the highest interval."""
    return float(1.12 * max(rows["ci_high"].max(), 0.05))


def _on_the_bars(rows: pandas.DataFrame) -> list[Line2D]:
    """What the legend says of the lines and points on the bars."""
    upright: dict[str, Any] = {"marker": "|", "markersize": 12, "markeredgewidth": 1.8}
    lines = [Line2D([], [], color="black", linestyle="none", label="base in the same format", **upright)]
    points = [Line2D([], [], label="each seed", **SEED)]
    return lines * (not rows["base"].isna().all()) + points * any(map(len, rows["seeds"]))
