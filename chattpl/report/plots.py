"""The three pictures, each as the bytes of a PNG file. All error bars are 95 % Wilson intervals."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

import pandas

from chattpl.report.canvas import ERROR_COLOUR, colours, errors, new_figure, percent_axis, style, to_png, with_groups
from chattpl.report.collect import format_order
from chattpl.report.text import NONE, percent, printable, wrap

if TYPE_CHECKING:
    from matplotlib.axes import Axes

METHOD_ORDER = ("sft", "grpo", "none")
BAR_INCHES = 0.28
LINE_INCHES = 0.19


def accuracy_bar(frame: pandas.DataFrame) -> bytes:
    """All accuracies, one bar a cell, the best first, coloured by how the model was trained."""
    frame = frame.sort_values("accuracy", ascending=False, kind="stable")
    methods = [NONE if pandas.isna(method) else printable(method) for method in frame["train_method"]]
    labels = [wrap(cell) for cell in frame["cell"]]
    with style():
        colour = colours(dict.fromkeys((*METHOD_ORDER, *methods)))  # the same in every study
        figure, [ax] = new_figure(6, _height(labels, bars=1))
        _draw_bars(ax, frame, range(len(frame)), [colour[method] for method in methods], 0.75)
        _finish_bars(ax, labels, frame["ci_high"].max(), "Accuracy of each cell, best first")
        _add_legend(ax, {f"train.method={method}": colour[method] for method in colour if method in methods})
        return to_png(figure)


def accuracy_grouped(frame: pandas.DataFrame) -> bytes:
    """The accuracies grouped by trained model, coloured by evaluation format."""
    frame = with_groups(frame)
    groups, formats = list(dict.fromkeys(frame["group"])), format_order(frame["eval_format"])
    labels = [wrap(group) for group in groups]
    with style():
        colour = colours(formats)
        figure, [ax] = new_figure(6, _height(labels, bars=len(formats)))
        for number, name in enumerate(formats):
            rows = frame[frame["eval_format"] == name]
            offset = (number - (len(formats) - 1) / 2) * 0.8 / len(formats)
            places = [groups.index(group) + offset for group in rows["group"]]
            _draw_bars(ax, rows, places, colour[name], 0.74 / len(formats))
        _finish_bars(ax, labels, frame["ci_high"].max(), "Accuracy by trained model and evaluation format")
        _add_legend(ax, {f"eval.format={printable(name)}": colour[name] for name in formats})
        return to_png(figure)


def eval_template_scatter(frame: pandas.DataFrame) -> bytes:
    """Each model as a point: accuracy with the first format (chat) over accuracy without (raw).

    Beyond two formats there is a panel for each other one; where no model has two, the picture says so.
    """
    frame = with_groups(frame)
    first, *others = format_order(frame["eval_format"])
    columns = max(len(others), 1)
    groups = _groups_to_compare(frame, first)
    with style():
        figure, axes = new_figure(4.8 * columns, 4.5, columns)
        if not groups:
            _say_nothing_to_compare(axes, first)
            return to_png(figure)
        bounds = max(frame["ci_low"].min() - 0.03, -0.02), min(frame["ci_high"].max() + 0.03, 1.02)
        for ax, other in zip(axes, others, strict=True):
            _draw_points(ax, frame, groups, first, other)
            ax.set(xlim=bounds, ylim=bounds, aspect="equal")
        _add_point_legend(axes[-1], groups)
        return to_png(figure)


def _draw_bars(ax: "Axes", rows: pandas.DataFrame, places: Sequence[float], colour, height: float) -> None:
    ax.barh(places, rows["accuracy"], color=colour, height=height)
    # Beside the interval, not the bar's end, which the interval crosses.
    ax.errorbar(rows["accuracy"], places, xerr=errors(rows), fmt="none", ecolor=ERROR_COLOUR, elinewidth=1, capsize=2)
    for place, accuracy, high in zip(places, rows["accuracy"], rows["ci_high"], strict=True):
        ax.annotate(percent(accuracy), (high, place), (5, 0), textcoords="offset points", va="center", fontsize=8)


def _finish_bars(ax: "Axes", labels: list[str], highest: float, title: str) -> None:
    right = 1.12 * max(highest, 0.05)  # room for the figure beside the highest interval
    ax.set_yticks(range(len(labels)), labels)
    ax.set_ylim(len(labels) - 0.45, -0.55)
    ax.set_xlim(0, right)
    ax.set_xticks([tick for tick in ax.get_xticks() if tick <= min(1.0, right)])
    ax.set_xlabel("accuracy (%), with 95 % interval")
    ax.set_title(title)
    ax.grid(axis="y", visible=False)
    percent_axis(ax.xaxis)


def _height(labels: list[str], bars: int) -> float:
    """Inches: every label has room for the longest one's lines and its own bars."""
    lines = max(label.count("\n") + 1 for label in labels)
    return len(labels) * max(0.1 + bars * BAR_INCHES, 0.08 + lines * LINE_INCHES)


def _add_legend(ax: "Axes", colour: dict) -> None:
    from matplotlib.patches import Patch

    handles = [Patch(color=value, label=label) for label, value in colour.items()]
    ax.legend(handles=handles, loc="upper left", bbox_to_anchor=(1.01, 1), frameon=False)


def _draw_points(ax: "Axes", frame: pandas.DataFrame, groups: list[str], first: str, other: str) -> None:
    colour = colours(groups)
    ax.axline((0, 0), slope=1, color="0.6", linestyle="--", linewidth=1, zorder=1)
    pairs = frame[frame["eval_format"] == other].merge(frame[frame["eval_format"] == first], on="group")
    for _, pair in pairs.iterrows():
        x, y = (pandas.DataFrame([_side(pair, side)]) for side in ("_x", "_y"))
        look = {"color": colour[pair["group"]], "elinewidth": 1, "capsize": 2}
        ax.errorbar(x["accuracy"], y["accuracy"], xerr=errors(x), yerr=errors(y), fmt="o", markersize=7, **look)
        # Numbers, explained in the legend: names beside the points would cover each other.
        label, at = str(groups.index(pair["group"]) + 1), (pair["accuracy_x"], pair["accuracy_y"])
        ax.annotate(label, at, (5, 5), textcoords="offset points", color="0.1", weight="bold")
    ax.set_xlabel(f"accuracy with eval.format={printable(other)} (%)")
    ax.set_ylabel(f"accuracy with eval.format={printable(first)} (%)")
    ax.set_title(f"above the diagonal {printable(first)} is better")
    percent_axis(ax.xaxis)
    percent_axis(ax.yaxis)


def _side(pair: pandas.Series, side: str) -> dict[str, float]:
    return {key: pair[key + side] for key in ("accuracy", "ci_low", "ci_high")}


def _add_point_legend(ax: "Axes", groups: list[str]) -> None:
    from matplotlib.lines import Line2D

    look = {"marker": "o", "linestyle": "none"}
    names = zip(groups, colours(groups).values(), strict=True)
    handles = [
        Line2D([], [], color=colour, label=f"{number} {wrap(group)}", **look)
        for number, (group, colour) in enumerate(names, start=1)
    ]
    ax.legend(handles=handles, loc="upper left", bbox_to_anchor=(1.01, 1), frameon=False)


def _groups_to_compare(frame: pandas.DataFrame, first: str) -> list[str]:
    formats = frame.groupby("group", sort=False)["eval_format"].agg(set)
    return [group for group, names in formats.items() if first in names and len(names) > 1]


def _say_nothing_to_compare(axes: list["Axes"], first: str) -> None:
    for ax in axes:
        ax.set_axis_off()
    name = wrap(f"eval.format={first}")
    text = f"No model was evaluated with\n{name}\nand with another format:\nthere is nothing to compare."
    axes[0].text(0.5, 0.5, text, ha="center", va="center", transform=axes[0].transAxes)
