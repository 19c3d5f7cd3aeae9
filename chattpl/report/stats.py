"""Intervals and tests for accuracies. Two formats answer the same questions, so their comparison is paired."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

from scipy.stats import binomtest


def wilson_interval(correct: int, n: int, confidence: float = 0.95) -> tuple[float, float]:
    """Wilson's score interval of a proportion: 8 of 10 gives (0.490, 0.943).

    Without observations it is (0.0, 1.0), the formula's limit for n to 0.

    Source: Wilson, Probable inference, the law of succession, and statistical inference, JASA 22 (1927) 209-212.
    """
    if n == 0:
        return 0.0, 1.0
    interval = binomtest(correct, n).proportion_ci(confidence, method="wilson")
    return float(interval.low), float(interval.high)


@dataclass(frozen=True)
class PairedComparison:
    """Two gradings of the same `n` samples.

    Attributes:
        both, only_first, only_second, neither: the number of samples that both, one or none got right.
        difference: accuracy of the first less accuracy of the second, a fraction of one.
        ci_low, ci_high: its interval (Newcombe's method 10).
        p: McNemar's exact test, two-sided.
    """

    n: int
    both: int
    only_first: int
    only_second: int
    neither: int
    difference: float
    ci_low: float
    ci_high: float
    p: float


def paired_comparison(first: Sequence[bool], second: Sequence[bool], confidence: float = 0.95) -> PairedComparison:
    """Compare two gradings; `first[i]` and `second[i]` are of the same sample.

    The p value is exact: of the samples that only one got right, either one is as likely under the null hypothesis
    (McNemar, Psychometrika 12 (1947) 153-157).

    Raises:
        ValueError: the two differ in length, or are empty.
    """
    if len(first) != len(second) or not len(first):
        raise ValueError(f"a paired comparison needs two gradings of the same samples, not {len(first)}, {len(second)}")
    pairs = [(bool(one), bool(other)) for one, other in zip(first, second, strict=True)]
    outcomes = ((True, True), (True, False), (False, True), (False, False))
    both, only_first, only_second, neither = (pairs.count(outcome) for outcome in outcomes)
    discordant = only_first + only_second
    low, high = _newcombe_interval(both, only_first, only_second, neither, confidence)
    p = float(binomtest(only_first, discordant).pvalue) if discordant else 1.0
    difference = (only_first - only_second) / len(pairs)
    return PairedComparison(len(pairs), both, only_first, only_second, neither, difference, low, high, p)


def holm(p_values: Sequence[float]) -> list[float]:
    """Holm's adjustment of the p values of one family of tests, in the same order."""
    if not p_values:
        return []
    from statsmodels.stats.multitest import multipletests  # slow to load, and evaluation wants only the interval

    return [float(p) for p in multipletests(list(p_values), method="holm")[1]]


def _newcombe_interval(a: int, b: int, c: int, d: int, confidence: float) -> tuple[float, float]:
    """The interval of (a + b) / n - (a + c) / n for paired proportions: square and add, with the correlation phi.

    Source: Newcombe, Improved confidence intervals for the difference between binomial proportions based on paired
    data, Statistics in Medicine 17 (1998) 2635-2650, method 10 (phi's numerator corrected for continuity).
    """
    n = a + b + c + d
    p1, p2 = (a + b) / n, (a + c) / n
    low1, high1 = wilson_interval(a + b, n, confidence)
    low2, high2 = wilson_interval(a + c, n, confidence)
    phi = _corrected_phi(a, b, c, d)

    def radius(x: float, y: float) -> float:
        return math.sqrt(max(x * x - 2 * phi * x * y + y * y, 0.0))

    return p1 - p2 - radius(p1 - low1, high2 - p2), p1 - p2 + radius(high1 - p1, p2 - low2)


def _corrected_phi(a: int, b: int, c: int, d: int) -> float:
    margins = (a + b) * (c + d) * (a + c) * (b + d)
    excess: float = a * d - b * c
    if excess > 0:
        excess = max(excess - (a + b + c + d) / 2, 0)
    return excess / math.sqrt(margins) if margins else 0.0
