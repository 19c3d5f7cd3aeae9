"""The smallest difference that a paired test of so many questions could have shown."""

import math
from typing import Any

import numpy
from scipy.stats import norm

from chattpl.report.seeds import quantile_distance, variances

QUANTILES = (0.975, 0.8)  # of the two-sided level of 5 %, and of the power


def detectable_difference(differences: Any) -> float:
    """The smallest true difference that would be found with a probability of 80 % at the two-sided level of 5 %.

    `differences` has the shape (seeds, questions). With one seed it solves n = (z_level sqrt(d) + z_power sqrt(d -
    difference^2))^2 / difference^2 for the difference, the normal approximation of McNemar's test; d is the share of
    questions that one of both alone got right, and with several answers the mean square of the questions' differences.
    With several seeds the distances at which the interval and the power end are added.

    Source: Miettinen, Biometrics 24 (1968) 339-352; Connor, Biometrics 43 (1987) 207-211.
    """
    values = numpy.asarray(differences, dtype=float)
    if len(values) > 1:
        of_seeds, of_questions, both = variances(values)
        of_seeds = max(of_seeds, both)  # by luck seeds can look more alike than their questions let them be
        ends = (quantile_distance(of_seeds, of_questions - both, len(values), level) for level in QUANTILES)
        return min(float(sum(ends)), 1.0)
    sizes = numpy.abs(values[values != 0])
    return connor_difference(values.size, float((values**2).mean()), float(sizes.min()) if sizes.size else 1.0)


def connor_difference(n: int, discordance: float, grain: float = 1.0) -> float:
    """The same from the number of questions and d.

    `grain` is the smallest difference that a question can show. A true difference needs grain times as much
    discordance at least: where that is more than was seen, it is what counts.
    """
    level, power = norm.ppf(QUANTILES)
    rest = max(level**2 * n - (n + power**2) * (level**2 - power**2), 0)
    found = (level * math.sqrt(n * discordance) + math.sqrt(rest * discordance)) / (n + power**2)
    if found and discordance >= grain * found:
        return min(float(found), 1.0)
    root = math.sqrt(max((level * power) ** 2 + (n + power**2) * (n - level**2), 0))
    return float(grain * (1 - max((root - level * power) / (n + power**2), 0) ** 2))
