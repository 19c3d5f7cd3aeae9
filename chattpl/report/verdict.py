"""What the contrasts say: two tables and a sentence for each.

A format is said to beat the other, or to be ahead, only where no grading rule contradicts. Where rules disagree (two
differences have opposite signs, or another rule's is significant and the default rule's is not) the sentence names
what each of them says instead. A rule under which neither cell has a right answer has no say, and a difference that
rests on a few questions only, too few for McNemar's test, contradicts nothing.
"""

from chattpl.report.contrasts import Contrast, rules_of
from chattpl.report.stats import PairedComparison
from chattpl.report.text import NONE, escape, interval, p_value, table
from chattpl.results import DEFAULT_RULE

SIGNIFICANT = 0.05
LEAST_QUESTIONS = 6  # answered differently: with five, the smallest p of McNemar's test is 2 / 2^5


def verdicts(contrasts: list[Contrast]) -> str:
    """The section on the formats against each other, as Markdown."""
    if not contrasts:
        return "No model was evaluated in two formats, so there is nothing to compare."
    compared = [contrast for contrast in contrasts if contrast.by_rule]
    rules = rules_of(compared)
    parts = [_default_table(compared)] if compared else []
    parts += [_rules_table(compared, rules)] if len(rules) > 1 else []
    lines = [f"* Model {escape(each.group)}: {_meaning(each, len(compared))}." for each in contrasts]
    return "\n\n".join((*parts, "\n".join(lines)))


def _default_table(contrasts: list[Contrast]) -> str:
    header = ("model", "formats", "n", "only first", "only second", "difference", "95 % interval", "p (Holm)")
    rows = [(*_names(contrast), *_default_row(contrast.by_rule[DEFAULT_RULE])) for contrast in contrasts]
    note = (
        "Paired by sample: both formats answered the same n questions, of which the first or the second alone got some"
        " right (where several answers were drawn: a larger share of them). Differences are in points, with Newcombe's"
        " interval for paired proportions (method 10); p is McNemar's exact test, or with several answers follows from"
        " the interval, which is then clustered by question. Holm's adjustment is over all comparisons of this report:"
        f" {len(rows)}."
    )
    return f"{table(header, rows, numbers_from=2)}\n\n{note}"


def _rules_table(contrasts: list[Contrast], rules: list[str]) -> str:
    header = ("model", "formats", *(escape(rule) for rule in rules))
    rows = [(*_names(each), *(_difference_under(each, rule) for rule in rules)) for each in contrasts]
    note = (
        f"The same differences under every grading rule; the table above is that of {DEFAULT_RULE}. An asterisk marks"
        f" an interval without 0 and p < {SIGNIFICANT}, adjusted over the comparisons under that rule; {NONE} stands"
        " where neither format has a right answer. A difference that rests on fewer than"
        f" {LEAST_QUESTIONS} questions, and is not significant, contradicts no other. Intervals and p values are in"
        " contrasts.csv."
    )
    return f"{table(header, rows, numbers_from=2)}\n\n{note}"


def _names(contrast: Contrast) -> tuple[str, str]:
    return escape(contrast.group), f"{escape(contrast.first)} against {escape(contrast.second)}"


def _default_row(found: PairedComparison) -> tuple[str, ...]:
    return (
        *(str(found.n), str(found.only_first), str(found.only_second), f"{100 * found.difference:+.1f}"),
        *(interval(found.ci_low, found.ci_high), p_value(found.p_holm).removeprefix("p = ").removeprefix("p ")),
    )


def _difference_under(contrast: Contrast, rule: str) -> str:
    found = contrast.by_rule.get(rule)
    return _marked(found) if found and _reads(found) else NONE


def _meaning(contrast: Contrast, tests: int) -> str:
    """What the differences say, in one sentence."""
    first, second = escape(contrast.first), escape(contrast.second)
    if not contrast.by_rule:
        return f"{first} and {second} are not compared, because {escape(contrast.problem)}"
    found = contrast.by_rule[DEFAULT_RULE]
    reading = {rule: each for rule, each in contrast.by_rule.items() if _reads(each)}
    opposed = len({each.difference > 0 for each in reading.values() if _can_contradict(each)}) > 1
    significant = any(_is_significant(each) for each in reading.values())
    chance = found.ci_low <= 0 <= found.ci_high
    if (opposed and (significant or not chance)) or (significant and not _is_significant(found)):
        return f"{_disagreement(first, second, reading)}{_silent(contrast)}"
    if chance:
        return f"{_no_difference(first, second, found)}{_silent(contrast)}"
    return f"{_winner(first, second, found, tests)}{_agreement(reading)}{_silent(contrast)}"


def _disagreement(first: str, second: str, reading: dict[str, PairedComparison]) -> str:
    sides: dict[str, list[str]] = {}
    for rule, each in reading.items():
        words = f"{first if each.difference > 0 else second} is higher" if each.difference else "both are equal"
        size = f" (by {_marked(each).lstrip('+-')})" if each.difference else ""
        sides.setdefault(words, []).append(f"{escape(rule)}{size}")
    said = [f"{words} under {_listed(rules)}" for words, rules in sides.items()]
    return f"the verdict on {first} and {second} depends on the grading rule: {'; '.join(said)}"


def _no_difference(first: str, second: str, found: PairedComparison) -> str:
    return (
        f"no difference between {first} and {second} can be told apart from chance at n={found.n}:"
        f" the interval {interval(found.ci_low, found.ci_high)} holds 0"
    )


def _winner(first: str, second: str, found: PairedComparison, tests: int) -> str:
    ahead = found.difference > 0
    winner, loser = (first, second) if ahead else (second, first)
    low, high = (found.ci_low, found.ci_high) if ahead else (-found.ci_high, -found.ci_low)
    size = f"by {abs(100 * found.difference):.1f} points {interval(low, high)}"
    if _is_significant(found):
        return f"{winner} beats {loser} {size}, {p_value(found.p_holm)}"
    return (
        f"{winner} is ahead of {loser} {size}, but with {p_value(found.p_holm)} among {tests} comparisons it may be"
        " chance"
    )


def _agreement(reading: dict[str, PairedComparison]) -> str:
    return ", and no other grading rule contradicts" if len(reading) > 1 else ""


def _silent(contrast: Contrast) -> str:
    rules = [escape(rule) for rule, each in contrast.by_rule.items() if not _reads(each)]
    return f" (neither has a right answer under {_listed(rules)})" if rules else ""


def _reads(found: PairedComparison) -> bool:
    return found.accuracy_first > 0 or found.accuracy_second > 0


def _can_contradict(found: PairedComparison) -> bool:
    enough = found.only_first + found.only_second >= LEAST_QUESTIONS
    return bool(found.difference) and (enough or _is_significant(found))


def _is_significant(found: PairedComparison) -> bool:
    return found.p_holm < SIGNIFICANT and not found.ci_low <= 0 <= found.ci_high


def _marked(found: PairedComparison) -> str:
    return f"{100 * found.difference:+.1f}{'*' if _is_significant(found) else ''}"


def _listed(words: list[str]) -> str:
    *others, last = words
    return f"{', '.join(others)} and {last}" if others else last
