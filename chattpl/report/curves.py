"""The trainings of all models in one figure: loss, reward, and the rates of rollouts that taught nothing."""

from collections.abc import Iterator, Sequence
from typing import Any

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from chattpl.report.canvas import MARKERS, legend_beside, new_figure, percent_axis, say_instead
from chattpl.report.study import Study
from chattpl.report.text import printable, wrap

COLUMNS = 3
PANEL_INCHES = (4.2, 2.8)
LARGE_PANEL_INCHES = (6.0, 5.2)
FEW_TRAININGS = 12  # whose curves can be told apart in a panel of the usual size
LONGEST_LEGEND = 30  # models in one column of it
MARKERS_A_CURVE = 8
SMOOTHED = 40  # entries of the log from which on a curve is smoothed: over a twentieth of them
LEAST_RATE = 0.1  # that an axis reaches: a rate of one percent is no mountain
# Field of `train.json` to the panel's title; a reward is no rate, whatever its range.
REWARD = {"mean_reward": "mean reward of the rollouts"}
RATES = {
    "truncated": "rollouts cut off (%)",
    "discarded": "rollouts discarded (%)",
    "uniform_groups": "groups whose rewards are equal (%)",
}
LINES = ("-", "--", "-.", ":")
DASHES_SHOWN = 4.5  # length of a line in the legend, in letters: its dashes can be told

Curve = tuple[str, Sequence[Sequence[float]]]  # a model and its [step, value] pairs


def training_curves(study: Study) -> Figure:
    """A panel for each thing that some training logged, with a curve for each model.

    Losses of different methods are not on one scale, so each method has a panel. A curve is the mean over seeds, and of
    a long log a moving one; where it is not what was logged, that stands behind it, pale.
    """
    panels = list(_panels(study))
    columns = max(min(len(panels), COLUMNS), 1)
    labels = _labels(study)
    size = PANEL_INCHES if len(set(labels.values())) <= FEW_TRAININGS else LARGE_PANEL_INCHES
    figure, axes = new_figure(*size, columns, -(-max(len(panels), 1) // columns))
    if not panels:
        say_instead(axes, "No model of this study has a record of its training.")
        return figure
    looks = _looks(study, labels)
    for ax, (title, curves) in zip(axes, panels, strict=False):
        for label, logged in _by_label(curves, labels).items():
            _draw(ax, logged, looks[label])
        ax.set(title=title, xlabel="step")
    for ax in axes[len(panels) :]:
        ax.set_axis_off()
    _finish(axes, panels, {labels[model]: looks[labels[model]] for _, curves in panels for model, _ in curves})
    return figure


def _panels(study: Study) -> Iterator[tuple[str, list[Curve]]]:
    methods = dict.fromkeys(cell.summary.train_method for cell in study.cells)
    for method in methods:
        models = {cell.model for cell in study.cells if cell.summary.train_method == method}
        yield from _panel(study, models, "loss", f"loss ({printable(method)})")
    everyone = {cell.model for cell in study.cells}
    for field, title in {**REWARD, **RATES}.items():
        yield from _panel(study, everyone, field, title)


def _panel(study: Study, models: set[str], field: str, title: str) -> Iterator[tuple[str, list[Curve]]]:
    curves = [
        (model, points)
        for model, report in study.trainings.items()
        if model in models and (points := getattr(report, field))
    ]
    if curves:
        yield title, curves


def _by_label(curves: list[Curve], labels: dict[str, str]) -> dict[str, list[pd.Series]]:
    """What the trainings of each label logged, by step."""
    found: dict[str, list[pd.Series]] = {}
    for model, points in curves:
        steps, values = zip(*points, strict=True)
        found.setdefault(labels[model], []).append(pd.Series(values, index=steps))
    return found


def _draw(ax: Axes, logged: list[pd.Series], look: dict[str, Any]) -> None:
    mean = pd.concat(logged).groupby(level=0).mean()
    smooth = len(mean) >= SMOOTHED
    if smooth:
        mean = mean.rolling(len(mean) // 20, center=True, min_periods=1).mean()
    if smooth or len(logged) > 1:
        for each in logged:
            ax.plot(each.index, each, linewidth=0.5, alpha=0.25, color=look["color"])
    ax.plot(mean.index, mean, linewidth=1.5, markersize=5, markevery=_every(len(mean)), **look)


def _finish(axes: Sequence[Axes], panels: Sequence[tuple[str, list[Curve]]], looks: dict[str, dict[str, Any]]) -> None:
    for ax, (title, _) in zip(axes, panels, strict=False):
        if title in RATES.values():
            top = max(ax.get_ylim()[1], LEAST_RATE)
            ax.set_ylim(-0.02 * top, top)
            percent_axis(ax.yaxis)
    handles = [Line2D([], [], label=wrap(label), markersize=5, **look) for label, look in looks.items()]
    columns = min(len(panels), COLUMNS)
    more = {"ncols": -(-len(handles) // LONGEST_LEGEND), "handlelength": DASHES_SHOWN}
    legend_beside(axes[columns - 1], handles, **more)


def _labels(study: Study) -> dict[str, str]:
    """By the name of each model its label without the seed: seeds of one training look the same."""
    found: dict[str, list[str]] = {}
    for arm in study.findings.arms:
        for cell in arm.cells.values():
            found.setdefault(cell.model, []).append(arm.label)
    return {model: min(found.get(model, [study.labels.trained[model]]), key=len) for model in study.trainings}


def _looks(study: Study, labels: dict[str, str]) -> dict[str, dict[str, Any]]:
    """By label. The colour is that of the format of training; line and marker tell models apart without it.

    No two of the first 48 have both in common: lines begin one further after each turn of the markers.
    """
    found: dict[str, dict[str, Any]] = {}
    for cell in study.cells:
        label, number = labels.get(cell.model), len(found)
        if label is not None and label not in found:
            colour, turn = study.looks[cell.summary.train_format].colour, number + number // len(MARKERS)
            line, marker = LINES[turn % len(LINES)], MARKERS[number % len(MARKERS)]
            found[label] = {"color": colour, "linestyle": line, "marker": marker}
    return found


def _every(steps: int) -> int:
    return max(1, steps // MARKERS_A_CURVE)
