"""The report in a few sentences, made from the figures: what the template does, how sure that is, what it hangs on."""

import statistics
from collections import Counter
from collections.abc import Iterator, Sequence

from chattpl.report.contrasts import rules_of
from chattpl.report.families import FAMILIES, Contrast
from chattpl.report.findings import Findings
from chattpl.report.sentences import CHANCE, CLEAR, DEPENDS, PERHAPS, outcome, sentence
from chattpl.report.text import escape, percent
from chattpl.results import DEFAULT_RULE

SHOWS = {
    CLEAR: "{count} beyond chance",
    DEPENDS: "{count} depending on the grading rule",
    PERHAPS: "{count} perhaps chance among so many comparisons",
    CHANCE: "{count} not to be told apart from chance",
}


def brief(findings: Findings) -> str:
    """The sentences as a list; empty where nothing was compared."""
    compared = [each for each in findings.contrasts if each.by_rule]
    families = {name: [each for each in compared if each.family == name] for name in findings.families}
    lines = [_tally(name, members) for name, members in families.items() if members]
    lines[2:] = [" ".join(lines[2:])] if lines[2:] else []  # what a format is worth to its own training is one matter
    if lines:
        lines += [*_grading(compared), _power(compared), *_seeds(findings)]
    return "\n".join(f"* {line}" for line in lines)


def _tally(name: str, contrasts: Sequence[Contrast]) -> str:
    """How many of a family's differences are beyond chance, which side is higher in them, and by how much."""
    if len(contrasts) == 1:
        return f"{sentence(contrasts[0], tests=1)}."
    shown = {each: [contrast for contrast in contrasts if outcome(contrast) == each] for each in SHOWS}
    parts = [SHOWS[each].format(count=len(members)) for each, members in shown.items() if members]
    if shown[CLEAR]:
        parts[0] += f" ({_sides(name, shown[CLEAR])}, {_sizes(shown[CLEAR])})"
    return f"{FAMILIES[name].title}: {len(contrasts)} differences, {'; '.join(parts)}."


def _sides(name: str, contrasts: Sequence[Contrast]) -> str:
    higher: Counter[str] = Counter()
    for contrast in contrasts:
        first = contrast.by_rule[DEFAULT_RULE].difference > 0
        words = FAMILIES[name].higher[0 if first else 1]
        higher[words.format(first=escape(contrast.first), second=escape(contrast.second))] += 1
    return ", ".join(f"{words} in {count}" for words, count in higher.items())


def _sizes(contrasts: Sequence[Contrast]) -> str:
    sizes = [abs(contrast.by_rule[DEFAULT_RULE].difference) for contrast in contrasts]
    return f"by {_between(sizes)} points"


def _between(values: Sequence[float]) -> str:
    low, high = percent(min(values)), percent(max(values))
    return low if low == high else f"{low} to {high}"


def _grading(contrasts: Sequence[Contrast]) -> Iterator[str]:
    if len(rules_of(contrasts)) > 1:
        tests = {contrast.test: outcome(contrast) for contrast in contrasts}
        hang = sum(shown == DEPENDS for shown in tests.values())
        found = f"{hang} of {len(tests)} comparisons" if hang else f"none of the {len(tests)} comparisons"
        yield f"Grading: the verdict of {found} depends on the rule by which an answer is read."


def _power(contrasts: Sequence[Contrast]) -> str:
    sizes = [contrast.by_rule[DEFAULT_RULE].detectable for contrast in contrasts]
    several = f" ({_between(sizes)}, by comparison)" if _between(sizes) != percent(max(sizes)) else ""
    return (
        f"Sensitivity: a true difference of {percent(statistics.median(sizes))} points{several} is found in four of"
        " five studies like this one; that no smaller one was seen says little."
    )


def _seeds(findings: Findings) -> Iterator[str]:
    trained = {arm.model: len(arm.cells) for arm in findings.arms if arm.train_format is not None}
    single = sum(seeds == 1 for seeds in trained.values())
    spreads = [pool.by_rule[DEFAULT_RULE].sd for pool in findings.pools]
    if spreads:
        yield (
            f"Seeds: between seeds accuracies differ by a standard deviation of {_between(spreads)} points; intervals"
            " and p values allow for it."
        )
    if single:
        which = "each model was" if single == len(trained) else f"{single} of {len(trained)} models were"
        yield (
            f"One seed: {which} trained once, so intervals and p values say what other questions would change, and not"
            " what training once more would."
        )
