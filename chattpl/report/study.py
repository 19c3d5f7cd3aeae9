"""Everything that a report is written from, each part read once and when it is first wanted."""

import math
import statistics
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import pandas

from chattpl.report.canvas import Look, looks
from chattpl.report.collect import FORMAT_ORDER, Cell, collect_cells, format_order, to_frame
from chattpl.report.families import Contrast
from chattpl.report.findings import Findings, find
from chattpl.report.labels import Labels, label_cells
from chattpl.report.pools import Pool
from chattpl.report.samples import Samples, read_samples
from chattpl.report.settings import ReportConfig
from chattpl.report.split import Gap, gaps_of
from chattpl.results import DEFAULT_RULE, Result, Summary
from chattpl.train_report import TrainReport


@dataclass(frozen=True)
class Shown:
    """One bar, point or row: a cell, or those that differ in their seed alone.

    Attributes:
        model, label: what the model and the whole are called.
        pool: their accuracies together, where there are several.
    """

    model: str
    label: str
    cells: list[Cell]
    pool: Pool | None = None

    @property
    def first(self) -> Cell:
        """One of the cells, where they are all alike."""
        return self.cells[0]


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
    def gaps(self) -> list[tuple[Contrast, Gap]]:
        """The gap between each two formats of a model that can be read."""
        return gaps_of(self.findings.arms, self.results)

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
        """The comparison with two columns more: `model` and `label`, the model's and the cell's label."""
        return self.frame.assign(
            model=[self.labels.models[cell.group] for cell in self.cells],
            label=[self.labels.cells[cell.name] for cell in self.cells],
        )

    @cached_property
    def shown(self) -> list[Shown]:
        """What figures and tables show as one: the seeds of a training together where they can be compared."""
        pools = {cell.name: pool for pool in self.findings.pools for cell in pool.arm.cells.values()}
        found: dict[str, Shown] = {}
        for cell in self.cells:
            if pool := pools.get(cell.name):
                label = f"{pool.arm.label} in {cell.format}"
                found.setdefault(label, Shown(pool.arm.label, label, list(pool.arm.cells.values()), pool))
            else:
                label = self.labels.cells[cell.name]
                found[label] = Shown(self.labels.models[cell.group], label, [cell])
        return list(found.values())

    @property
    def over_seeds(self) -> str:
        """What the title of a figure says where it shows several seeds as one."""
        return ", mean over seeds" if self.findings.pools else ""

    @cached_property
    def drawn(self) -> pandas.DataFrame:
        """What the figures draw: a row for each of `shown`.

        `seeds` holds the accuracy of each seed where there are several, `base` is the accuracy of the untrained model
        in the same format (NaN where there is none, and for the untrained model itself).
        """
        return pandas.DataFrame([self._drawn(each) for each in self.shown])

    def _drawn(self, shown: Shown) -> dict[str, Any]:
        figures = shown.pool.by_rule[DEFAULT_RULE] if shown.pool else shown.first.summary
        accuracy = figures.accuracy if isinstance(figures, Summary) else figures.mean
        return {
            **{"model": shown.model, "label": shown.label, "accuracy": accuracy},
            **{"ci_low": figures.ci_low, "ci_high": figures.ci_high},
            **{"train_format": shown.first.summary.train_format, "eval_format": shown.first.format},
            **{"seeds": [cell.summary.accuracy for cell in shown.cells] if shown.pool else []},
            **{"base": self._base_accuracy(shown)},
        }

    def _base_accuracy(self, shown: Shown) -> float:
        bases = [base_of(cell, self.cells) for cell in shown.cells if cell.summary.train_format is not None]
        found = [base.summary.accuracy for base in bases if base]
        return statistics.fmean(found) if found else math.nan


def base_of(cell: Cell, cells: list[Cell]) -> Cell | None:
    """The untrained model that was asked the same in the same way, with the same seed if it has it."""
    like = [each for each in cells if each.summary.train_format is None and each.asked == cell.asked]
    return max(like, key=lambda each: each.summary.seed == cell.summary.seed, default=None)
