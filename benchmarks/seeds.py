"""Whether intervals over several seeds, of interactions and over prompts cover, and their tests hold their level.

    python benchmarks/seeds.py [--studies 2000] [--seed 0]

In a study a model is trained with several seeds, each asked the same n questions in one or several formats. An answer
is right where the sum of four normal numbers is positive: an effect of the seed, of the question, of both together,
and of the single answer; `SEED_EFFECTS` is the standard deviation of the first (0.15 moves an accuracy of one half by
4 points). Two formats of one model share half of the seeds' variance and most of the questions'. For normal values
coverage is computed, that of other formulas too. Prints its tables and writes them to `seeds.md` beside this file;
takes a quarter of an hour.
"""

import itertools
import math
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy
from scipy.stats import binom, chi2, norm, t

from benchmarks.intervals import TOLERANCE, line, write_page
from chattpl.report.power import connor_difference
from chattpl.report.seeds import bootstrap_interval, quantile_distance
from chattpl.report.spread import spread_over
from chattpl.report.stats import interaction_interval, pooled_difference_interval, pooled_interval

SIZES = tuple((200, *each) for each in ((1, 1), (1, 4), (2, 1), (2, 4), (3, 1), (3, 4), (5, 1)))
SIZES += ((1319, 3, 1), (1319, 3, 4))
ACCURACIES = (0.05, 0.3, 0.5, 0.9)
GAPS = (0, 0.1)
SEED_EFFECTS = (0, 0.05, 0.15)
QUESTION, BOTH = 1.0, 0.5  # standard deviations beside that of a single answer, which is 1
TIED_SEEDS, TIED_QUESTIONS = 0.5, 0.9
CHUNK = 250
PROMPTS = (2, 3, 6)
RANGES = ("lowest", "median", "highest", "spread")
QUANTILES: dict[str, Callable] = {  # in standard errors, by the seeds' share of the variance, their number, the level
    "the report's": lambda share, seeds, level: quantile_distance(share, 1 - share, seeds, level),
    "Cochran and Cox": lambda share, seeds, level: share * t.ppf(level, seeds - 1) + (1 - share) * norm.ppf(level),
    "Satterthwaite": lambda share, seeds, level: t.ppf(level, (seeds - 1) / share**2),
    "squares added": lambda share, seeds, level: numpy.hypot(
        share**0.5 * t.ppf(level, seeds - 1), (1 - share) ** 0.5 * norm.ppf(level)
    ),
}
SHARES = 1 / (1 + numpy.exp(-numpy.linspace(-5, 8, 53)))
WHY = """\
Few seeds hardly tell how far seeds are apart, so the quantile is between the normal one and Student's. That of
Satterthwaite's degrees of freedom is too near the normal one. Cochran and Cox's mean of the two, and the root of the
sum when the squares of both distances are added, are too near Student's. The report's is right within a point from
three seeds on. With two it is too wide where the seeds contribute between a tenth and four tenths of the variance, as
of an accuracy with several answers to a question, and at 99 % too narrow where they contribute most of it."""
POWERED = ((100, 0.1), (100, 0.3), (1319, 0.05), (1319, 0.2), (1319, 0.4))


class Studies:
    """Simulated studies with seeds."""

    def __init__(self, studies: int, seed: int):
        self.studies = studies
        self.random = numpy.random.default_rng(seed)

    def arms(self, size: tuple[int, int, int], accuracies: list[float], effect: float, many: int) -> numpy.ndarray:
        """The share of right answers, shape (arms, studies, seeds, questions)."""
        n, seeds, samples = size
        shape = len(accuracies), many
        of_seeds = effect * self._tied((*shape, seeds, 1), TIED_SEEDS)
        of_questions = QUESTION * self._tied((*shape, 1, n), TIED_QUESTIONS)
        total = math.sqrt(1 + effect**2 + QUESTION**2 + BOTH**2)
        centre = numpy.array([norm.ppf(each) * total for each in accuracies])[:, None, None, None]
        score = centre + of_seeds + of_questions + BOTH * self.random.standard_normal((*shape, seeds, n), "f")
        answers = [score + self.random.standard_normal(score.shape, "f") > 0 for _ in range(samples)]
        return numpy.mean(answers, axis=0)

    def _tied(self, shape: tuple[int, ...], correlation: float) -> numpy.ndarray:
        common, own = self.random.standard_normal((1, *shape[1:]), "f"), self.random.standard_normal(shape, "f")
        return math.sqrt(correlation) * common + math.sqrt(1 - correlation) * own

    def chunks(self, size: tuple[int, int, int], accuracies: list[float], effect: float) -> Iterator[numpy.ndarray]:
        """All studies, some at a time."""
        for _ in range(0, self.studies, CHUNK):
            yield self.arms(size, accuracies, effect, CHUNK)

    def coverages(self, size: tuple[int, int, int], accuracy: float, gap: float, effect: float) -> dict[str, float]:
        """How often the interval of an accuracy, a difference and an interaction holds the truth."""
        lower = accuracy - gap * min(accuracy, 1 - accuracy) * 2
        truth = [accuracy, lower, lower, lower]
        held: dict[str, list[float]] = {"accuracy": [], "difference": [], "interaction": []}
        for a, b, c, d in self.chunks(size, truth, effect):
            held["accuracy"].append(share(pooled_interval(a), accuracy))
            held["difference"].append(share(pooled_difference_interval(a, b), accuracy - lower))
            held["interaction"].append(share(interaction_interval((a, b), (c, d)), accuracy - lower))
        return {name: float(numpy.mean(shares)) for name, shares in held.items()}

    def resampled(self, size: tuple[int, int, int], accuracy: float, effect: float) -> float:
        """How often the plain bootstrap's interval of the accuracy holds it."""
        [arm] = self.arms(size, [accuracy], effect, self.studies // 4)
        ends = numpy.array([bootstrap_interval(study) for study in arm])
        return share((ends[:, 0], ends[:, 1]), accuracy)

    def ranges(self, n: int, accuracies: list[float]) -> dict[str, float]:
        """How often the intervals of lowest, median, highest accuracy and their spread hold the truth."""
        values = min(accuracies), float(numpy.median(accuracies)), max(accuracies), max(accuracies) - min(accuracies)
        truth = dict(zip(RANGES, values, strict=True))
        held = dict.fromkeys(RANGES, 0)
        for chunk in self.chunks((n, 1, 1), accuracies, 0):
            for study in range(CHUNK):
                found = spread_over(chunk[:, study])
                for name, value in truth.items():
                    _, low, high = getattr(found, name)
                    held[name] += low - 1e-9 <= value <= high + 1e-9
        return {name: count / self.studies for name, count in held.items()}


def share(ends: tuple[numpy.ndarray, numpy.ndarray], truth: float) -> float:
    return float(((ends[0] <= truth) & (truth <= ends[1])).mean())


def normal_coverage(quantile: Callable, seeds: int, share: float, confidence: float = 0.95) -> float:
    """How often an interval holds the mean of normal values of which the seeds contribute this share of the variance.

    It is computed: over the estimates that so many seeds give of their variance, with that of the questions known.
    """
    estimates = share * chi2.ppf((numpy.arange(4000) + 0.5) / 4000, seeds - 1) / (seeds - 1)
    variance = estimates + 1 - share
    ends = quantile(estimates / variance, seeds, (1 + confidence) / 2) * numpy.sqrt(variance)
    return float((2 * norm.cdf(ends) - 1).mean())


def normal_rows() -> list[str]:
    rows = []
    for confidence, seeds in itertools.product((0.95, 0.99), (2, 3, 5, 10)):
        found = [[100 * normal_coverage(q, seeds, share, confidence) for share in SHARES] for q in QUANTILES.values()]
        ranges = " | ".join(f"{min(each):.1f} to {max(each):.1f}" for each in found)
        rows.append(f"| {100 * confidence:.0f} | {seeds} | {ranges} |")
    return rows


def power(n: int, discordance: float) -> tuple[float, float]:
    """The difference that is said to be detectable, and with what probability McNemar's exact test finds it."""
    difference = connor_difference(n, discordance)
    discordance = max(discordance, difference)
    wins, pairs = (1 + difference / discordance) / 2, numpy.arange(n + 1)
    most = binom.ppf(0.025, pairs, 0.5) - 1  # of the fewer wins, for a p below 5 %
    found = binom.cdf(most, pairs, wins) + binom.sf(pairs - most - 1, pairs, wins)
    return difference, float((binom.pmf(pairs, n, discordance) * found).sum())


def pooled_tables(studies: Studies) -> tuple[dict[str, list[str]], list[tuple]]:
    """The rows of each table, and which scenarios miss."""
    rows: dict[str, list[str]] = {}
    missed = []
    for size in SIZES:
        effects = SEED_EFFECTS if size[1] > 1 else (0,)
        scenarios = list(itertools.product(ACCURACIES, GAPS, effects))
        found = {scenario: studies.coverages(size, *scenario) for scenario in scenarios}
        name = " | ".join(map(str, size))
        for what in ("accuracy", "difference", "interaction"):
            rates = [each[what] for each in found.values()]
            rows.setdefault(f"Interval of the {what}: coverage", []).append(f"| {name} | {line(rates, 0.95)} |")
            missed += [(what, size, scenario, each[what]) for scenario, each in found.items() if misses(each[what])]
        for what in ("difference", "interaction"):
            rates = [1 - each[what] for (_, gap, _), each in found.items() if not gap]
            title = f"Test of the {what}: rejected at 5 % where there is none"
            rows.setdefault(title, []).append(f"| {name} | {line(rates, 0.05)} |")
        if size[1] > 1 and size[0] == 200:
            rates = [studies.resampled(size, *each) for each in itertools.product(ACCURACIES[1:3], effects)]
            title = "For comparison, the plain two-level bootstrap of the accuracy: coverage"
            rows.setdefault(title, []).append(f"| {name} | {line(rates, 0.95)} |")
        print(name, flush=True)
    return rows, missed


def misses(coverage: float) -> bool:
    return abs(round(coverage - 0.95, 9)) > TOLERANCE


def repeated_rows(studies: Studies, missed: list[tuple]) -> list[str]:
    rows = []
    for what, size, scenario, rate in missed:
        again = studies.coverages(size, *scenario)[what]
        cells = (what, *size, *scenario, f"{100 * rate:.1f}", f"{100 * again:.1f}", "yes" if misses(again) else "")
        rows.append(f"| {' | '.join(map(str, cells))} |")
    return rows


def range_rows(studies: Studies) -> list[str]:
    rows = []
    for n, k in itertools.product((200, 1319), PROMPTS):
        equal, apart = [0.5] * k, list(numpy.linspace(0.4, 0.6, k))
        one = [0.5] * (k - 1) + [0.6]
        found = [studies.ranges(n, accuracies) for accuracies in (equal, apart, one)]
        rows += [f"| {n} | {k} | {name} | {line([each[name] for each in found], 0.95)} |" for name in RANGES]
        print(n, k, flush=True)
    return rows


def report(count: int, seed: int) -> str:
    studies, more = Studies(count, seed), Studies(8 * count, seed + 1)
    figures = "lowest | mean | highest | too low | too high |"
    pooled, missed = pooled_tables(studies)
    head = f"| n | seeds | answers | {figures}\n|--:|--:|--:|--:|--:|--:|--:|--:|"
    parts = [f"## {title}\n\n{head}\n" + "\n".join(rows) for title, rows in pooled.items()]
    which = "| interval of the | n | seeds | answers | accuracy | gap | seeds' effect | coverage | repeated | misses |"
    repeated = "\n".join((which, "|---" + "|--:" * 8 + "|---|", *repeated_rows(more, missed)))
    over = f"| n | prompts | of the | {figures}\n|--:|--:|---|--:|--:|--:|--:|--:|\n" + "\n".join(range_rows(studies))
    powers = [(n, d, *power(n, d)) for n, d in POWERED]
    rows = [f"| {n} | {100 * d:.0f} | {100 * size:.1f} | {100 * found:.1f} |" for n, d, size, found in powers]
    table = "| n | discordant | detectable | found |\n|--:|--:|--:|--:|\n" + "\n".join(rows)
    normal = f"| % | seeds | {' | '.join(QUANTILES)} |\n|--:|--:{'|---' * len(QUANTILES)}|\n" + "\n".join(normal_rows())
    intro = (
        f"Each scenario is {count} simulated studies (`{Path(__file__).name}` lists them). Rates are in"
        " percent; the last two columns count the scenarios that miss 95 or 5 % by more than 1.5 points."
    )
    again = f"Repeated with {more.studies} other studies, which chance moves a third as much."
    parts += [f"## The scenarios whose coverage is too low or too high\n\n{again}\n\n{repeated}"]
    parts += [f"## Normal values: coverage, whatever the seeds' share of the variance\n\n{WHY}\n\n{normal}"]
    parts += [f"## Intervals over prompts: coverage\n\nAll alike, evenly apart, and one apart from the rest.\n\n{over}"]
    parts += [f"## The detectable difference: how often McNemar's exact test finds it, to be 80 %\n\n{table}"]
    return "\n\n".join(("# Seeds, interactions, prompts", intro, *parts)) + "\n"


if __name__ == "__main__":
    write_page(Path(__file__), __doc__, report)
