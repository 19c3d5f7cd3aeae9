"""Each model's evaluation formats against each other, over the samples that both answered."""

import itertools
import logging
from dataclasses import dataclass, replace

import pandas

from chattpl.report.collect import Cell, format_order, read_results
from chattpl.report.stats import PairedComparison, holm, paired_comparison

log = logging.getLogger(__name__)

KEY = ["index", "question", "gold"]


@dataclass(frozen=True)
class Pair:
    """One model (`group`) in two formats.

    Attributes:
        comparison: None where the two cannot be paired; then `problem` says why.
        p_holm: the p value after Holm's adjustment over all comparisons of the report.
        tests: the number of those comparisons.
    """

    group: str
    first: str
    second: str
    comparison: PairedComparison | None = None
    problem: str = ""
    p_holm: float = 1.0
    tests: int = 0


def compare_formats(cells: list[Cell]) -> list[Pair]:
    """All pairs of formats for each group of cells, in the cells' order, chat against raw first."""
    results = {cell.name: _read(cell) for cell in cells}
    pairs = []
    for group in dict.fromkeys(cell.group for cell in cells):
        members = {cell.format: cell for cell in cells if cell.group == group}
        for first, second in itertools.combinations(format_order(members), 2):
            one, other = results[members[first].name], results[members[second].name]
            pairs.append(_compare(Pair(group, first, second), one, other))
    return _adjust(pairs)


def _read(cell: Cell) -> pandas.DataFrame | str:
    """The cell's gradings, or the reason why they cannot be paired."""
    if (cell.summary.get("num_samples") or 1) > 1:
        return "several answers were sampled per question, and the paired test needs one"
    try:
        results = read_results(cell)
    except ValueError as error:
        log.warning("%s; the cell is left out of the paired comparison", error)
        return f"results.json of {cell.name} cannot be read"
    return f"results.json of {cell.name} repeats an index" if results["index"].duplicated().any() else results


def _compare(pair: Pair, one: pandas.DataFrame | str, other: pandas.DataFrame | str) -> Pair:
    for results in (one, other):
        if isinstance(results, str):
            return replace(pair, problem=results)
    common = one.merge(other, on=KEY, suffixes=("_first", "_second"))
    if common.empty:
        return replace(pair, problem="the two cells have no sample in common")
    comparison = paired_comparison(common["correct_first"].tolist(), common["correct_second"].tolist())
    return replace(pair, comparison=comparison)


def _adjust(pairs: list[Pair]) -> list[Pair]:
    tested = [pair for pair in pairs if pair.comparison is not None]
    adjusted = iter(holm([pair.comparison.p for pair in tested]))
    return [replace(pair, p_holm=next(adjusted), tests=len(tested)) if pair.comparison else pair for pair in pairs]
