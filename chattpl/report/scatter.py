"""Each trained model as a point: one evaluation format over another."""

from typing import Any

import pandas
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from chattpl.report.canvas import colours, errors, new_figure, percent_axis
from chattpl.report.collect import format_order
from chattpl.report.text import printable, wrap


def eval_template_scatter(frame: pandas.DataFrame) -> Figure:
    """Each model as a point: accuracy with the first format (chat) over accuracy without (raw).

    Beyond two formats there is a panel for each other one; where no model has two, the picture says so.
    """
    first, *others = format_order(frame["eval_format"])
    columns = max(len(others), 1)
    groups = _groups_to_compare(frame, first)
    figure, axes = new_figure(4.8 * columns, 4.5, columns)
    if not groups:
        _say_nothing_to_compare(axes, first)
        return figure
    bounds = max(frame["ci_low"].min() - 0.03, -0.02), min(frame["ci_high"].max() + 0.03, 1.02)
    for ax, other in zip(axes, others, strict=True):
        _draw_points(ax, frame, groups, first, other)
        ax.set(xlim=bounds, ylim=bounds, aspect="equal")
    _add_point_legend(axes[-1], groups)
    return figure


def _draw_points(ax: Axes, frame: pandas.DataFrame, groups: list[str], first: str, other: str) -> None:
    colour = colours(groups)
    ax.axline((0, 0), slope=1, color="0.6", linestyle="--", linewidth=1, zorder=1)
    pairs = frame[frame["eval_format"] == other].merge(frame[frame["eval_format"] == first], on="group")
    for _, pair in pairs.iterrows():
        x, y = (pandas.DataFrame([_side(pair, side)]) for side in ("_x", "_y"))
        look: dict[str, Any] = {"fmt": "o", "ms": 7, "elinewidth": 1, "capsize": 2, "color": colour[pair["group"]]}
        ax.errorbar(x["accuracy"], y["accuracy"], xerr=errors(x), yerr=errors(y), **look)
        # Numbers, explained in the legend: names beside the points would lie on each other.
        label, at = str(groups.index(pair["group"]) + 1), (pair["accuracy_x"], pair["accuracy_y"])
        ax.annotate(label, at, (5, 5), textcoords="offset points", color="0.1", weight="bold")
    ax.set_xlabel(f"accuracy with eval.format={printable(other)} (%)")
    ax.set_ylabel(f"accuracy with eval.format={printable(first)} (%)")
    ax.set_title(f"above the diagonal {printable(first)} is better")
    percent_axis(ax.xaxis)
    percent_axis(ax.yaxis)


def _side(pair: pandas.Series, side: str) -> dict[str, float]:
    return {key: pair[key + side] for key in ("accuracy", "ci_low", "ci_high")}


def _add_point_legend(ax: Axes, groups: list[str]) -> None:
    names = zip(groups, colours(groups).values(), strict=True)
    handles = [
        ax.plot([], [], "o", color=colour, label=f"{number} {wrap(group)}")[0]
        for number, (group, colour) in enumerate(names, start=1)
    ]
    ax.legend(handles=handles, loc="upper left", bbox_to_anchor=(1.01, 1), frameon=False)


def _groups_to_compare(frame: pandas.DataFrame, first: str) -> list[str]:
    formats = frame.groupby("group", sort=False)["eval_format"].agg(set)
    return [group for group, names in formats.items() if first in names and len(names) > 1]


def _say_nothing_to_compare(axes: list[Axes], first: str) -> None:
    for ax in axes:
        ax.set_axis_off()
    name = wrap(f"eval.format={first}")
    text = f"No model was evaluated with\n{name}\nand with another format:\nthere is nothing to compare."
    axes[0].text(0.5, 0.5, text, ha="center", va="center", transform=axes[0].transAxes)
