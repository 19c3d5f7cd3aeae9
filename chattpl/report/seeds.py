"""What several seeds add: the spread between them, as a level of its own above the questions.

Values have the shape (..., seeds, questions). Each is the sum of a mean, an effect of its seed, one of its question,
and what remains; seeds and questions are both drawn from more than were seen.
"""

import functools
from typing import Any

import numpy

RESAMPLES = 2000


def seed_spread(values: Any) -> Any:
    """The standard deviation of the seeds' means, with seeds - 1 in the denominator; 0 for one seed."""
    means = numpy.asarray(values, dtype=float).mean(-1)
    return means.std(-1, ddof=1) if means.shape[-1] > 1 else numpy.zeros(means.shape[:-1])


def widened(ends: tuple[Any, Any], values: Any, confidence: float, bounds: tuple[float, float]) -> tuple[Any, Any]:
    """The interval of the mean over questions and seeds, from `ends`, that of the mean over questions alone.

    The variance of the mean is the sum of what the seeds and what the questions contribute; what remains beside both
    effects is in the seeds' variance already and is taken out of the questions'. The questions' is that of `ends`, by
    the side. With one seed `ends` are returned as they are.

    Source: Searle, Casella and McCulloch, Variance Components (1992), chapter 4 (two crossed effects).
    """
    values = numpy.asarray(values, dtype=float)
    if values.shape[-2] == 1:
        return ends
    from scipy.stats import norm

    mean, level = values.mean((-2, -1)), (1 + confidence) / 2
    of_seeds, of_questions, both = variances(values)
    share = numpy.divide(both, of_questions, out=numpy.zeros_like(both), where=of_questions > 0)
    errors = ((1 - share) * ((mean - end) / norm.ppf(level)) ** 2 for end in ends)
    below, above = (quantile_distance(of_seeds, error, values.shape[-2], level) for error in errors)
    return numpy.maximum(mean - below, bounds[0]), numpy.minimum(mean + above, bounds[1])


def quantile_distance(of_seeds: Any, of_questions: Any, seeds: int, level: float) -> Any:
    """How far from the mean its quantile at this level is, from the variances that seeds and questions contribute.

    In standard errors it is a mean of two quantiles: Student's t with seeds - 1 degrees of freedom, right where the
    seeds contribute everything, and the normal z, right where they contribute nothing. Cochran and Cox weight them by
    the seeds' share of the variance and by the rest, which is too wide; Satterthwaite's degrees of freedom,
    (seeds - 1) / share^2, are too many for a few seeds. Here the weights are t share^2 and z (1 - share^2), which no
    other source has: benchmarks/seeds.md compares the coverage of the three.

    Source: Cochran and Cox, Experimental Designs (2nd edition, 1957); Satterthwaite, Biometrics Bulletin 2 (1946)
    110-114.
    """
    from scipy.stats import norm, t

    variance = numpy.asarray(of_seeds + of_questions, dtype=float)
    squared = numpy.divide(of_seeds, variance, out=numpy.zeros_like(variance), where=variance > 0) ** 2
    normal = norm.ppf(level)
    student = max(t.ppf(level, seeds - 1), normal)  # scipy's is 0 just above a level of one half
    weights = normal * (1 - squared), student * squared
    return (normal * weights[0] + student * weights[1]) / (weights[0] + weights[1]) * numpy.sqrt(variance)


def variances(values: Any) -> tuple[Any, Any, Any]:
    """The variance of the mean that is estimated from the seeds, that from the questions, and what is in both."""
    seeds, questions = values.shape[-2:]
    off = values - values.mean((-2, -1), keepdims=True)
    by_seed, by_question = ((off.mean(axis) ** 2).sum(-1) for axis in (-1, -2))
    rest = numpy.maximum((off**2).sum((-2, -1)) - questions * by_seed - seeds * by_question, 0)
    others = max(questions - 1, 1)
    of_seeds, of_questions = by_seed / ((seeds - 1) * seeds), by_question / (others * questions)
    both = rest / (others * (seeds - 1) * seeds * questions)
    return of_seeds, of_questions, numpy.minimum(both, of_questions)


def bootstrap_interval(values: Any, confidence: float = 0.95) -> tuple[float, float]:
    """The percentiles of the mean of resampled seeds and questions; `values` has shape (seeds, questions).

    Both are drawn with replacement, independently of each other. The same values give the same interval. With few seeds
    it is too short where the seeds differ, hence not the interval that the report goes by.

    Source: Efron and Tibshirani, An Introduction to the Bootstrap (1993), chapters 8 and 13; for two crossed levels
    Owen, Annals of Applied Statistics 1 (2007) 386-411.
    """
    values = numpy.asarray(values, dtype=float)
    by_seed, by_question = (_weights(size) for size in values.shape)
    means = (by_seed * (by_question @ values.T.astype(by_question.dtype))).sum(1)
    return float(numpy.quantile(means, (1 - confidence) / 2)), float(numpy.quantile(means, (1 + confidence) / 2))


@functools.lru_cache(maxsize=8)
def _weights(size: int) -> Any:
    """The share of each of `size` units in every resample, shape (RESAMPLES, size)."""
    random = numpy.random.default_rng(size)
    return (random.multinomial(size, numpy.full(size, 1 / size), size=RESAMPLES) / size).astype("f")
