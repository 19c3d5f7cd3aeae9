"""Everything that a report is written from, each part read once and when it is first wanted."""

from functools import cached_property
from pathlib import Path

import pandas

from chattpl.report.canvas import Look, looks
from chattpl.report.collect import FORMAT_ORDER, Cell, collect_cells, format_order, to_frame
from chattpl.report.findings import Findings, find
from chattpl.report.labels import Labels, label_cells
from chattpl.report.samples import Samples, read_samples
from chattpl.report.settings import ReportConfig
from chattpl.results import Result
from chattpl.train_report import TrainReport


class Study:
    """The finished cells of one study and what is known of them.

    Attributes:
        name: of the study.
        cells: all finished cells, ordered, never empty.
    """

    def __init__(self, name: str, cells: list[Cell], settings: ReportConfig | None = None):
        self.name = name
        self.cells = cells
        self._settings = settings

    @classmethod
    def read(cls, study_dir: Path, settings: ReportConfig | None = None) -> "Study":
        """The study in this folder; raises as `collect_cells` does."""
        return cls(study_dir.name, collect_cells(study_dir), settings)

    @cached_property
    def frame(self) -> pandas.DataFrame:
        """The comparison, one row per cell: the content of comparison.csv."""
        return to_frame(self.cells)

    @cached_property
    def findings(self) -> Findings:
        """What the answers of all cells show together."""
        return find(self.cells, self._settings, self.samples)

    @cached_property
    def labels(self) -> Labels:
        """How the cells and models are called in tables and pictures."""
        return label_cells(self.cells)

    @cached_property
    def formats(self) -> list[str]:
        """The evaluation formats in their order: chat, raw, then the others by name."""
        return format_order(cell.format for cell in self.cells)

    @cached_property
    def looks(self) -> dict[str | None, Look]:
        """How each format looks in every figure, be it that of training or evaluation; None is the untrained model."""
        trained = {cell.summary.train_format for cell in self.cells} - {None}
        return looks((*FORMAT_ORDER, *self.formats, *format_order(name for name in trained if name)))

    @cached_property
    def results(self) -> dict[str, list[Result]]:
        """The results by the name of the cell; a cell whose results.json cannot be read is absent."""
        return {name: each for name, each in self.samples.items() if not isinstance(each, str)}

    @cached_property
    def samples(self) -> Samples:
        """By the name of the cell its results, or what is wrong with its results.json."""
        return read_samples(self.cells)

    @cached_property
    def trainings(self) -> dict[str, TrainReport]:
        """How each model was trained, by its name; a model that lies there no longer is absent."""
        cells = {cell.model: cell for cell in self.cells}
        return {model: cell.training for model, cell in cells.items() if cell.training}

    @cached_property
    def rows(self) -> pandas.DataFrame:
        """What the figures draw of the cells: the comparison, and three columns.

        `model` and `label` are the model's and the cell's label, `base` the accuracy of the untrained model in the same
        format (NaN where there is none, and for the untrained model itself).
        """
        names = self.frame["cell"]
        return self.frame.assign(
            model=[self.labels.models[cell.group] for cell in self.cells],
            label=[self.labels.cells[name] for name in names],
            base=pandas.Series([self._base_accuracy(cell) for cell in self.cells], dtype=float),
        )

    def _base_accuracy(self, cell: Cell) -> float | None:
        base = base_of(cell, self.cells)
        return base.summary.accuracy if base and cell.summary.train_format else None


def base_of(cell: Cell, cells: list[Cell]) -> Cell | None:
    """The untrained model that was asked the same in the same way, with the same seed if it has it."""
    like = [each for each in cells if each.summary.train_format is None and each.asked == cell.asked]
    return max(like, key=lambda each: each.summary.seed == cell.summary.seed, default=None)
