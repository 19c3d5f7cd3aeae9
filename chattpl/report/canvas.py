"""What the report's figures share: style, colours, labels, and the way to a file.

Figures are made without pyplot's state: no display is needed, and nothing stays open.
"""

import io
import itertools
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import matplotlib
import numpy
import pandas
import seaborn
from matplotlib.axes import Axes
from matplotlib.axis import Axis
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

Colour = tuple[float, float, float]

DPI = 150
ERROR_COLOUR = "0.25"
LINE_INCHES = 0.19  # of a label
# Metadata that would make two files of the same figure differ.
METADATA: dict[str, dict[str, Any]] = {"png": {}, "svg": {"Date": None}}


def draw_files(draw: Callable[[pandas.DataFrame], Figure], frame: pandas.DataFrame) -> dict[str, bytes]:
    """The figure that `draw` makes of the frame, as the content of a file for each suffix: png, svg."""
    # Ticks and labels are made as late as when the file is, so that stands within the style too.
    with matplotlib.rc_context(_style()):
        figure = draw(frame)
        return {suffix: _content(figure, suffix) for suffix in METADATA}


def new_figure(width: float, height: float, columns: int = 1) -> tuple[Figure, list[Axes]]:
    """A figure of that many inches with its axes side by side."""
    figure = Figure(figsize=(width, height))
    FigureCanvasAgg(figure)
    # The axes fill the figure and the labels stand outside it: however long they are, they take nothing from the axes.
    edges = {"left": 0, "right": 1, "bottom": 0, "top": 1, "wspace": 0.25}
    return figure, list(figure.subplots(1, columns, squeeze=False, gridspec_kw=edges)[0])


def rows_height(labels: Sequence[str], row_inches: float) -> float:
    """Inches for one row a label: each has room for the longest label's lines and for what stands in the row."""
    lines = max(label.count("\n") + 1 for label in labels)
    return len(labels) * max(row_inches, 0.08 + lines * LINE_INCHES)


def colours(names: Iterable[str]) -> dict[str, Colour]:
    """A colour for each name, from seaborn's palette for the colour-blind; it starts again after ten."""
    return dict(zip(names, itertools.cycle(seaborn.color_palette("colorblind")), strict=False))


def errors(rows: pandas.DataFrame) -> Any:
    """The error bars' lengths, shape (2, rows): from the accuracy down and up to its interval's ends."""
    ends = numpy.array([rows["accuracy"] - rows["ci_low"], rows["ci_high"] - rows["accuracy"]], dtype=float)
    return numpy.clip(ends, 0, None)


def percent_axis(axis: Axis) -> None:
    """Label an axis of fractions in percent."""
    axis.set_major_formatter(lambda value, _: f"{100 * value:.4g}")


def _style() -> Any:  # a dictionary; matplotlib's types list every key, and seaborn has none
    return {
        **seaborn.axes_style("whitegrid"),
        **seaborn.plotting_context("notebook", font_scale=0.9),
        "text.parse_math": False,  # a dollar sign in a name starts no formula
        "svg.hashsalt": "chattpl",  # otherwise identifiers are random
        "svg.fonttype": "path",  # letters as outlines: a viewer without the font would set labels over each other
    }


def _content(figure: Figure, suffix: str) -> bytes:
    """The figure with all that reaches beyond its edges, so that no label is cut."""
    buffer = io.BytesIO()
    figure.savefig(buffer, format=suffix, dpi=DPI, bbox_inches="tight", pad_inches=0.15, metadata=METADATA[suffix])
    return buffer.getvalue()
