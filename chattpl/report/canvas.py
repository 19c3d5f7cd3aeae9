"""What the report's figures share: style, looks, labels, and the way to a file.

A colour, a hatch and a marker stand for a format, everywhere: that of evaluation in bars, that of training in points
and curves. The untrained model is grey. Figures are made without pyplot's state: no display is needed, and nothing
stays open.
"""

import io
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import matplotlib
import numpy
import pandas
import seaborn
from matplotlib.axes import Axes
from matplotlib.axis import Axis
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.collections import PolyCollection
from matplotlib.figure import Figure
from matplotlib.patches import Patch
from matplotlib.transforms import Bbox

from chattpl.report.text import wrap

Colour = str | tuple[float, float, float]

DPI = 150
MARGIN = 0.15  # inches
ERROR_COLOUR = "0.25"
LINE_INCHES = 0.19  # of a label
FEW_ROWS = 60
CELL_WIDTH = 42  # characters of a cell's label
LABEL_FONT = 9.9
LABEL_GAP = 9.5  # points between a row and its label
WITHIN: dict[str, Any] = {"in_layout": False}  # text within the axes: the figure's edges are found without measuring it
# The kinds of files, with metadata by which two files of one figure are equal.
FILES: dict[str, dict[str, Any]] = {"png": {}, "svg": {"Date": None}}
HATCHES = ("", "///", "...", "xxx", "\\\\\\", "---", "+++", "ooo", "|||", "**")
MARKERS = ("o", "s", "^", "D", "v", "P", "X", "<", "p", ">", "*", "h")


@dataclass(frozen=True)
class Look:
    """How something is drawn; two looks differ in print without colours too."""

    colour: Colour
    hatch: str
    marker: str

    def patch(self, **more: Any) -> dict[str, Any]:
        """Arguments of a bar or a legend's field."""
        return {"facecolor": self.colour, "edgecolor": "white", "hatch": self.hatch, "linewidth": 0, **more}


def looks(names: Iterable[str]) -> dict[str | None, Look]:
    """A look for each name, in seaborn's palette for the colour-blind, and a grey one for None.

    Colours start again after ten; the other two begin one further then.
    """
    palette = seaborn.color_palette("colorblind")
    found: dict[str | None, Look] = {None: Look("0.35", "", "*")}
    for number, name in enumerate(dict.fromkeys(names)):
        turn = number + number // len(palette)
        look = Look(palette[number % len(palette)], HATCHES[turn % len(HATCHES)], MARKERS[turn % len(MARKERS)])
        found[name] = look
    return found


def draw_files(draw: Callable[[Any], Figure], study: Any) -> dict[str, bytes]:
    """The figure that `draw` makes of the study, as the content of a file for each suffix: png, svg."""
    # Ticks and labels are made as late as when the file is, so that stands within the style too.
    with matplotlib.rc_context(_style()):
        figure = draw(study)
        # Those of bbox_inches="tight"; to find them matplotlib would go through a whole drawing first, for each file.
        edges = figure.get_tightbbox().padded(MARGIN)  # no label is cut
        return {suffix: _content(figure, suffix, edges) for suffix in FILES}


def new_figure(
    width: float, height: float, columns: int = 1, rows: int = 1, gap: float = 0.9
) -> tuple[Figure, list[Axes]]:
    """A figure and its axes, each of that many inches and `gap` apart, row by row."""
    size = (width * columns + gap * (columns - 1), height * rows + gap * (rows - 1))
    figure = Figure(figsize=size, dpi=DPI)
    FigureCanvasAgg(figure)
    # The axes fill the figure and the labels stand outside it: however long they are, they take nothing from the axes.
    edges = {"left": 0, "right": 1, "bottom": 0, "top": 1, "wspace": gap / width, "hspace": gap / height}
    axes = figure.subplots(rows, columns, squeeze=False, gridspec_kw=edges)
    return figure, [ax for row in axes for ax in row]


def rows_height(labels: Sequence[str], row_inches: float) -> float:
    """Inches for one row a label: each has room for the longest label's lines and for what stands in the row."""
    lines = max(label.count("\n") + 1 for label in labels)
    return len(labels) * max(row_inches, 0.08 + lines * LINE_INCHES)


@dataclass(frozen=True)
class Rows:
    """One row for each cell of a study: many cells have thin rows and labels on one line.

    Attributes:
        labels: wrapped.
        inches: the height of all rows.
        font: size of the labels and figures in points.
    """

    labels: list[str]
    inches: float
    font: float


def cell_rows(names: Sequence[str], row_inches: float) -> Rows:
    """The rows for these labels."""
    if len(names) <= FEW_ROWS:
        labels = [wrap(name, CELL_WIDTH) for name in names]
        return Rows(labels, rows_height(labels, row_inches), LABEL_FONT)
    labels = [wrap(name, 4 * CELL_WIDTH) for name in names]
    lines = max(label.count("\n") + 1 for label in labels)
    return Rows(labels, len(labels) * (0.05 + 0.11 * lines), 6.5)


def label_rows(ax: Axes, labels: Sequence[str], font: float = LABEL_FONT, first: float = 0) -> None:
    """Write a label left of each row, the first of which is at `first`; as ticks they would be measured many times."""
    ax.set_yticks([])
    transform, vertical, horizontal = ax.get_yaxis_text1_transform(LABEL_GAP)
    for place, label in enumerate(labels):
        ax.text(0, first + place, label, transform=transform, va=vertical, ha=horizontal, fontsize=font)


def draw_bars(ax: Axes, places: Sequence[float], widths: Any, height: float, look: dict[str, Any], left: Any) -> None:
    """Horizontal bars that begin at `left`, as one artist: matplotlib's own are one each, which is slow for many."""
    starts, middles = numpy.broadcast_to(left, len(places)), numpy.asarray(places)
    x = numpy.stack([starts, starts + widths, starts + widths, starts], axis=1)
    y = middles[:, None] + height / 2 * numpy.array([-1, -1, 1, 1])
    ax.add_collection(PolyCollection(numpy.stack([x, y], axis=2), **look))


def errors(rows: pandas.DataFrame) -> Any:
    """The error bars' lengths, shape (2, rows): from the accuracy down and up to its interval's ends."""
    ends = numpy.array([rows["accuracy"] - rows["ci_low"], rows["ci_high"] - rows["accuracy"]], dtype=float)
    return numpy.clip(ends, 0, None)


def percent_axis(axis: Axis) -> None:
    """Label an axis of fractions in percent."""
    axis.set_major_formatter(lambda value, _: f"{100 * value:.4g}")


def legend_beside(ax: Axes, handles: list[Any], **more: Any) -> None:
    """A legend at the right of the axes, where nothing is drawn."""
    if handles:
        place: dict[str, Any] = {"loc": "upper left", "bbox_to_anchor": (1.01, 1), "borderaxespad": 0}
        ax.legend(handles=handles, **{**place, "frameon": False, "handlelength": 1.6, "handleheight": 1.1, **more})


def format_patches(formats: Iterable[str], found: dict[str | None, Look]) -> list[Any]:
    """What a legend says of the evaluation formats."""
    return [Patch(**found[name].patch(), label=wrap(f"eval.format={name}")) for name in formats]


def readable_text(ax: Axes) -> None:
    """Write on each field of a heat map in black or white, whichever is easier to read there.

    The two are equally far from a ground of the relative luminance 0.179 (Web Content Accessibility Guidelines 2.2).
    """
    [mesh] = ax.collections
    shown: Any = mesh.get_array()
    colours = numpy.asarray(mesh.get_facecolor())[~numpy.broadcast_to(shown.mask, shown.shape).ravel()]
    for text, colour in zip(ax.texts, colours, strict=True):
        linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in colour[:3]]
        text.set_color("black" if numpy.dot(linear, (0.2126, 0.7152, 0.0722)) > 0.179 else "white")


def say_instead(axes: Sequence[Axes], text: str) -> None:
    """Leave the axes empty and say why."""
    for ax in axes:
        ax.set_axis_off()
    axes[0].text(0.5, 0.5, text, ha="center", va="center", transform=axes[0].transAxes)


def _style() -> Any:  # a dictionary; matplotlib's types list every key, and seaborn has none
    return {
        **seaborn.axes_style("whitegrid"),
        **seaborn.plotting_context("notebook", font_scale=0.9),
        "text.parse_math": False,  # a dollar sign in a name starts no formula
        "hatch.linewidth": 0.8,
        "svg.hashsalt": "chattpl",  # otherwise identifiers are random
        "svg.fonttype": "path",  # letters as outlines: a viewer without the font would set labels over each other
    }


def _content(figure: Figure, suffix: str, edges: Bbox) -> bytes:
    buffer = io.BytesIO()
    figure.savefig(buffer, format=suffix, dpi=DPI, bbox_inches=edges, metadata=FILES[suffix])
    return buffer.getvalue()
