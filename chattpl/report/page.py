"""report.md: what was compared, what differs, what it means, and what a reader has to know before trusting it."""

from collections.abc import Sequence

from chattpl.report.brief import brief
from chattpl.report.collect import Cell, rules_of, writable
from chattpl.report.figures import FIGURES
from chattpl.report.likeness import likeness, packages
from chattpl.report.pools import seeds_section
from chattpl.report.split import lost_answers
from chattpl.report.spread import spread_section
from chattpl.report.study import Study
from chattpl.report.text import NONE, escape, interval, percent, plain, short, table, training
from chattpl.report.verdict import verdicts
from chattpl.results import DEFAULT_RULE, Summary

FINGERPRINTS = ("model_fingerprint", "prompt_fingerprint")
# Columns of the cells that are left out where all cells have the same: heading and field.
VARYING = {"split": "split", "seed": "seed", "n": "n", "engine": "engine"}


def render(study: Study) -> str:
    """The whole page as Markdown. The same cells and settings give the same text."""
    findings = study.findings
    sections = {
        "In short": brief(findings),
        "Cells": _cells(study) + _samples(study),
        "Grading rules": _rules(study),
        **verdicts(findings.families, findings.contrasts),
        "Seeds": seeds_section(findings.pools),
        "Spread over formats and wordings": spread_section(findings.spreads),
        "Why answers were lost": lost_answers(study),
        "Trainings": _trainings(study),
        "Like for like?": likeness(study.cells),
        "Versions and fingerprints": f"{_versions(study.cells)}\n\n{_fingerprints(study)}",
    }
    for name, figure in FIGURES.items():
        sections[figure.section] = f"{sections.get(figure.section, '')}\n\n![{figure.caption}]({name}.png)".lstrip()
    parts = [f"# Report of study {escape(study.name)}", _summary(study)]
    parts += [f"## {title}\n\n{text}" for title, text in sections.items() if text]
    return "\n\n".join(parts) + "\n"


def _summary(study: Study) -> str:
    formats = ", ".join(escape(name) for name in study.formats)
    shared = [f"{escape(words)}: {plain(value)}" for words, value in study.labels.shared.items()]
    count = f"Cells: {len(study.cells)}. Models: {len(study.labels.models)}. Evaluation formats: {formats}."
    return f"{count}\n\nAll cells: {'; '.join(shared)}." if shared else count


def _cells(study: Study) -> str:
    varying = {words: key for words, key in VARYING.items() if words not in study.labels.shared}
    header = ("model", "training", "eval", *varying, "accuracy", "95 % interval", "strict", "mean tokens", "seconds")
    rows = [
        (
            *(escape(row["model"]), escape(training(row)), escape(row["eval_format"])),
            *(plain(getattr(cell.summary, key)) for key in varying.values()),
            *(percent(row["accuracy"]), interval(row["ci_low"], row["ci_high"])),
            *(percent(row["strict_accuracy"]), f"{row['mean_completion_tokens']:.1f}", plain(row["seconds"])),
        )
        for cell, (_, row) in zip(study.cells, study.rows.iterrows(), strict=True)
    ]
    note = (
        "Training is format/method/masking. Accuracies are in percent, with Wilson's interval. A model's name shows"
        " what was changed from the defaults, where that is not the same in all cells; comparison.csv has all names in"
        " full."
    )
    return f"{table(header, rows, numbers_from=3)}\n\n{note}"


def _rules(study: Study) -> str:
    rules = rules_of(study.cells)
    rows = [
        (escape(row["label"]), *(percent(row[writable(f"accuracy_{rule}")]) for rule in rules))
        for _, row in study.rows.iterrows()
    ]
    note = (
        "The accuracy, in percent, that each rule for finding the answer gives to the same outputs."
        f" {DEFAULT_RULE} is the default rule, which accuracy and reward go by."
    )
    return f"{table(('cell', *(escape(rule) for rule in rules)), rows, numbers_from=1)}\n\n{note}"


def _samples(study: Study) -> str:
    """pass@k of the cells that drew several answers; empty where none did."""
    drawn = [cell for cell in study.cells if cell.summary.pass_at_k]
    if not drawn:
        return ""
    ks = sorted({int(k) for cell in drawn for k in cell.summary.pass_at_k or {}})
    rows = [
        (
            *(escape(study.labels.cells[cell.name]), plain(cell.summary.num_samples)),
            *(_pass_at(cell.summary, str(k)) for k in ks),
        )
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


def _trainings(study: Study) -> str:
    if not study.trainings:
        return "No model of this study has a record of its training."
    header = ("model", "steps", "last loss", "mean reward, first and last quarter", "cut off", "discarded", "seconds")
    rows = [
        (
            *(escape(study.labels.trained[model]), str(report.steps), _last(report.loss)),
            _first_and_last_quarter(report.mean_reward or []),
            *(percent(_or_nan(rate)) for rate in (report.truncated_rate, report.discarded_rate)),
            f"{report.seconds:.0f}",
        )
        for model, report in study.trainings.items()
    ]
    note = (
        "Cut off at the token limit, and discarded by the importance-sampling correction: of the rollouts, in percent."
    )
    return f"{table(header, rows, numbers_from=1)}\n\n{note}"


def _last(curve: Sequence[Sequence[float]]) -> str:
    return f"{curve[-1][1]:.3f}" if curve else NONE


def _first_and_last_quarter(curve: Sequence[Sequence[float]]) -> str:
    values = [value for _, value in curve]
    quarter = -(-len(values) // 4)
    ends = (values[:quarter], values[-quarter:]) if values else ()
    return ", ".join(f"{sum(end) / len(end):.2f}" for end in ends) or NONE


def _or_nan(rate: float | None) -> float:
    return float("nan") if rate is None else rate


def _versions(cells: list[Cell]) -> str:
    rows = [
        (escape(package), ", ".join(dict.fromkeys(plain(cell.summary.versions.get(package)) for cell in cells)))
        for package in packages(cells)
    ]
    return table(("package", "version"), rows, numbers_from=2) if rows else "The cells name no versions."


def _fingerprints(study: Study) -> str:
    header = ("cell", "engine", "model", "prompts")
    rows = [
        (escape(row["label"]), plain(row["engine"]), *(plain(short(row[key])) for key in FINGERPRINTS))
        for _, row in study.rows.iterrows()
    ]
    return f"{table(header, rows, numbers_from=4)}\n\nFingerprints are shortened; comparison.csv has them whole."
