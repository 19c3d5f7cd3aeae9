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

    What the seeds and what the questions contribute are independent, so their distances from the mean are squared and
    added. The seeds' is Student's t with seeds - 1 degrees of freedom: three seeds tell little of their own spread,
    and a bootstrap or a normal quantile would pretend that they tell it exactly. What remains beside both effects is
    in the seeds' variance already and is taken out of the questions'. With one seed `ends` are returned as they are.

    Source: Zou and Donner, Statistics in Medicine 27 (2008) 1693-1702 (distances); Searle, Casella and McCulloch,
    Variance Components (1992), chapter 4 (two crossed effects).
    """
    values = numpy.asarray(values, dtype=float)
    if values.shape[-2] == 1:
        return ends
    from scipy.stats import t

    mean = values.mean((-2, -1))
    of_seeds, of_questions, both = variances(values)
    share = numpy.divide(both, of_questions, out=numpy.zeros_like(both), where=of_questions > 0)
    margin = of_seeds * t.ppf((1 + confidence) / 2, values.shape[-2] - 1) ** 2
    below, above = (numpy.sqrt((1 - share) * (mean - end) ** 2 + margin) for end in ends)
    return numpy.maximum(mean - below, bounds[0]), numpy.minimum(mean + above, bounds[1])


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
