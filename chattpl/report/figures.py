"""The figures of the report: one row each.

A figure is a function from the comparison (one row per cell, the columns of comparison.csv, never empty) to a
`matplotlib.figure.Figure`. It is written as <name>.png and <name>.svg and shown in the section of report.md that its
row names. To add one, write the function and add its row.
"""

from collections.abc import Callable
from dataclasses import dataclass

import pandas
from matplotlib.figure import Figure

from chattpl.report.bars import accuracy_bar, accuracy_grouped
from chattpl.report.heatmap import accuracy_heatmap
from chattpl.report.scatter import eval_template_scatter


@dataclass(frozen=True)
class ReportFigure:
    """How a figure is drawn, and what report.md says of it.

    Attributes:
        section: heading of the section that it ends.
        caption: the alt text.
    """

    draw: Callable[[pandas.DataFrame], Figure]
    section: str
    caption: str


FIGURES = {
    "accuracy_bar": ReportFigure(accuracy_bar, "Cells", "all cells"),
    "accuracy_grouped": ReportFigure(accuracy_grouped, "Cells", "grouped by trained model"),
    "accuracy_heatmap": ReportFigure(accuracy_heatmap, "Cells", "trained models and evaluation formats"),
    "eval_template_scatter": ReportFigure(
        eval_template_scatter, "Evaluation formats against each other", "formats against each other"
    ),
}
