"""Whether the report's intervals cover and its tests hold their level, in simulated studies.

    python benchmarks/intervals.py [--studies 2000] [--seed 0]

In a study each of n questions has a probability of being answered right; each answer to it is drawn with that
probability. The probabilities are beta-distributed around the accuracy: their spread is the correlation of two answers
to one question, from 0 (all questions are equally hard) to 1 (each is always or never answered right). Of two cells
over the same questions the probabilities are tied by a Gaussian copula. Prints its tables and writes them to
`intervals.md` beside this file; takes a quarter of an hour.
"""

import argparse
import functools
import itertools
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

import numpy
from scipy.stats import beta, binomtest, norm

from chattpl.report.stats import difference_interval, mean_interval

SIZES = (50, 100, 200, 500, 1319)
SAMPLES = (1, 2, 4, 16)
ACCURACIES = (0.05, 0.1, 0.3, 0.5, 0.7, 0.9, 0.95)
SPREADS = (0, 0.1, 0.3, 0.6, 0.9, 1)
PASS_AT = ((2, 4), (2, 16), (8, 16))  # k and the samples that it is estimated from
PAIRED_SIZES = (50, 100, 200, 1319)
PAIRED_SAMPLES = ((1, 1), (2, 2), (4, 4), (16, 16), (1, 8), (4, 16))
EQUAL = ((0.05, 0.05), (0.3, 0.3), (0.5, 0.5), (0.9, 0.9))
DIFFERENT = ((0.05, 0.15), (0.3, 0.5), (0.5, 0.55), (0.7, 0.95))
PAIRED_SPREADS = (0.1, 0.4, 0.7, 1)
TIES = (0, 0.6, 0.95)
TOLERANCE = 0.015


class Studies:
    """Simulated studies; every array has shape (studies, questions)."""

    def __init__(self, studies: int, seed: int):
        self.studies = studies
        self.random = numpy.random.default_rng(seed)

    def means(self, probabilities: numpy.ndarray, samples: int) -> numpy.ndarray:
        """The share of each question's answers that are right."""
        return self.random.binomial(samples, probabilities) / samples

    def probabilities(self, n: int, accuracy: float, spread: float) -> numpy.ndarray:
        """Of each question, that it is answered right."""
        if spread in (0, 1):
            return transformed(self.random.random((self.studies, n)), accuracy, spread)
        return self.random.beta(*shape(accuracy, spread), (self.studies, n))

    def tied(self, n: int, accuracies: tuple[float, float], spread: float, tie: float) -> list[numpy.ndarray]:
        """The probabilities of two cells over the same questions; `tie` is the correlation of the normal scores."""
        one, noise = self.random.standard_normal((2, self.studies, n))
        scores = (one, tie * one + numpy.sqrt(1 - tie * tie) * noise)
        return [transformed(norm.cdf(each), p, spread) for each, p in zip(scores, accuracies, strict=True)]

    def coverage(self, n: int, samples: int, accuracy: float, spread: float) -> float:
        """How often the interval of the accuracy holds it."""
        low, high = mean_interval(self.means(self.probabilities(n, accuracy, spread), samples))
        return float(((low <= accuracy) & (accuracy <= high)).mean())

    def coverage_of_pass_at(self, k: int, n: int, samples: int, accuracy: float, spread: float) -> float:
        """How often the interval of pass@k holds it."""
        wrong = samples - samples * self.means(self.probabilities(n, accuracy, spread), samples)
        low, high = mean_interval(1 - choose(wrong, k) / choose(samples, k))
        truth = 1 - mean_power(accuracy, spread, k)
        return float(((low <= truth) & (truth <= high)).mean())

    def rejections(self, n: int, samples: tuple[int, int], accuracies: tuple[float, float], *how: float) -> float:
        """How often a true difference of accuracies is rejected at the level of 5 %: by the interval of the difference,
        where it is 0 and one answer was drawn by McNemar's test."""
        cells = zip(self.tied(n, accuracies, *how), samples, strict=True)
        one, other = (self.means(probabilities, each) for probabilities, each in cells)
        difference = accuracies[0] - accuracies[1]
        if samples == (1, 1) and not difference:
            counts = zip((one > other).sum(-1), (one < other).sum(-1), strict=True)
            return float(numpy.mean([mcnemar_p(int(b), int(c)) < 0.05 for b, c in counts]))
        low, high = difference_interval(one, other)
        return float(1 - ((low <= difference) & (difference <= high)).mean())


def shape(accuracy: float, spread: float) -> tuple[float, float]:
    """The parameters of the beta distribution."""
    size = 1 / spread - 1
    return accuracy * size, (1 - accuracy) * size


def transformed(uniform: numpy.ndarray, accuracy: float, spread: float) -> numpy.ndarray:
    """Uniform numbers to probabilities of the wanted distribution."""
    if spread == 0:
        return numpy.full(uniform.shape, accuracy)
    if spread == 1:
        return (uniform < accuracy).astype(float)
    grid = numpy.linspace(0, 1, 4001)
    return numpy.interp(uniform, grid, beta.ppf(grid, *shape(accuracy, spread)))


def choose(n: numpy.ndarray | int, k: int) -> numpy.ndarray:
    """The binomial coefficient, for each n."""
    return numpy.prod([(n - i) / (i + 1) for i in range(k)], axis=0)


def mean_power(accuracy: float, spread: float, k: int) -> float:
    """The mean over questions of the probability that k answers are all wrong."""
    if spread in (0, 1):
        return (1 - accuracy) ** (k if spread == 0 else 1)
    a, b = shape(accuracy, spread)
    return float(numpy.prod([(b + i) / (a + b + i) for i in range(k)]))


@functools.cache
def mcnemar_p(only_first: int, only_second: int) -> float:
    return float(binomtest(only_first, only_first + only_second).pvalue) if only_first + only_second else 1.0


def line(values: Iterable[float], target: float) -> str:
    """Lowest, mean and highest of some rates, and how many miss the target by more than the tolerance."""
    rates = numpy.array(list(values))
    off = numpy.round(rates - target, 9)
    shown = " | ".join(f"{100 * each:.1f}" for each in (rates.min(), rates.mean(), rates.max()))
    return f"{shown} | {(off < -TOLERANCE).sum()} | {(off > TOLERANCE).sum()}"


def rows(sizes: Iterable[int], kinds: Iterable, name: Callable, rates: Callable, target: float) -> Iterator[str]:
    for n, kind in itertools.product(sizes, kinds):
        yield f"| {n} | {name(kind)} | {line(rates(n, kind), target)} |"


def report(studies: Studies) -> str:
    scenarios = list(itertools.product(ACCURACIES, SPREADS))
    tied = list(itertools.product(PAIRED_SPREADS, TIES))
    covered = rows(
        SIZES, SAMPLES, str, lambda n, k: (studies.coverage(n, k, *scenario) for scenario in scenarios), 0.95
    )
    passed = rows(
        SIZES, PASS_AT, lambda kind: f"pass@{kind[0]} of {kind[1]}",
        lambda n, kind: (studies.coverage_of_pass_at(kind[0], n, kind[1], *scenario) for scenario in scenarios), 0.95,
    )  # fmt: skip
    level = rows(
        PAIRED_SIZES, PAIRED_SAMPLES, lambda kind: f"{kind[0]}, {kind[1]}",
        lambda n, kind: (studies.rejections(n, kind, both, *how) for both in EQUAL for how in tied), 0.05,
    )  # fmt: skip
    paired = rows(
        PAIRED_SIZES, PAIRED_SAMPLES, lambda kind: f"{kind[0]}, {kind[1]}",
        lambda n, kind: (1 - studies.rejections(n, kind, both, *how) for both in DIFFERENT for how in tied), 0.95,
    )  # fmt: skip
    head = "| n | answers | lowest | mean | highest | too low | too high |\n|--:|---|--:|--:|--:|--:|--:|"
    sections = {
        f"Interval of the accuracy: coverage, {len(scenarios)} scenarios": covered,
        f"Interval of pass@k: coverage, {len(scenarios)} scenarios": passed,
        f"Difference of two cells: rejected at 5 % where there is none, {len(EQUAL) * len(tied)} scenarios": level,
        f"Interval of the difference: coverage, {len(DIFFERENT) * len(tied)} scenarios": paired,
    }
    intro = (
        f"Each scenario is {studies.studies} simulated studies. Accuracies go from {ACCURACIES[0]} to {ACCURACIES[-1]},"
        " the correlation of two answers to one question from 0 to 1, the hardness of a question in two cells from"
        f" independent to nearly the same (`{Path(__file__).name}` lists them). Rates are in percent; the last two"
        f" columns count the scenarios that miss 95 or 5 % by more than {100 * TOLERANCE} points."
    )
    parts = [f"## {title}\n\n{head}\n" + "\n".join(found) for title, found in sections.items()]
    return "\n\n".join(("# Intervals and tests", intro, *parts)) + "\n"


def write_page(script: Path, about: str | None, report: Callable[[int, int], str]) -> None:
    """Print what `report` gives for the number of studies and the seed, and write it beside the script."""
    parser = argparse.ArgumentParser(description=about, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--studies", type=int, default=2000)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    text = report(options.studies, options.seed)
    print(text)
    script.with_suffix(".md").write_text(text, encoding="utf-8")


if __name__ == "__main__":
    write_page(Path(__file__), __doc__, lambda studies, seed: report(Studies(studies, seed)))
