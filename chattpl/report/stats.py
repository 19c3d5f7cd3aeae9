"""Intervals and tests for accuracies, with one answer to a question or several.

Answers to one question are not independent, so the question is the unit: what comes in is each question's mean, the
share of its answers that are right (0 or 1 where there is one). Two cells answer the same questions, so their
comparison is paired.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy
from scipy.optimize import brentq
from scipy.stats import binomtest

SMALLEST_P = 1e-12  # of the inverted interval


def mean_interval(means: Any, confidence: float = 0.95) -> tuple[Any, Any]:
    """The interval of the mean of values from 0 to 1, clustered by question: `means` has shape (..., questions).

    It is Wilson's score interval with the effective number of questions, n / deff; the design effect deff is the
    variance of the means over p (1 - p), that of single answers. Both get the variance of one more question (1/4 at
    most): without it deff is estimated at 0 where hardly an answer is right, and the interval is far too short. With
    one answer to a question deff is 1, and the interval Wilson's own: 8 of 10 gives (0.490, 0.943).

    Source: Wilson, JASA 22 (1927) 209-212; Dean and Pagano, J. Surv. Stat. Methodol. 3 (2015) 484-503.
    """
    from statsmodels.stats.proportion import proportion_confint  # slow to load

    values = numpy.asarray(means, dtype=float)
    n, p = values.shape[-1], values.mean(-1)
    deff = 1 - (values * (1 - values)).sum(-1) / (n * p * (1 - p) + 1 / 4)
    low, high = proportion_confint(p * n / deff, n / deff, 1 - confidence, method="wilson")
    return numpy.minimum(low, p), numpy.maximum(high, p)  # at 0 and 1 the formula's rounding leaves the mean outside


def difference_interval(first: Any, second: Any, confidence: float = 0.95) -> tuple[Any, Any]:
    """The interval of the difference of two means over the same questions, both of shape (..., questions).

    The distances from each mean to the ends of its own interval are squared and added, with the correlation of the
    two. With one answer to a question it is Newcombe's interval for paired proportions, which corrects the
    correlation for continuity.

    Source: Newcombe, Statistics in Medicine 17 (1998) 2635-2650, method 10; for other intervals than Wilson's Zou and
    Donner, Statistics in Medicine 27 (2008) 1693-1702.
    """
    one, other = numpy.asarray(first, dtype=float), numpy.asarray(second, dtype=float)
    (low1, high1), (low2, high2) = mean_interval(one, confidence), mean_interval(other, confidence)
    p1, p2, phi = one.mean(-1), other.mean(-1), _correlation(one, other)

    def distance(x: Any, y: Any) -> Any:
        return numpy.sqrt(numpy.maximum(x * x - 2 * phi * x * y + y * y, 0))

    return p1 - p2 - distance(p1 - low1, high2 - p2), p1 - p2 + distance(high1 - p1, p2 - low2)


@dataclass(frozen=True)
class PairedComparison:
    """Two cells over the same `n` questions.

    Attributes:
        accuracy_first, accuracy_second: the means over these questions.
        difference: the first accuracy less the second, a fraction of one.
        ci_low, ci_high: its interval.
        only_first, only_second: the number of questions of which the first or the second got a larger share of its
            answers right: with one answer each, those that it alone got right.
        p: two-sided.
        p_holm: p after Holm's adjustment over the family of tests that this one belongs to.
    """

    n: int
    accuracy_first: float
    accuracy_second: float
    difference: float
    ci_low: float
    ci_high: float
    only_first: int
    only_second: int
    p: float
    p_holm: float


def paired_comparison(first: Sequence[float], second: Sequence[float]) -> PairedComparison:
    """Compare the means of two cells; `first[i]` and `second[i]` are of the same question.

    With one answer to a question p is exact: of the questions that only one got right, either one is as likely under
    the null hypothesis (McNemar, Psychometrika 12 (1947) 153-157). With several it is the level at which the interval
    of the difference ends at 0.

    Raises:
        ValueError: the two differ in length, or are empty.
    """
    if len(first) != len(second) or not len(first):
        raise ValueError(f"a paired comparison needs two gradings of the same samples, not {len(first)}, {len(second)}")
    one, other = numpy.asarray(first, dtype=float), numpy.asarray(second, dtype=float)
    only_first, only_second = int((one > other).sum()), int((one < other).sum())
    low, high = difference_interval(one, other)
    p = _mcnemar_p(only_first, only_second) if _are_verdicts(one, other) else _inverted_p(one, other)
    # Sums of thirds differ in their last bits, which must not pass for a difference.
    difference = round(float((one - other).mean()), 12)
    return PairedComparison(
        *(len(one), float(one.mean()), float(other.mean()), difference, float(low), float(high)),
        *(only_first, only_second, p, p),
    )


def holm(p_values: Sequence[float]) -> list[float]:
    """Holm's adjustment of the p values of one family of tests, in the same order."""
    if not p_values:
        return []
    from statsmodels.stats.multitest import multipletests  # slow to load, and evaluation wants only the interval

    return [float(p) for p in multipletests(list(p_values), method="holm")[1]]


def _are_verdicts(one: Any, other: Any) -> bool:
    """Whether each mean is 0 or 1: one answer to a question, or several that agree."""
    return all(bool(((means == 0) | (means == 1)).all()) for means in (one, other))


def _correlation(one: Any, other: Any) -> Any:
    """The correlation of the means, 0 where one does not vary; that of verdicts with Newcombe's correction."""
    x, y = (means - means.mean(-1, keepdims=True) for means in (one, other))
    common, product = (x * y).sum(-1), (x * x).sum(-1) * (y * y).sum(-1)
    if _are_verdicts(one, other):
        common = numpy.where(common > 0, numpy.maximum(common - 0.5, 0), common)
    return numpy.where(product > 0, common / numpy.sqrt(numpy.where(product > 0, product, 1)), 0)


def _mcnemar_p(only_first: int, only_second: int) -> float:
    discordant = only_first + only_second
    return float(binomtest(only_first, discordant).pvalue) if discordant else 1.0


def _inverted_p(one: Any, other: Any) -> float:
    """The p at which the interval of the difference with confidence 1 - p ends at 0; no smaller than SMALLEST_P."""
    if one.mean() < other.mean():
        one, other = other, one

    def low(p: float) -> float:
        return float(difference_interval(one, other, 1 - p)[0])

    if low(1 - SMALLEST_P) <= 0:
        return 1.0
    return SMALLEST_P if low(SMALLEST_P) >= 0 else float(brentq(low, SMALLEST_P, 1 - SMALLEST_P))
