"""report.md: what was compared, what differs, what it means, and what a reader has to know before trusting it."""

from collections.abc import Sequence

from chattpl.report.accuracies import accuracy_section, cells_section, rules_section
from chattpl.report.brief import brief
from chattpl.report.collect import Cell
from chattpl.report.figures import FIGURES
from chattpl.report.likeness import likeness, packages
from chattpl.report.lost_answers import lost_answers
from chattpl.report.spread import spread_section
from chattpl.report.study import Study
from chattpl.report.text import NONE, escape, percent, plain, short, table
from chattpl.report.unfinished import unfinished
from chattpl.report.verdict import verdicts

FINGERPRINTS = ("model_fingerprint", "prompt_fingerprint")


def render(study: Study) -> str:
    """The whole page as Markdown. The same cells and settings give the same text."""
    findings = study.findings
    sections = {
        "In short": brief(study),
        "Accuracy": accuracy_section(study),
        "Grading rules": rules_section(study),
        **verdicts(findings.families, findings.contrasts),
        "Spread over formats and wordings": spread_section(findings.spreads),
        "Why answers were lost": lost_answers(study),
        "Trainings": _trainings(study),
        "Cells": cells_section(study),
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
    seeds = sorted({seed for pool in study.findings.pools for seed in pool.arm.cells})
    together = f", with the seeds {', '.join(map(str, seeds))} taken together" if seeds else ""
    models = len({shown.model for shown in study.shown})
    count = f"Cells: {len(study.cells)}. Models: {models}{together}. Evaluation formats: {formats}."
    all_cells = f"All cells: {'; '.join(shared)}." if shared else ""
    return "\n\n".join(line for line in (count, all_cells, unfinished(study.cells, escape)) if line)


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
        "Cut off at the token limit, and discarded by the importance-sampling correction: of the rollouts, in percent. "
        "A curve is the mean over seeds; where the log is long, over a twentieth of it too. What was logged is pale."
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
