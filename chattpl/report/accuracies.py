"""The sections on the accuracies themselves: over seeds, of each cell, and under each grading rule."""

from chattpl.report.collect import rules_of
from chattpl.report.pools import PooledAccuracy
from chattpl.report.study import Shown, Study
from chattpl.report.text import NONE, escape, interval, percent, plain, table, training
from chattpl.results import DEFAULT_RULE, Summary

_PLUS_MINUS = "\N{PLUS-MINUS SIGN}"
# Columns of the cells that are left out where all cells have the same: heading and field.
VARYING = {"split": "split", "seed": "seed", "n": "n", "engine": "engine"}


def accuracy_section(study: Study) -> str:
    """The accuracies that figures and comparisons go by: those of the cells, or over seeds where there are several."""
    return _over_seeds(study) if study.findings.pools else _cells(study)


def cells_section(study: Study) -> str:
    """Each cell by itself, where the section on the accuracies is over seeds; else empty."""
    return _cells(study) if study.findings.pools else ""


def _over_seeds(study: Study) -> str:
    header = ("model", "eval", "seeds", "n", "accuracy", "95 % interval", "SD", "lowest", "highest", "bootstrap")
    rows = [
        (escape(shown.model), escape(shown.first.format), str(len(shown.cells)), *_figures(shown))
        for shown in study.shown
    ]
    note = (
        f"Models that differ in their seed alone are taken together, under the default rule, {DEFAULT_RULE}. SD is the"
        " standard deviation of the accuracy between seeds, in points; lowest and highest are those of one seed. The"
        " interval is over seeds and questions, between the normal and Student's t by the seeds' share of the variance;"
        " of a single seed it is Wilson's. Bootstrap resamples both; with few seeds it is too short where seeds differ."
        " Each seed by itself is in the section Cells."
    )
    return f"{table(header, rows, numbers_from=2)}\n\n{note}"


def _figures(shown: Shown) -> tuple[str, ...]:
    if shown.pool is None:
        summary = shown.first.summary
        ends = interval(summary.ci_low, summary.ci_high)
        return str(summary.n), percent(summary.accuracy), ends, *[NONE] * 4
    found = shown.pool.by_rule[DEFAULT_RULE]
    return (
        *(str(found.n), percent(found.mean), interval(found.ci_low, found.ci_high)),
        *(percent(rate) for rate in (found.sd, found.lowest, found.highest)),
        interval(found.bootstrap_low, found.bootstrap_high),
    )


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
    return f"{table(header, rows, numbers_from=3)}\n\n{note}{_samples(study)}"


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


def rules_section(study: Study) -> str:
    """The accuracy under every grading rule, with its spread where there are several seeds."""
    rules = rules_of(study.cells)
    rows = [(escape(shown.label), *(_under(shown, rule) for rule in rules)) for shown in study.shown]
    note = (
        "The accuracy, in percent, that each rule for finding the answer gives to the same outputs."
        f" {DEFAULT_RULE} is the default rule, which accuracy and reward go by."
    )
    if study.findings.pools:
        note += f" The standard deviation between seeds follows {_PLUS_MINUS}."
    return f"{table(('cell', *(escape(rule) for rule in rules)), rows, numbers_from=1)}\n\n{note}"


def _under(shown: Shown, rule: str) -> str:
    if shown.pool is None:
        return percent(shown.first.summary.accuracy_by_rule.get(rule, float("nan")))
    found: PooledAccuracy | None = shown.pool.by_rule.get(rule)
    return f"{percent(found.mean)} {_PLUS_MINUS} {percent(found.sd)}" if found else NONE
