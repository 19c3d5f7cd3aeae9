"""The comparison as a table on the terminal."""

import pandas
from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table
from rich.text import Text

from chattpl.report.text import interval, percent, printable, training, wrap

WIDTH = 100  # of a log file, which has no width of its own
FIGURES = ("n", "accuracy\n[95 %]", "strict", "no\nanswer", "cut\noff", "run\non", "mean\ntokens")


def print_table(frame: pandas.DataFrame, console: Console | None = None) -> None:
    """Print one line per cell: rates in percent, accuracy with its Wilson interval, mean tokens per answer."""
    if console is None:
        console = Console()
        if not console.is_terminal:
            console = Console(width=max(WIDTH, console.width))
    table = Table(box=SIMPLE_HEAD, show_edge=False, pad_edge=False, padding=0)
    table.add_column("model", overflow="fold")
    table.add_column("training", overflow="fold")
    table.add_column("eval", overflow="fold")
    for figure in FIGURES:
        table.add_column(figure, justify="right", no_wrap=True)
    for _, row in frame.iterrows():
        # Text, not str: square brackets in a name are no markup.
        table.add_row(*(Text(value) for value in _line(row)))
    console.print(table)


def _line(row: pandas.Series) -> list[str]:
    rates = (row["strict_accuracy"], row["no_answer_rate"], row["truncated_rate"], row["run_on_rate"])
    return [
        *(wrap(row["group"]), training(row), printable(row["eval_format"]), str(row["n"])),
        f"{percent(row['accuracy'])} {interval(row['ci_low'], row['ci_high'], digits=0)}",
        *(percent(rate) for rate in rates),
        f"{row['mean_completion_tokens']:.1f}",
    ]
