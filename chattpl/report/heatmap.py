"""Accuracy as a table of colours: models down, evaluation formats across."""

import math
from collections.abc import Iterator
from typing import Any

import pandas
import seaborn
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Patch, Rectangle

from chattpl.report.canvas import WITHIN, label_rows, legend_beside, new_figure, readable_text, rows_height
from chattpl.report.study import Study
from chattpl.report.text import printable, wrap

FIELD_INCHES = (0.75, 0.3)
LEAST_WIDTH = 3.0  # inches
LONGEST_UPRIGHT = 9  # characters of a format's name that stand beside the next one's
COLOURS = "YlGnBu"  # without grey, which is a field that nobody measured, and without the frame's red
FRAME: dict[str, Any] = {"fill": False, "edgecolor": "#d55e00", "linewidth": 2}
MISSING = "0.85"


def accuracy_heatmap(study: Study) -> Figure:
    """Each model in each evaluation format, in percent; a frame where it was trained in that format."""
    table = _percentages(study)
    labels = [wrap(model) for model in table.index]
    width = max(LEAST_WIDTH, FIELD_INCHES[0] * len(table.columns))
    figure, [ax] = new_figure(width, rows_height(labels, FIELD_INCHES[1]))
    _draw_fields(ax, table)
    fields = list(_trained_fields(study.drawn, table))
    for row, column in fields:
        # Less than the field, so that frames above each other stay apart.
        ax.add_patch(Rectangle((column + 0.03, row + 0.07), 0.94, 0.86, **FRAME))
    _label(ax, labels, [printable(name) for name in table.columns])
    ax.set_title(f"Accuracy (%) by model and evaluation format{study.over_seeds}")
    legend_beside(ax, _legend(framed=bool(fields), missing=bool(table.isna().any(axis=None))))
    return figure


def _percentages(study: Study) -> pandas.DataFrame:
    """The accuracy in percent by model (rows, in the cells' order) and format; NaN where there is no such cell."""
    cells = study.drawn.drop_duplicates(["model", "eval_format"])  # a copied folder is the same cell again
    table = 100 * cells.pivot(index="model", columns="eval_format", values="accuracy")
    return table.reindex(index=study.drawn["model"].unique(), columns=study.formats)


def _draw_fields(ax: Axes, table: pandas.DataFrame) -> None:
    low, high = _colour_range(table)
    look = {"cmap": COLOURS, "vmin": low, "vmax": high, "linewidths": 1, "linecolor": "white", "cbar": False}
    text = {"annot": True, "fmt": ".1f", "annot_kws": {"size": 9, **WITHIN}}
    ax.set_facecolor(MISSING)  # what the mask leaves open
    seaborn.heatmap(table, mask=table.isna(), ax=ax, xticklabels=False, yticklabels=False, **look, **text)
    readable_text(ax)


def _colour_range(table: pandas.DataFrame) -> tuple[float, float]:
    """From the lowest to the highest, rounded outwards to tens: chance alone gives no strong contrast."""
    values = table.stack().dropna()
    if values.empty:
        return 0, 100
    low, high = 10 * math.floor(values.min() / 10), 10 * math.ceil(values.max() / 10)
    return low, max(high, low + 10)


def _trained_fields(rows: pandas.DataFrame, table: pandas.DataFrame) -> Iterator[tuple[int, int]]:
    """Row and column of each field whose evaluation format is the one that its model was trained in."""
    trained = rows.drop_duplicates("model").set_index("model")["train_format"]
    formats = list(table.columns)
    for row, model in enumerate(table.index):
        if trained[model] in formats:
            yield row, formats.index(trained[model])


def _label(ax: Axes, models: list[str], formats: list[str]) -> None:
    upright = max(map(len, formats)) <= LONGEST_UPRIGHT
    names = formats if upright else [wrap(name) for name in formats]
    ax.set_xticks([column + 0.5 for column in range(len(names))], names, rotation=0 if upright else 90)
    label_rows(ax, models, first=0.5)
    ax.set(xlabel="eval.format", ylabel="")
    ax.grid(visible=False)


def _legend(framed: bool, missing: bool) -> list[Patch]:
    handles = [Patch(**FRAME, label="trained in this format")] if framed else []
    return handles + ([Patch(color=MISSING, label="not evaluated")] if missing else [])
