"""The cells of a study as a table on the terminal, at most 80 columns wide."""

import itertools
import math
from collections.abc import Iterator

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table
from rich.text import Text

from chattpl.report.collect import Cell
from chattpl.report.families import Contrast, Side
from chattpl.report.sentences import SIGNIFICANT, is_significant
from chattpl.report.split import split_answers
from chattpl.report.stats import PairedComparison
from chattpl.report.study import Study
from chattpl.report.text import interval, percent, printable, wrap
from chattpl.report.unfinished import unfinished
from chattpl.results import DEFAULT_RULE

FORMATS, TRAINING = "formats", "training"  # the families of contrasts that the marks come from
WIDTH = 80  # of a log file, which has no width of its own
WIDEST_FORMAT = 14
OTHER_COLUMNS = 46  # characters, the gaps included
FIGURES = ("accuracy", "[95 %]", "strict", "no\nanswer", "cut\noff", "ran\non")
LOST = ("no answer", "cut off", "ran on")  # the kinds of answers that the last of these columns show
BEST, HIGHER, LOWER = "*", "+", "-"
LEGEND = f"Rates in percent. {BEST} better than the model's other formats, p < {SIGNIFICANT} (Holm)"
LEGEND_OF_KINDS = "No answer, cut off, ran on: of wrong answers alone, each of them counted once"
LEGEND_OF_SEEDS = "Marks are of all seeds of a model together"
LEGEND_OF_BASE = f"{HIGHER} better, {LOWER} worse than the untrained model in the same format, p < {SIGNIFICANT} (Holm)"


def print_table(study: Study, console: Console | None = None) -> None:
    """Print what all cells share, then one line per cell: rates in percent, accuracy with its Wilson interval.

    Marks say which differences are significant, in the families of contrasts that were declared.
    """
    if console is None:
        console = Console()
        if not console.is_terminal:
            console = Console(width=max(WIDTH, console.width))
    n_varies = "n" not in study.labels.shared
    table = Table(box=SIMPLE_HEAD, show_edge=False, pad_edge=False, padding=0)
    for words in ("model", "eval"):
        table.add_column(words, overflow="fold")
    for words in (*(("n",) if n_varies else ()), *FIGURES):
        # Accuracies end in marks or nothing, so that figures stand below each other only from the left.
        table.add_column(words, justify="left" if words == FIGURES[0] else "right", no_wrap=True)
    shared = ", ".join(f"{printable(words)} {printable(value)}" for words, value in study.labels.shared.items())
    format_width = min(WIDEST_FORMAT, max(len(printable(name)) for name in study.formats))
    model_width = WIDTH - OTHER_COLUMNS - format_width - (6 if n_varies else 0)
    for group, members in itertools.groupby(study.cells, key=lambda cell: cell.group):
        cells = list(members)
        for name, cell in zip(_spread(wrap(study.labels.models[group], model_width), len(cells)), cells, strict=True):
            # Text, not str: square brackets in a name are no markup.
            table.add_row(*(Text(value) for value in (name, *_line(study, cell, n_varies))))
    console.print(Text(f"{printable(study.name)}: {shared}"))
    console.print(table)
    legends = {
        LEGEND: True,
        LEGEND_OF_KINDS: True,
        LEGEND_OF_BASE: any(_of_family(study, TRAINING)),
        LEGEND_OF_SEEDS: bool(study.findings.pools),
    }
    for legend in (legend for legend, applies in legends.items() if applies):
        console.print(Text(legend))
    if left := unfinished(study.cells, printable):
        console.print(Text(left))


def _spread(name: str, rows: int) -> list[str]:
    """A name of several lines over so many rows: a model is named once, beside its formats."""
    lines = name.split("\n")
    return [*lines[: rows - 1], *[""] * (rows - 1 - len(lines)), "\n".join(lines[rows - 1 :])]


def _line(study: Study, cell: Cell, n_varies: bool) -> list[str]:
    summary = cell.summary
    marks = (BEST if _is_best(study, cell) else " ") + _against_base(study, cell)
    kinds = split_answers(study.results[cell.name]) if cell.name in study.results else {}
    rates = (summary.strict_accuracy, *(kinds.get(kind, math.nan) for kind in LOST))
    return [
        wrap(cell.format, WIDEST_FORMAT),
        *((str(summary.n),) if n_varies else ()),
        *(f"{percent(summary.accuracy):>5}{marks}", interval(summary.ci_low, summary.ci_high, digits=0)),
        *(percent(rate) for rate in rates),
    ]


def _is_best(study: Study, cell: Cell) -> bool:
    """Whether the model is significantly better in this format than in each other one, under the default rule."""
    signs = [
        (each, 1 - 2 * place)
        for each in _of_family(study, FORMATS)
        for place, side in enumerate(each.sides)
        if _has(side, cell)
    ]
    return bool(signs) and all(bool(each.by_rule) and _beats(each.by_rule[DEFAULT_RULE], sign) for each, sign in signs)


def _against_base(study: Study, cell: Cell) -> str:
    """Whether training made a significant difference, under the default rule; a space where it did not."""
    for each in _of_family(study, TRAINING):
        if _has(each.sides[0], cell) and each.by_rule:
            found = each.by_rule[DEFAULT_RULE]
            return HIGHER if _beats(found, 1) else LOWER if _beats(found, -1) else " "
    return " " if any(_of_family(study, TRAINING)) else ""


def _of_family(study: Study, family: str) -> Iterator[Contrast]:
    return (each for each in study.findings.contrasts if each.family == family)


def _has(side: Side, cell: Cell) -> bool:
    return any(arm.cells.get(cell.summary.seed) is cell for arm in side)


def _beats(found: PairedComparison, sign: int) -> bool:
    return sign * found.difference > 0 and is_significant(found)
