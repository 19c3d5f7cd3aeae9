"""Each model's evaluation formats against each other, over the samples that both answered."""

import itertools
import logging
from dataclasses import dataclass, replace

from chattpl.report.collect import Cell, format_order
from chattpl.report.stats import PairedComparison, holm, paired_comparison
from chattpl.results import read_results

log = logging.getLogger(__name__)

# Whether each sample was answered correctly, by index, question and gold answer.
Verdicts = dict[tuple[int, str, str], bool]


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


def _read(cell: Cell) -> Verdicts | str:
    """The cell's verdicts, or the reason why they cannot be paired."""
    if (cell.summary.num_samples or 1) > 1:
        return "several answers were sampled per question, and the paired test needs one"
    try:
        results = read_results(cell.folder / "results.json")
    except ValueError as error:
        log.warning("%s; the cell is left out of the paired comparison", error)
        return f"results.json of {cell.name} cannot be read"
    if len({result.index for result in results}) < len(results):
        return f"results.json of {cell.name} repeats an index"
    return {(result.index, result.question, result.gold): result.correct for result in results}


def _compare(pair: Pair, one: Verdicts | str, other: Verdicts | str) -> Pair:
    if isinstance(one, str):
        return replace(pair, problem=one)
    if isinstance(other, str):
        return replace(pair, problem=other)
    common = [sample for sample in one if sample in other]
    if not common:
        return replace(pair, problem="the two cells have no sample in common")
    comparison = paired_comparison([one[sample] for sample in common], [other[sample] for sample in common])
    return replace(pair, comparison=comparison)


def _adjust(pairs: list[Pair]) -> list[Pair]:
    p_values = [pair.comparison.p for pair in pairs if pair.comparison]
    adjusted = iter(holm(p_values))
    return [replace(pair, p_holm=next(adjusted), tests=len(p_values)) if pair.comparison else pair for pair in pairs]
