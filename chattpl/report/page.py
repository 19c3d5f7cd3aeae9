"""report.md: what was compared, what differs, what it means, and what a reader has to know before trusting it."""

import pandas

from chattpl.report.collect import Cell, format_order
from chattpl.report.figures import FIGURES
from chattpl.report.likeness import likeness, packages
from chattpl.report.pairs import Pair
from chattpl.report.stats import PairedComparison
from chattpl.report.text import escape, interval, p_value, percent, plain, short, table, training

NOTABLE_RATE = 0.05
SIGNIFICANT = 0.05
FINGERPRINTS = ("model_fingerprint", "prompt_fingerprint")
FAILURES = {
    "truncated_rate": "cut off at the token limit",
    "no_answer_rate": "without an answer",
    "run_on_rate": "running on past the answer",
}


def render(study: str, cells: list[Cell], frame: pandas.DataFrame, pairs: list[Pair]) -> str:
    """The whole page as Markdown. The same cells give the same text."""
    sections = {
        "Cells": _cells(frame),
        "Evaluation formats against each other": _pairs(pairs),
        "Answers that failed in their form": _failures(frame),
        "Like for like?": likeness(cells),
        "Versions and fingerprints": f"{_versions(cells)}\n\n{_fingerprints(frame)}",
    }
    for name, figure in FIGURES.items():
        sections[figure.section] += f"\n\n![{figure.caption}]({name}.png)"
    parts = [f"# Report of study {escape(study)}", _summary(cells)]
    parts += [f"## {title}\n\n{text}" for title, text in sections.items()]
    return "\n\n".join(parts) + "\n"


def _summary(cells: list[Cell]) -> str:
    tasks = ", ".join(dict.fromkeys(escape(cell.summary.task) for cell in cells))
    formats = ", ".join(escape(name) for name in format_order(cell.format for cell in cells))
    models = len({cell.model for cell in cells})
    return f"Task: {tasks}. Cells: {len(cells)}. Models: {models}. Evaluation formats: {formats}."


def _cells(frame: pandas.DataFrame) -> str:
    header = ("cell", "training", "eval", "seed", "n", "accuracy", "95 % interval", "strict", "mean tokens", "seconds")
    rows = [
        (
            *(escape(row["cell"]), escape(training(row)), escape(row["eval_format"]), plain(row["seed"])),
            *(str(row["n"]), percent(row["accuracy"]), interval(row["ci_low"], row["ci_high"])),
            *(percent(row["strict_accuracy"]), f"{row['mean_completion_tokens']:.1f}", plain(row["seconds"])),
        )
        for _, row in frame.iterrows()
    ]
    note = "Training is format/method/masking. Accuracies are in percent, with Wilson's interval."
    return f"{table(header, rows, numbers_from=3)}\n\n{note}"


def _pairs(pairs: list[Pair]) -> str:
    if not pairs:
        return "No model was evaluated in two formats, so there is nothing to compare."
    header = ("model", "formats", "n", "only first", "only second", "difference", "95 % interval", "p (Holm)")
    rows = [_pair_row(pair, pair.comparison) for pair in pairs if pair.comparison]
    lines = [f"* Model {escape(pair.group)}: {_meaning(pair)}." for pair in pairs]
    note = (
        "Paired by sample: both formats answered the same n questions, of which the first or the second alone got some"
        " right. Differences are in points, with Newcombe's interval for paired proportions (method 10); p is"
        f" McNemar's exact test, Holm-adjusted over the {len(rows)} comparisons of this report."
    )
    shown = f"{table(header, rows, numbers_from=2)}\n\n{note}\n\n" if rows else ""
    return shown + "\n".join(lines)


def _pair_row(pair: Pair, found: PairedComparison) -> tuple[str, ...]:
    return (
        *(escape(pair.group), f"{escape(pair.first)} against {escape(pair.second)}", str(found.n)),
        *(str(found.only_first), str(found.only_second), f"{100 * found.difference:+.1f}"),
        *(interval(found.ci_low, found.ci_high), p_value(pair.p_holm).removeprefix("p = ").removeprefix("p ")),
    )


def _meaning(pair: Pair) -> str:
    """What the difference says, in one sentence."""
    first, second, found = escape(pair.first), escape(pair.second), pair.comparison
    if found is None:
        return f"{first} and {second} are not compared, because {escape(pair.problem)}"
    if found.ci_low <= 0 <= found.ci_high:
        return (
            f"no difference between {first} and {second} can be told apart from chance at n={found.n}:"
            f" the interval {interval(found.ci_low, found.ci_high)} holds 0"
        )
    winner, loser = (first, second) if found.difference > 0 else (second, first)
    size = f"by {abs(100 * found.difference):.1f} points {_winner_interval(found)}"
    if pair.p_holm < SIGNIFICANT:
        return f"{winner} beats {loser} {size}, {p_value(pair.p_holm)}"
    return (
        f"{winner} is ahead of {loser} {size}, but with {p_value(pair.p_holm)} among {pair.tests} comparisons"
        " it may be chance"
    )


def _winner_interval(found: PairedComparison) -> str:
    if found.difference > 0:
        return interval(found.ci_low, found.ci_high)
    return interval(-found.ci_high, -found.ci_low)


def _failures(frame: pandas.DataFrame) -> str:
    header = ("cell", "accuracy", "strict", "gap", "no answer", "truncated", "run-on")
    rows = [
        (
            *(escape(row["cell"]), percent(row["accuracy"]), percent(row["strict_accuracy"])),
            percent(row["accuracy"] - row["strict_accuracy"]),
            *(percent(row[key]) for key in ("no_answer_rate", "truncated_rate", "run_on_rate")),
        )
        for _, row in frame.iterrows()
    ]
    note = (
        "Accuracy takes the answer in whatever form it comes; strict wants the form that the instruction asks for."
        " The gap between them, in points, is right answers in another form."
    )
    return f"{table(header, rows, numbers_from=1)}\n\n{note}\n\n{_notable_failures(frame)}"


def _notable_failures(frame: pandas.DataFrame) -> str:
    lines = []
    for _, row in frame.iterrows():
        found = [f"{percent(row[key])} % {words}" for key, words in FAILURES.items() if row[key] > NOTABLE_RATE]
        if found:
            lines.append(f"* Cell {escape(row['cell'])}: {', '.join(found)}.")
    if not lines:
        return f"No cell has more than {NOTABLE_RATE:.0%} of such answers."
    head = (
        f"More than {NOTABLE_RATE:.0%} of the answers failed in their form, so the accuracy is partly a format effect:"
    )
    return "\n".join((head, "", *lines))


def _versions(cells: list[Cell]) -> str:
    rows = [
        (escape(package), ", ".join(dict.fromkeys(plain(cell.summary.versions.get(package)) for cell in cells)))
        for package in packages(cells)
    ]
    return table(("package", "version"), rows, numbers_from=2) if rows else "The cells name no versions."


def _fingerprints(frame: pandas.DataFrame) -> str:
    header = ("cell", "engine", "model", "prompts")
    rows = [
        (escape(row["cell"]), plain(row["engine"]), *(plain(short(row[key])) for key in FINGERPRINTS))
        for _, row in frame.iterrows()
    ]
    return f"{table(header, rows, numbers_from=4)}\n\nFingerprints are shortened; comparison.csv has them whole."
