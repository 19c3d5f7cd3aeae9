"""What the report's pictures share: style, colours, labels, and the way to a PNG file.

Figures are made without pyplot's state: no display is needed, and nothing stays open.
"""

import io
import itertools
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

import numpy
import pandas

from chattpl.report.collect import group_name

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

DPI = 150
ERROR_COLOUR = "0.25"


@contextmanager
def style() -> Iterator[None]:
    """Seaborn's white grid; a dollar sign in a name starts no formula."""
    import matplotlib
    import seaborn

    settings = {
        **seaborn.axes_style("whitegrid"),
        **seaborn.plotting_context("notebook", font_scale=0.9),
        "text.parse_math": False,
    }
    with matplotlib.rc_context(settings):
        yield


def new_figure(width: float, height: float, columns: int = 1) -> tuple["Figure", list["Axes"]]:
    """A figure of that many inches with its axes side by side."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width, height))
    FigureCanvasAgg(figure)
    # The axes fill the figure and the labels stand outside it: however long they are, they take nothing from the axes.
    edges = {"left": 0, "right": 1, "bottom": 0, "top": 1, "wspace": 0.25}
    return figure, list(figure.subplots(1, columns, squeeze=False, gridspec_kw=edges)[0])


def to_png(figure: "Figure") -> bytes:
    """The figure with all that reaches beyond its edges, so that no label is cut."""
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=DPI, bbox_inches="tight", pad_inches=0.15)
    return buffer.getvalue()


def colours(names: Iterable[str]) -> dict[str, tuple[float, float, float]]:
    """A colour for each name, from seaborn's palette for the colour-blind; it starts again after ten."""
    import seaborn

    return dict(zip(names, itertools.cycle(seaborn.color_palette("colorblind")), strict=False))


def errors(rows: pandas.DataFrame) -> numpy.ndarray:
    """The error bars' lengths, shape (2, rows): from the accuracy down and up to its interval's ends."""
    ends = numpy.array([rows["accuracy"] - rows["ci_low"], rows["ci_high"] - rows["accuracy"]], dtype=float)
    return numpy.clip(ends, 0, None)


def with_groups(frame: pandas.DataFrame) -> pandas.DataFrame:
    """The frame with a column `group`: the cells of one group differ in the evaluation format alone."""
    names = zip(frame["cell"], frame["model_name"], frame["eval_format"], strict=True)
    return frame.assign(group=[group_name(*name) for name in names])


def percent_axis(axis) -> None:
    """Label an axis of fractions in percent."""
    axis.set_major_formatter(lambda value, _: f"{100 * value:.4g}")
