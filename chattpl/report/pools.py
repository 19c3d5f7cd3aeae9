"""The accuracy of each training that was done with several seeds, over its seeds."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from chattpl.report.arms import Answers, Arm
from chattpl.report.seeds import bootstrap_interval, seed_spread
from chattpl.report.stats import pooled_interval


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
