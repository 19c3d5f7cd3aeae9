"""What a contrast says, in a sentence.

A side is said to beat the other, or to be ahead, only where no grading rule contradicts. Where rules disagree (two
differences have opposite signs, or another rule's is significant and the default rule's is not) the sentence names
what each of them says instead. A rule under which no side has a right answer has no say, and a difference that rests on
a few questions only, too few for McNemar's test, contradicts nothing.

A rule that finds hardly one of a side's right answers compares how answers are written: `disagreement` tells the
verdicts that depend on such rules alone from those in which rules differ about what they can read, and among these a
sign that changes from a p that crosses the line.
"""

from collections.abc import Sequence
from dataclasses import replace

from chattpl.report.families import FAMILIES, Contrast, Family
from chattpl.report.stats import PairedComparison
from chattpl.report.text import escape, interval, p_value, points
from chattpl.results import DEFAULT_RULE

SIGNIFICANT = 0.05
LEAST_QUESTIONS = 6  # answered differently: with five, the smallest p of McNemar's test is 2 / 2^5
LEAST_FOUND = 0.1  # of a side's right answers, by a rule that is said to read that side
# What a contrast can show.
UNPAIRED, DEPENDS, CHANCE, PERHAPS, CLEAR = "unpaired", "depends", "chance", "perhaps", "clear"
# What a verdict that depends on the grading rule depends on.
SIGN, SIGNIFICANCE, FORM = "which side is higher", "whether that is significant", "what a rule reads"


def sentence(contrast: Contrast, tests: int) -> str:
    """What a contrast says, among so many `tests`; without a full stop."""
    family = FAMILIES[contrast.family]
    return f"{family.about.format(group=escape(contrast.group))}: {_meaning(family, contrast, tests)}"


def outcome(contrast: Contrast) -> str:
    """What it shows: CLEAR a difference, PERHAPS one, CHANCE, DEPENDS on the grading rule; or UNPAIRED."""
    if not contrast.by_rule:
        return UNPAIRED
    found = contrast.by_rule[DEFAULT_RULE]
    significant = any(is_significant(each) for each in _reading(contrast).values())
    chance = found.ci_low <= 0 <= found.ci_high
    if (_is_opposed(contrast) and (significant or not chance)) or (significant and not is_significant(found)):
        return DEPENDS
    if chance:
        return CHANCE
    return CLEAR if is_significant(found) else PERHAPS


def missed(contrast: Contrast, rule: str) -> list[int]:
    """The places of the sides of which the rule finds hardly a right answer: under a tenth of the default rule's."""
    found = zip(contrast.accuracies[rule], contrast.accuracies[DEFAULT_RULE], strict=True)
    return [place for place, (here, by_default) in enumerate(found) if here < LEAST_FOUND * by_default]


def disagreement(contrast: Contrast) -> str:
    """What the verdict depends on with the grading rule; empty where it does not.

    FORM where only rules dissent that find hardly a right answer of one side; else what the others differ in: the SIGN,
    or only the SIGNIFICANCE.
    """
    if outcome(contrast) != DEPENDS:
        return ""
    by_rule = {rule: each for rule, each in contrast.by_rule.items() if not missed(contrast, rule)}
    of_both = replace(contrast, by_rule=by_rule)
    if outcome(of_both) != DEPENDS:
        return FORM
    return SIGN if _is_opposed(of_both) else SIGNIFICANCE


def _meaning(family: Family, contrast: Contrast, tests: int) -> str:
    """What the differences say, in one sentence."""
    first, second = (family.side.format(name=escape(name)) for name in (contrast.first, contrast.second))
    shows = outcome(contrast)
    if shows == UNPAIRED:
        return f"{first} and {second} are not compared, because {escape(contrast.problem)}"
    found = contrast.by_rule[DEFAULT_RULE]
    reading = _reading(contrast)
    if shows == DEPENDS:
        return f"{_disagreement(contrast, first, second, reading)}{_silent(contrast)}"
    if shows == CHANCE:
        return f"{_no_difference(first, second, found)}{_silent(contrast)}"
    return f"{_winner(family, first, second, found, tests)}{_agreement(reading)}{_silent(contrast)}"


def _disagreement(contrast: Contrast, first: str, second: str, reading: dict[str, PairedComparison]) -> str:
    sides: dict[str, list[str]] = {}
    for rule, each in reading.items():
        words = f"{first if each.difference > 0 else second} is higher" if each.difference else "both are equal"
        size = f" (by {marked(each).lstrip('+-')}{_blind(contrast, rule)})" if each.difference else ""
        sides.setdefault(words, []).append(f"{escape(rule)}{size}")
    said = [f"{words} under {listed(rules)}" for words, rules in sides.items()]
    return f"{_open_question(contrast, first, second)}: {'; '.join(said)}"


def _open_question(contrast: Contrast, first: str, second: str) -> str:
    """What depends on the grading rule."""
    what = {
        SIGN: f"which of {first} and {second} is higher depends on the grading rule",
        SIGNIFICANCE: f"whether the difference between {first} and {second} is significant depends on the grading rule",
        FORM: f"the verdict on {first} and {second} depends on whether a grading rule reads the form of their answers",
    }
    return what[disagreement(contrast)]


def _blind(contrast: Contrast, rule: str) -> str:
    """Where a rule finds no or hardly a right answer of one side, it may not read that side's form at all."""
    places = missed(contrast, rule)
    if not places:
        return ""
    names = (contrast.first, contrast.first, contrast.second, contrast.second)[:: 4 // len(contrast.sides)]
    count = "hardly any" if any(contrast.accuracies[rule][place] for place in places) else "no"
    return f", finding {count} right answer of {listed(list(dict.fromkeys(escape(names[place]) for place in places)))}"


def _no_difference(first: str, second: str, found: PairedComparison) -> str:
    return (
        f"no difference between {first} and {second} can be told apart from chance at n={found.n}:"
        f" the interval {interval(found.ci_low, found.ci_high)} includes 0"
    )


def _winner(family: Family, first: str, second: str, found: PairedComparison, tests: int) -> str:
    ahead = found.difference > 0
    winner, loser = (first, second) if ahead else (second, first)
    low, high = (found.ci_low, found.ci_high) if ahead else (-found.ci_high, -found.ci_low)
    size = f"by {abs(100 * found.difference):.1f} points {interval(low, high)}"
    if is_significant(found):
        return f"{winner} {family.exceeds} {loser} {size}, {p_value(found.p_holm)}"
    return (
        f"{winner} is ahead of {loser} {size}, but with {p_value(found.p_holm)} among {tests} comparisons it may be"
        " chance"
    )


def _agreement(reading: dict[str, PairedComparison]) -> str:
    return ", and no other grading rule contradicts" if len(reading) > 1 else ""


def _silent(contrast: Contrast) -> str:
    rules = [escape(rule) for rule in contrast.by_rule if not reads(contrast, rule)]
    return f" (neither has a right answer under {listed(rules)})" if rules else ""


def reads(contrast: Contrast, rule: str) -> bool:
    """Whether the rule found any right answer."""
    return any(contrast.accuracies[rule])


def _reading(contrast: Contrast) -> dict[str, PairedComparison]:
    return {rule: each for rule, each in contrast.by_rule.items() if reads(contrast, rule)}


def _is_opposed(contrast: Contrast) -> bool:
    """Whether rules differ in the sign of the difference."""
    return len({each.difference > 0 for each in _reading(contrast).values() if _can_contradict(each)}) > 1


def _can_contradict(found: PairedComparison) -> bool:
    enough = found.only_first + found.only_second >= LEAST_QUESTIONS
    return bool(found.difference) and (enough or is_significant(found))


def is_significant(found: PairedComparison) -> bool:
    """Whether p is small after Holm's adjustment, and 0 outside the interval."""
    return found.p_holm < SIGNIFICANT and not found.ci_low <= 0 <= found.ci_high


def marked(found: PairedComparison) -> str:
    """The difference in points, with an asterisk if it is significant."""
    return f"{points(found.difference)}{'*' if is_significant(found) else ''}"


def listed(words: Sequence[str]) -> str:
    """Some words as a list in a sentence."""
    *others, last = words
    return f"{', '.join(others)} and {last}" if others else last
