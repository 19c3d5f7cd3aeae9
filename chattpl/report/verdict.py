"""The sections on the contrasts: for each family two tables and a sentence for each contrast."""

from collections.abc import Sequence

from chattpl.report.contrasts import rules_of
from chattpl.report.families import FAMILIES, Contrast, Family
from chattpl.report.sentences import LEAST_QUESTIONS, SIGNIFICANT, marked, reads, sentence
from chattpl.report.stats import PairedComparison
from chattpl.report.text import NONE, escape, interval, p_value, percent, points, table
from chattpl.results import DEFAULT_RULE

FEW_QUESTIONS = 200  # below, intervals and tests are approximate: benchmarks/intervals.md
MOST_ROWS = 40  # that a reader looks through; contrasts.csv has all


def verdicts(families: Sequence[str], contrasts: Sequence[Contrast]) -> dict[str, str]:
    """The sections of these families, title to Markdown; the first says how to read the tables of all."""
    sections: dict[str, str] = {}
    told: set[frozenset[str]] = set()
    for name in families:
        members = [each for each in contrasts if each.family == name]
        explain = not any(contrast.by_rule for contrast in contrasts if FAMILIES[contrast.family].title in sections)
        sections[FAMILIES[name].title] = _section(FAMILIES[name], members, explain, told)
        told |= {contrast.test for contrast in members}
    return sections


def _section(family: Family, contrasts: list[Contrast], explain: bool, told: set[frozenset[str]]) -> str:
    """Tables, notes and a sentence for each contrast that was not told already."""
    if not contrasts:
        return family.nothing
    compared = [contrast for contrast in contrasts if contrast.by_rule]
    shown, rules = _most_telling(compared), rules_of(compared)
    parts = [_default_table(family, shown)] if compared else []
    notes = [_how_to_read(shown) if explain else "", family.note, _count(compared, shown)]
    parts += [" ".join(note for note in notes if note)] if compared else []
    new = [each for each in shown + [each for each in contrasts if not each.by_rule] if each.test not in told]
    parts += [_rules_table(family, shown, rules, explain)] if new and len(rules) > 1 else []
    lines = [f"* {sentence(contrast, len(compared))}." for contrast in new]
    return "\n\n".join((*parts, *(["\n".join(lines)] if lines else [])))


def _most_telling(contrasts: list[Contrast]) -> list[Contrast]:
    """All of them, or of too many those with the smallest p under the default rule, in their own order."""
    smallest = sorted(contrasts, key=lambda each: each.by_rule[DEFAULT_RULE].p)[:MOST_ROWS]
    kept = {id(contrast) for contrast in smallest}
    return [contrast for contrast in contrasts if id(contrast) in kept]


def _default_table(family: Family, contrasts: list[Contrast]) -> str:
    header = (
        *family.columns,
        "n",
        "only first",
        "only second",
        "difference",
        "95 % interval",
        "p (Holm)",
        "detectable",
    )
    rows = [(*_names(contrast), *_default_row(contrast.by_rule[DEFAULT_RULE])) for contrast in contrasts]
    return table(header, rows, numbers_from=2)


def _count(compared: list[Contrast], shown: list[Contrast]) -> str:
    tests = f"Holm's adjustment is over all comparisons of this section: {len(compared)}."
    left = len(compared) - len(shown)
    return f"{tests} The {left} with the largest p are in contrasts.csv alone." if left else tests


def _how_to_read(contrasts: list[Contrast]) -> str:
    note = (
        "Paired by sample: both sides answered the same n questions, of which the first or the second alone got some"
        " right (where several answers were drawn: a larger share of them). Differences are in points, with Newcombe's"
        " interval for paired proportions (method 10); p is that of McNemar's exact test, or, with several answers,"
        " follows from the interval, which is then clustered by question. Detectable is the smallest true difference"
        " that four of five studies like this one would find: as many questions, answered differently as often."
    )
    if any(found.n < FEW_QUESTIONS for contrast in contrasts for found in contrast.by_rule.values()):
        note += (
            f" With fewer than {FEW_QUESTIONS} questions these are approximate: in simulations of 50 and 100, intervals"
            " of 95 % covered as little as 92 %, and McNemar's exact test at 5 % found a difference where there is none"
            " in 2 to 3 % of them."
        )
    if not any(found.seeds > 1 for contrast in contrasts for found in contrast.by_rule.values()):
        return note
    return (
        f"{note} Models that differ in their seed alone are taken together: the difference is that of their means, the"
        " interval is over seeds and questions, and p follows from it."
    )


def _rules_table(family: Family, contrasts: list[Contrast], rules: list[str], explain: bool) -> str:
    header = (*family.columns, *(escape(rule) for rule in rules))
    rows = [(*_names(each), *(_difference_under(each, rule) for rule in rules)) for each in contrasts]
    note = (
        f"The same differences under every grading rule; the table above is that of {DEFAULT_RULE}. An asterisk marks"
        f" an interval without 0 and p < {SIGNIFICANT}, adjusted over the comparisons under that rule; {NONE} stands"
        " where neither side has a right answer. A difference that rests on fewer than"
        f" {LEAST_QUESTIONS} questions, and is not significant, contradicts no other. Intervals and p values are in"
        " contrasts.csv."
    )
    return "\n\n".join((table(header, rows, numbers_from=2), *([note] if explain else [])))


def _names(contrast: Contrast) -> tuple[str, str]:
    return escape(contrast.group), f"{escape(contrast.first)} against {escape(contrast.second)}"


def _default_row(found: PairedComparison) -> tuple[str, ...]:
    return (
        *(str(found.n), str(found.only_first), str(found.only_second), points(found.difference)),
        *(interval(found.ci_low, found.ci_high), p_value(found.p_holm).removeprefix("p = ").removeprefix("p ")),
        percent(found.detectable),
    )


def _difference_under(contrast: Contrast, rule: str) -> str:
    found = contrast.by_rule.get(rule)
    return marked(found) if found and reads(contrast, rule) else NONE
