"""report.md: what was compared, what differs, what it means, and what a reader has to know before trusting it."""

import pandas

from chattpl.report.collect import Cell, format_order, rules_of, writable
from chattpl.report.contrasts import Contrast
from chattpl.report.figures import FIGURES
from chattpl.report.likeness import likeness, packages
from chattpl.report.text import NONE, escape, interval, percent, plain, short, table, training
from chattpl.report.verdict import verdicts
from chattpl.results import DEFAULT_RULE, Summary

NOTABLE_RATE = 0.05
FINGERPRINTS = ("model_fingerprint", "prompt_fingerprint")
FAILURES = {
    "truncated_rate": "cut off at the token limit",
    "no_answer_rate": "without an answer",
    "run_on_rate": "running on past the answer",
}


def render(study: str, cells: list[Cell], frame: pandas.DataFrame, contrasts: list[Contrast]) -> str:
    """The whole page as Markdown. The same cells give the same text."""
    sections = {
        "Cells": _cells(frame) + _samples(cells),
        "Grading rules": _rules(frame, rules_of(cells)),
        "Evaluation formats against each other": verdicts(contrasts),
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


def _rules(frame: pandas.DataFrame, rules: list[str]) -> str:
    rows = [
        (escape(row["cell"]), *(percent(row[writable(f"accuracy_{rule}")]) for rule in rules))
        for _, row in frame.iterrows()
    ]
    note = (
        "The accuracy, in percent, that each rule for finding the answer gives to the same outputs."
        f" {DEFAULT_RULE} is the default rule, which accuracy and reward go by."
    )
    return f"{table(('cell', *(escape(rule) for rule in rules)), rows, numbers_from=1)}\n\n{note}"


def _samples(cells: list[Cell]) -> str:
    """pass@k of the cells that drew several answers; empty where none did."""
    drawn = [cell for cell in cells if cell.summary.pass_at_k]
    if not drawn:
        return ""
    ks = sorted({int(k) for cell in drawn for k in cell.summary.pass_at_k or {}})
    rows = [
        (escape(cell.name), plain(cell.summary.num_samples), *(_pass_at(cell.summary, str(k)) for k in ks))
        for cell in drawn
    ]
    note = (
        "Of the cells that drew several answers to a question: pass@k, the probability that at least one of k answers"
        " is right, in percent. All intervals are clustered by question."
    )
    return f"\n\n{table(('cell', 'answers', *(f'pass&#64;{k}' for k in ks)), rows, numbers_from=1)}\n\n{note}"


def _pass_at(summary: Summary, k: str) -> str:
    found, ends = (summary.pass_at_k or {}).get(k), (summary.pass_at_k_ci or {}).get(k)
    return f"{percent(found)} {interval(ends[0], ends[1])}" if found is not None and ends else NONE


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
