"""Intervals and tests for accuracies, with one answer to a question or several.

Answers to one question are not independent, so the question is the unit: what comes in is each question's mean, the
share of its answers that are right (0 or 1 where there is one). Two cells answer the same questions, so their
comparison is paired. Where a model was trained with several seeds, means have the shape (seeds, questions).
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy
from scipy.optimize import brentq
from scipy.stats import binomtest

from chattpl.report.power import detectable_difference
from chattpl.report.seeds import bootstrap_interval, seed_spread, widened

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


def pooled_interval(means: Any, confidence: float = 0.95) -> tuple[Any, Any]:
    """The interval of the accuracy over seeds and questions: `means` has shape (..., seeds, questions)."""
    values = numpy.asarray(means, dtype=float)
    return widened(mean_interval(values.mean(-2), confidence), values, confidence, (0, 1))


def difference_interval(first: Any, second: Any, confidence: float = 0.95) -> tuple[Any, Any]:
    """The interval of the difference of two means over the same questions, both of shape (..., questions).

    The distances from each mean to the ends of its own interval are squared and added, with the correlation of the
    two. With one answer to a question it is Newcombe's interval for paired proportions, which corrects the
    correlation for continuity.

    Source: Newcombe, Statistics in Medicine 17 (1998) 2635-2650, method 10; for other intervals than Wilson's Zou and
    Donner, Statistics in Medicine 27 (2008) 1693-1702.
    """
    one, other = numpy.asarray(first, dtype=float), numpy.asarray(second, dtype=float)
    ends = mean_interval(one, confidence), mean_interval(other, confidence)
    return _difference(one.mean(-1), ends[0], other.mean(-1), ends[1], _correlation(one, other))


def pooled_difference_interval(first: Any, second: Any, confidence: float = 0.95) -> tuple[Any, Any]:
    """The interval of the difference over seeds and questions: both have shape (..., seeds, questions)."""
    one, other = numpy.asarray(first, dtype=float), numpy.asarray(second, dtype=float)
    ends = difference_interval(one.mean(-2), other.mean(-2), confidence)
    return widened(ends, one - other, confidence, (-1, 1))


def interaction_interval(first: Any, second: Any, confidence: float = 0.95) -> tuple[Any, Any]:
    """The interval of a difference of differences, (a - b) - (c - d), where `first` is a and b, `second` c and d.

    Each has the shape (2, ..., seeds, questions). The distances from both differences to the ends of their own
    intervals are squared and added, with the correlation of the two over the questions, as for two means.

    Source: Zou and Donner, Statistics in Medicine 27 (2008) 1693-1702.
    """
    (a, b), (c, d) = numpy.asarray(first, dtype=float), numpy.asarray(second, dtype=float)
    one, other = (a - b).mean(-2), (c - d).mean(-2)
    ends = [difference_interval(x.mean(-2), y.mean(-2), confidence) for x, y in ((a, b), (c, d))]
    narrow = _difference(one.mean(-1), ends[0], other.mean(-1), ends[1], _pearson(one, other))
    return widened(narrow, a - b - c + d, confidence, (-2, 2))


@dataclass(frozen=True)
class PairedComparison:
    """Two cells over the same `n` questions, or two differences between cells.

    Attributes:
        accuracy_first, accuracy_second: the means over these questions; of an interaction, the two differences.
        difference: the first less the second, a fraction of one.
        ci_low, ci_high: its interval.
        only_first, only_second: the number of questions of which the first or the second got a larger share of its
            answers right: with one answer each, those that it alone got right.
        p: two-sided.
        p_holm: p after Holm's adjustment over the family of tests that this one belongs to.
        detectable: the smallest true difference that a test of these questions finds in four of five studies.
        seeds: over how many seeds the means were taken.
        seed_sd: the standard deviation of the difference between seeds; none for one seed.
        bootstrap_low, bootstrap_high: its interval by plain resampling of seeds and questions; none for one seed.
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
    detectable: float
    seeds: int = 1
    seed_sd: float | None = None
    bootstrap_low: float | None = None
    bootstrap_high: float | None = None


def paired_comparison(first: Any, second: Any) -> PairedComparison:
    """Compare two cells; `first[i]` and `second[i]` are of the same question, or `first[s][i]` of the same seed too.

    With one answer to a question p is exact: of the questions that only one got right, either one is as likely under
    the null hypothesis (McNemar, Psychometrika 12 (1947) 153-157). With several answers or seeds it is the level at
    which the interval of the difference ends at 0.

    Raises:
        ValueError: the two differ in length, or are empty.
    """
    one, other = (numpy.atleast_2d(numpy.asarray(each, dtype=float)) for each in (first, second))
    if one.shape != other.shape or not one.size:
        raise ValueError(f"a paired comparison needs two gradings of the same samples, not {one.shape}, {other.shape}")
    exact = len(one) == 1 and _are_verdicts(one, other)
    return _comparison(one, other, lambda confidence: pooled_difference_interval(one, other, confidence), exact)


def interaction(first: Any, second: Any) -> PairedComparison:
    """Compare the difference between two cells with that between two others, (a - b) - (c - d) over the same questions.

    `first` is a and b, `second` c and d; each has the shape (2, questions) or (2, seeds, questions). p is the level at
    which the interval of the difference of differences ends at 0.
    """
    values = numpy.asarray([first, second], dtype=float)
    one, other = values.reshape(2, 2, -1, values.shape[-1])
    differences = one[0] - one[1], other[0] - other[1]
    return _comparison(*differences, lambda confidence: interaction_interval(one, other, confidence), exact=False)


def holm(p_values: Sequence[float]) -> list[float]:
    """Holm's adjustment of the p values of one family of tests, in the same order.

    That of statsmodels collects garbage at every call, which takes longer than all the tests.

    Source: Holm, Scandinavian Journal of Statistics 6 (1979) 65-70.
    """
    found = numpy.asarray(p_values, dtype=float)
    order = found.argsort(kind="stable")
    adjusted = numpy.maximum.accumulate(found[order] * numpy.arange(len(found), 0, -1))
    return [float(p) for p in numpy.minimum(adjusted, 1)[order.argsort(kind="stable")]]


def _comparison(one: Any, other: Any, interval: Callable[[float], tuple[Any, Any]], exact: bool) -> PairedComparison:
    """The comparison of two arrays of shape (seeds, questions)."""
    seeds, n = one.shape
    by_question = (one - other).mean(0).round(12)  # sums of thirds differ in their last bits: no difference
    only_first, only_second = int((by_question > 0).sum()), int((by_question < 0).sum())
    low, high = interval(0.95)
    difference = round(float(by_question.mean()), 12)
    p = _mcnemar_p(only_first, only_second) if exact else _inverted_p(interval, difference)
    return PairedComparison(
        *(n, float(one.mean()), float(other.mean()), difference, float(low), float(high)),
        *(only_first, only_second, p, p, detectable_difference(one - other), seeds),
        *((float(seed_spread(one - other)), *bootstrap_interval(one - other)) if seeds > 1 else ()),
    )


def _difference(mean1: Any, ends1: tuple[Any, Any], mean2: Any, ends2: tuple[Any, Any], phi: Any) -> tuple[Any, Any]:
    """The interval of the difference of two means with the correlation `phi`, from their own intervals."""

    def distance(x: Any, y: Any) -> Any:
        return numpy.sqrt(numpy.maximum(x * x - 2 * phi * x * y + y * y, 0))

    low = mean1 - mean2 - distance(mean1 - ends1[0], ends2[1] - mean2)
    return low, mean1 - mean2 + distance(ends1[1] - mean1, mean2 - ends2[0])


def _are_verdicts(one: Any, other: Any) -> bool:
    """Whether each mean is 0 or 1: one answer to a question, or several that agree."""
    return all(bool(((means == 0) | (means == 1)).all()) for means in (one, other))


def _correlation(one: Any, other: Any) -> Any:
    """The correlation of the means, 0 where one does not vary; that of verdicts with Newcombe's correction."""
    return _pearson(one, other, 0.5 if _are_verdicts(one, other) else 0)


def _pearson(one: Any, other: Any, correction: float = 0) -> Any:
    """The correlation over the last axis, a positive covariance made smaller by the correction."""
    x, y = (means - means.mean(-1, keepdims=True) for means in (one, other))
    common, product = (x * y).sum(-1), (x * x).sum(-1) * (y * y).sum(-1)
    common = numpy.where(common > 0, numpy.maximum(common - correction, 0), common)
    return numpy.where(product > 0, common / numpy.sqrt(numpy.where(product > 0, product, 1)), 0)


def _mcnemar_p(only_first: int, only_second: int) -> float:
    discordant = only_first + only_second
    return float(binomtest(only_first, discordant).pvalue) if discordant else 1.0


def _inverted_p(interval: Callable[[float], tuple[Any, Any]], difference: float) -> float:
    """The p at which the interval with confidence 1 - p ends at 0; no smaller than SMALLEST_P."""
    end, sign = (0, 1) if difference >= 0 else (1, -1)

    def distance(log_p: float) -> float:
        return sign * float(interval(1 - math.exp(log_p))[end])

    most, least = math.log1p(-SMALLEST_P), math.log(SMALLEST_P)
    if distance(most) <= 0:
        return 1.0
    return SMALLEST_P if distance(least) >= 0 else math.exp(brentq(distance, least, most))
