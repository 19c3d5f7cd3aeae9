"""Each model as a point: one evaluation format over another."""

from typing import Any

import numpy
import pandas
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from chattpl.report.canvas import errors, legend_beside, new_figure, percent_axis, say_instead
from chattpl.report.study import Study
from chattpl.report.text import printable, wrap

COLUMNS = 3  # panels beside each other
PANEL_INCHES = 4.3
FEW_MODELS = 12  # whose intervals and numbers hardly lie on each other
# Where a number can stand beside its point, the best place first, and what it takes there (points, at its middle).
PLACES = ((9, 9), (9, -9), (-9, 9), (-9, -9), (0, 13), (0, -13), (15, 0), (-15, 0), (20, 12), (-20, -12))
NUMBER_SIZE = (11, 8)
LONGEST_LEGEND = 24  # models in one column of it


def eval_template_scatter(study: Study) -> Figure:
    """Each model as a point: accuracy with the first format (chat) over accuracy without (raw).

    Beyond two formats there is a panel for each other one; where no model has two, the picture says so.
    """
    first, *others = study.formats
    columns = max(min(len(others), COLUMNS), 1)
    models = _models_to_compare(study.drawn, first)
    inches = PANEL_INCHES if len(models) <= FEW_MODELS else 1.3 * PANEL_INCHES
    figure, axes = new_figure(inches, inches, columns, -(-max(len(others), 1) // columns), gap=1.1)
    if not models:
        name = wrap(f"eval.format={first}")
        text = f"No model was evaluated with\n{name}\nand with another format:\nthere is nothing to compare."
        say_instead(axes, text)
        return figure
    bounds = max(study.drawn["ci_low"].min() - 0.03, -0.02), min(study.drawn["ci_high"].max() + 0.03, 1.02)
    for ax, other in zip(axes, others, strict=False):
        _draw_points(ax, study, models, (first, other), bounds)
        ax.set(xlim=bounds, ylim=bounds, aspect="equal")
    for ax in axes[len(others) :]:
        ax.set_axis_off()
    legend_beside(axes[columns - 1], _legend(study, models), ncols=-(-len(models) // LONGEST_LEGEND))
    return figure


def _draw_points(
    ax: Axes, study: Study, models: list[str], formats: tuple[str, str], bounds: tuple[float, float]
) -> None:
    first, other = formats
    ax.axline((0, 0), slope=1, color="0.6", linestyle="--", linewidth=1, zorder=1)
    rows, few = study.drawn, len(models) <= FEW_MODELS
    number: dict[str, Any] = {"weight": "bold"} if few else {"fontsize": 7}
    pairs = rows[rows["eval_format"] == other].merge(rows[rows["eval_format"] == first], on="model")
    places = _places(pairs, 72 * ax.bbox.width / ax.figure.dpi / (bounds[1] - bounds[0]))
    for train_format, alike in pairs.groupby("train_format_x", dropna=False, sort=False):
        x, y = (_side(alike, side) for side in ("_x", "_y"))
        look = _look(study, train_format)
        bars: dict[str, Any] = {"elinewidth": 1, "capsize": 2} if few else {"elinewidth": 0.4}
        ax.errorbar(x["accuracy"], y["accuracy"], xerr=errors(x), yerr=errors(y), **bars, **look)
        if pandas.isna(train_format) and len(alike) == 1:  # the lines of several would cross all over
            line: dict[str, Any] = {"color": look["color"], "linestyle": ":", "linewidth": 1.3, "zorder": 1}
            for across, up in zip(x["accuracy"], y["accuracy"], strict=True):
                ax.axvline(across, **line)
                ax.axhline(up, **line)
    for (_, pair), place in zip(pairs.iterrows(), places, strict=True):
        # Numbers, explained in the legend: names beside the points would lie on each other.
        label, at = str(models.index(pair["model"]) + 1), (pair["accuracy_x"], pair["accuracy_y"])
        middle: dict[str, Any] = {"ha": "center", "va": "center", "textcoords": "offset points"}
        ax.annotate(label, at, place, color="0.1", **middle, **number)
    ax.set_xlabel(f"accuracy with eval.format={printable(other)} (%)")
    ax.set_ylabel(f"accuracy with eval.format={printable(first)} (%)")
    ax.set_title(f"above the diagonal {printable(first)} is better{study.over_seeds}")
    percent_axis(ax.xaxis)
    percent_axis(ax.yaxis)


def _places(pairs: pandas.DataFrame, scale: float) -> list[tuple[int, int]]:
    """For each point where its number stands, so that it lies on no other number and on no point, where that can be.

    `scale` is the length of the axes in points for each unit of accuracy.
    """
    points = scale * pairs[["accuracy_x", "accuracy_y"]].to_numpy(dtype=float)
    taken, chosen = list(points), []
    for point in points:
        # Of shape (places, what is taken, 2).
        distances = numpy.abs((point + PLACES)[:, None] - numpy.array(taken))
        best = int((distances < NUMBER_SIZE).all(-1).sum(-1).argmin())
        chosen.append(PLACES[best])
        taken.append(point + PLACES[best])
    return chosen


def _side(pairs: pandas.DataFrame, side: str) -> pandas.DataFrame:
    return pandas.DataFrame({key: pairs[key + side] for key in ("accuracy", "ci_low", "ci_high")})


def _look(study: Study, train_format: Any) -> dict[str, Any]:
    look = study.looks[None if pandas.isna(train_format) else train_format]
    return {"color": look.colour, "marker": look.marker, "markersize": 7, "markeredgecolor": "0.3", "linestyle": "none"}


def _legend(study: Study, models: list[str]) -> list[Line2D]:
    trained = study.drawn.drop_duplicates("model").set_index("model")["train_format"]
    points = [
        Line2D([], [], label=f"{number} {wrap(model)}", **_look(study, trained[model]))
        for number, model in enumerate(models, start=1)
    ]
    lines = trained.loc[models].isna().sum() == 1
    return points + ([Line2D([], [], color="0.35", linestyle=":", label="base, untrained")] if lines else [])


def _models_to_compare(rows: pandas.DataFrame, first: str) -> list[str]:
    formats = rows.groupby("model", sort=False)["eval_format"].agg(set)
    return [model for model, names in formats.items() if first in names and len(names) > 1]
