"""Accuracies as bars. All error bars are 95 % Wilson intervals."""

from collections.abc import Mapping, Sequence

import pandas
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Patch

from chattpl.report.canvas import ERROR_COLOUR, Colour, colours, errors, new_figure, percent_axis, rows_height
from chattpl.report.collect import format_order
from chattpl.report.text import NONE, percent, printable, wrap

METHOD_ORDER = ("sft", "grpo", "none")
BAR_INCHES = 0.28


def accuracy_bar(frame: pandas.DataFrame) -> Figure:
    """All accuracies, one bar a cell, the best first, coloured by how the model was trained."""
    frame = frame.sort_values("accuracy", ascending=False, kind="stable")
    methods = [NONE if pandas.isna(method) else printable(method) for method in frame["train_method"]]
    labels = [wrap(cell) for cell in frame["cell"]]
    colour = colours(dict.fromkeys((*METHOD_ORDER, *methods)))  # the same in every study
    figure, [ax] = new_figure(6, rows_height(labels, 0.1 + BAR_INCHES))
    _draw_bars(ax, frame, range(len(frame)), [colour[method] for method in methods], 0.75)
    _finish_bars(ax, labels, frame["ci_high"].max(), "Accuracy of each cell, best first")
    _add_legend(ax, {f"train.method={method}": colour[method] for method in colour if method in methods})
    return figure


def accuracy_grouped(frame: pandas.DataFrame) -> Figure:
    """The accuracies grouped by trained model, coloured by evaluation format."""
    groups, formats = list(dict.fromkeys(frame["group"])), format_order(frame["eval_format"])
    labels = [wrap(group) for group in groups]
    colour = colours(formats)
    figure, [ax] = new_figure(6, rows_height(labels, 0.1 + len(formats) * BAR_INCHES))
    for number, name in enumerate(formats):
        rows = frame[frame["eval_format"] == name]
        offset = (number - (len(formats) - 1) / 2) * 0.8 / len(formats)
        places = [groups.index(group) + offset for group in rows["group"]]
        _draw_bars(ax, rows, places, colour[name], 0.74 / len(formats))
    _finish_bars(ax, labels, frame["ci_high"].max(), "Accuracy by trained model and evaluation format")
    _add_legend(ax, {f"eval.format={printable(name)}": colour[name] for name in formats})
    return figure


def _draw_bars(
    ax: Axes, rows: pandas.DataFrame, places: Sequence[float], colour: Colour | list[Colour], height: float
) -> None:
    ax.barh(places, rows["accuracy"], color=colour, height=height)
    # Beside the interval, not the bar's end, which the interval crosses.
    ax.errorbar(rows["accuracy"], places, xerr=errors(rows), fmt="none", ecolor=ERROR_COLOUR, elinewidth=1, capsize=2)
    for place, accuracy, high in zip(places, rows["accuracy"], rows["ci_high"], strict=True):
        ax.annotate(percent(accuracy), (high, place), (5, 0), textcoords="offset points", va="center", fontsize=8)


def _finish_bars(ax: Axes, labels: list[str], highest: float, title: str) -> None:
    right = 1.12 * max(highest, 0.05)  # room for the figure beside the highest interval
    ax.set_yticks(range(len(labels)), labels)
    ax.set_ylim(len(labels) - 0.45, -0.55)
    ax.set_xlim(0, right)
    ax.set_xticks([tick for tick in ax.get_xticks() if tick <= min(1.0, right)])
    ax.set_xlabel("accuracy (%), with 95 % interval")
    ax.set_title(title)
    ax.grid(axis="y", visible=False)
    percent_axis(ax.xaxis)


def _add_legend(ax: Axes, colour: Mapping[str, Colour]) -> None:
    handles = [Patch(color=value, label=label) for label, value in colour.items()]
    ax.legend(handles=handles, loc="upper left", bbox_to_anchor=(1.01, 1), frameon=False)
