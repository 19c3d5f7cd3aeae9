"""The figures of the report: one row each.

A figure is a function from the study (its cells, results and trainings, never empty) to a `matplotlib.figure.Figure`.
It is written as <name>.png and <name>.svg and shown in the section of report.md that its row names. To add one, write
the function and add its row.
"""

from collections.abc import Callable
from dataclasses import dataclass

from matplotlib.figure import Figure

from chattpl.report.bars import accuracy_bar, accuracy_grouped
from chattpl.report.curves import training_curves
from chattpl.report.heatmap import accuracy_heatmap
from chattpl.report.losses import answer_split
from chattpl.report.matrix import paired_matrix
from chattpl.report.scatter import eval_template_scatter
from chattpl.report.study import Study


@dataclass(frozen=True)
class ReportFigure:
    """How a figure is drawn, and what report.md says of it.

    Attributes:
        section: heading of the section that it ends.
        caption: the alt text.
    """

    draw: Callable[[Study], Figure]
    section: str
    caption: str


FIGURES = {
    "accuracy_bar": ReportFigure(accuracy_bar, "Accuracy", "all accuracies, the best first"),
    "accuracy_grouped": ReportFigure(accuracy_grouped, "Accuracy", "accuracy by model and evaluation format"),
    "accuracy_heatmap": ReportFigure(accuracy_heatmap, "Accuracy", "accuracy of each model in each evaluation format"),
    "eval_template_scatter": ReportFigure(
        eval_template_scatter, "Evaluation formats compared", "each model in one format over another"
    ),
    "paired_matrix": ReportFigure(
        paired_matrix, "Evaluation formats compared", "every cell against every other, paired by question"
    ),
    "answer_split": ReportFigure(answer_split, "Why answers were lost", "what became of the answers of each cell"),
    "training_curves": ReportFigure(training_curves, "Trainings", "loss, reward and lost rollouts of all trainings"),
}
