"""The accuracy of each training that was done with several seeds, over its seeds."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from chattpl.report.arms import Answers, Arm
from chattpl.report.contrasts import rules_of
from chattpl.report.seeds import bootstrap_interval, seed_spread
from chattpl.report.stats import pooled_interval
from chattpl.report.text import NONE, escape, interval, percent, table
from chattpl.results import DEFAULT_RULE


@dataclass(frozen=True)
class PooledAccuracy:
    """An accuracy over seeds and questions; fractions of one.

    Attributes:
        n: the number of questions.
        sd: the standard deviation of the seeds' accuracies.
        lowest, highest: that of one seed.
        ci_low, ci_high: the interval over seeds and questions.
        bootstrap_low, bootstrap_high: the same by plain resampling.
    """

    n: int
    mean: float
    sd: float
    lowest: float
    highest: float
    ci_low: float
    ci_high: float
    bootstrap_low: float
    bootstrap_high: float


@dataclass(frozen=True)
class Pool:
    """One arm of several seeds, by grading rule."""

    arm: Arm
    by_rule: dict[str, PooledAccuracy]


def pool_seeds(arms: Sequence[Arm], answers: Answers) -> list[Pool]:
    """The arms that have several seeds whose answers can be compared."""
    return list(_pools(arms, answers))


def _pools(arms: Sequence[Arm], answers: Answers) -> Iterator[Pool]:
    for arm in arms:
        cells = list(arm.cells.values())
        if len(cells) > 1 and not answers.problem(cells):
            yield Pool(arm, {rule: _pooled(shares) for rule, shares in answers.shares(cells).items()})


def _pooled(shares: Any) -> PooledAccuracy:
    by_seed = shares.mean(1)
    figures = shares.mean(), seed_spread(shares), by_seed.min(), by_seed.max(), *pooled_interval(shares)
    return PooledAccuracy(shares.shape[1], *(float(each) for each in (*figures, *bootstrap_interval(shares))))


def seeds_section(pools: Sequence[Pool]) -> str:
    """The section on the seeds, as Markdown; empty where no arm has several."""
    if not pools:
        return ""
    header = ("model", "eval", "seeds", "n", "accuracy", "95 % interval", "SD", "lowest", "highest", "bootstrap")
    rows = [(*_names(pool), str(len(pool.arm.cells)), *_figures(pool.by_rule[DEFAULT_RULE])) for pool in pools]
    note = (
        "Cells that differ in their seed alone, under the default rule. SD is the standard deviation of the accuracy"
        " between seeds, in points, lowest and highest that of one seed. The interval is over seeds and questions, with"
        " Student's t for the seeds. The last column resamples both; with few seeds it is too short where seeds differ."
    )
    text = f"{table(header, rows, numbers_from=2)}\n\n{note}"
    rules = rules_of(pools)
    if len(rules) == 1:
        return text
    others = [(*_names(pool), *(_under(pool, rule) for rule in rules)) for pool in pools]
    further = "Accuracy and SD under every grading rule."
    return (
        f"{text}\n\n{table(('model', 'eval', *(escape(rule) for rule in rules)), others, numbers_from=2)}\n\n{further}"
    )


def _names(pool: Pool) -> tuple[str, str]:
    return escape(pool.arm.label), escape(pool.arm.format)


def _figures(found: PooledAccuracy) -> tuple[str, ...]:
    rates = (found.sd, found.lowest, found.highest)
    return (
        *(str(found.n), percent(found.mean), interval(found.ci_low, found.ci_high)),
        *(*(percent(rate) for rate in rates), interval(found.bootstrap_low, found.bootstrap_high)),
    )


def _under(pool: Pool, rule: str) -> str:
    found = pool.by_rule.get(rule)
    return f"{percent(found.mean)} ± {percent(found.sd)}" if found else NONE
