"""The report in a few sentences, made from the figures: what the template does, how sure that is, what it hangs on."""

import statistics
from collections.abc import Iterator, Sequence

from chattpl.report.doubts import MOST_NAMES, between, of_grading, of_wording
from chattpl.report.families import FAMILIES, Contrast, Family
from chattpl.report.findings import Findings
from chattpl.report.lost_answers import split_shown
from chattpl.report.sentences import SIGNIFICANT, is_significant, listed
from chattpl.report.split import FAILED, Gap
from chattpl.report.study import Study
from chattpl.report.text import escape, percent
from chattpl.results import DEFAULT_RULE

MOST_WINNERS = 4


def brief(study: Study) -> str:
    """The sentences as a list; empty where nothing was compared."""
    findings = study.findings
    compared = [each for each in findings.contrasts if each.by_rule]
    if not compared:
        return ""
    families = {name: [each for each in compared if each.family == name] for name in findings.families}
    told = {name: members for name, members in families.items() if members}
    lines = [_answer(name, members, explain=name == next(iter(told))) for name, members in told.items()]
    lines += [*of_grading(compared), *of_wording(findings), _certainty(findings, compared), *_losses(study)]
    return "\n".join(f"* {line}" for line in lines)


def _answer(name: str, contrasts: Sequence[Contrast], explain: bool) -> str:
    """How many of a family's differences are significant, which side is higher in them, and by how much."""
    family = FAMILIES[name]
    found = [each for each in contrasts if is_significant(each.by_rule[DEFAULT_RULE])]
    if not found:
        none = "the one difference is not" if len(contrasts) == 1 else f"none of {len(contrasts)} differences is"
        return f"**{family.question}** Not that this study could show: {none} significant."
    sizes = between([abs(each.by_rule[DEFAULT_RULE].difference) for each in found])
    level = f"; p < {SIGNIFICANT} after Holm's correction" if explain else ""
    return (
        f"**{family.question}** {_yes_or_no(family, found, len(contrasts))}: {_how_many(len(found), len(contrasts))}"
        f" significant ({sizes} points{level}); {_sides(family, found)}."
    )


def _yes_or_no(family: Family, found: Sequence[Contrast], among: int) -> str:
    """The answer to the family's question, from its significant contrasts; where it asks for a side, for the first."""
    saying_yes = [each for each in found if not family.asks_for_first or each.by_rule[DEFAULT_RULE].difference > 0]
    if not saying_yes:
        return "No"
    return "Yes" if len(saying_yes) == among else "In part"


def _how_many(number: int, among: int) -> str:
    if number < among:
        return f"{number} of {among} differences {'is' if number == 1 else 'are'}"
    return {1: "the one difference is", 2: "both differences are"}.get(among, f"all {among} differences are")


def _sides(family: Family, contrasts: Sequence[Contrast]) -> str:
    """Which side is higher, and in what."""
    higher: dict[str, list[str]] = {}
    of_many = len(contrasts) > len({each.group for each in contrasts}) and "{first}" in family.higher[0]
    sides = family.higher_of_many if of_many else family.higher
    for each in contrasts:
        ahead = each.by_rule[DEFAULT_RULE].difference > 0
        words = sides[0 if ahead else 1].format(first=escape(each.first), second=escape(each.second))
        higher.setdefault(words, []).append(escape(family.member.format(**vars(each))))
    ranked = sorted(higher.items(), key=lambda item: -len(item[1]))
    said = [f"{words} {_named(members, len(contrasts))}".rstrip() for words, members in ranked[:MOST_WINNERS]]
    return ", ".join(said) + (", and so on" if len(ranked) > MOST_WINNERS else "")


def _named(members: Sequence[str], among: int) -> str:
    """These by name, or how many they are where names would tell nothing or be too many."""
    if len(members) == among:
        return "in all of them" if among > 1 else ""
    names = list(dict.fromkeys(members))
    return f"for {listed(names)}" if len(members) <= MOST_NAMES else f"in {len(members)}"


def _certainty(findings: Findings, contrasts: Sequence[Contrast]) -> str:
    """What the test set could have shown, and what seeds tell or do not."""
    found = [each.by_rule[DEFAULT_RULE] for each in contrasts]
    sizes, questions = [each.detectable for each in found], [each.n for each in found]
    several = f" ({between(sizes)}, by comparison)" if between(sizes) != percent(max(sizes)) else ""
    asked = f"{min(questions)} to {max(questions)}" if min(questions) < max(questions) else str(max(questions))
    return (
        f"**How sure is that?** With {asked} questions, differences below {percent(statistics.median(sizes))}"
        f" points{several} would often have been missed. {' '.join(_seeds(findings))}"
    ).strip()


def _seeds(findings: Findings) -> Iterator[str]:
    trained = {arm.model: len(arm.cells) for arm in findings.arms if arm.train_format is not None}
    single = sum(seeds == 1 for seeds in trained.values())
    spreads = [pool.by_rule[DEFAULT_RULE].sd for pool in findings.pools]
    if spreads:
        yield (
            f"Between seeds, accuracies have a standard deviation of {between(spreads)} points, which intervals and"
            " p values allow for."
        )
    if single:
        which = "Each model was" if single == len(trained) else f"{single} of {len(trained)} models were"
        yield (
            f"{which} trained once, with one seed: intervals and p values say what other questions would change, not"
            " what another training would."
        )


def _losses(study: Study) -> Iterator[str]:
    """Whether models lose in form or in reasoning where a format is significantly worse."""
    significant = {
        contrast.test
        for contrast in study.findings.contrasts
        if contrast.family == "formats" and contrast.by_rule and is_significant(contrast.by_rule[DEFAULT_RULE])
    }
    found = [(contrast, gap) for contrast, gap in study.gaps if contrast.test in significant]
    by_form = [each for each in found if _is_form(each[1])]
    by_reasoning = [each for each in found if not _is_form(each[1])]
    said = []
    if by_form:
        cells = _cells(study, by_form, failures=True)
        said.append(f"Mostly form, that is, answers that ran on, were cut off or are missing: {cells}")
    if by_reasoning:
        said.append(f"Mostly reasoning, that is, complete answers with a wrong result: {_cells(study, by_reasoning)}")
    if said:
        yield f"**What went wrong in the worse format?** {'. '.join(said)}."


def _is_form(gap: Gap) -> bool:
    return gap.form * gap.total > gap.reasoning * gap.total


def _cells(study: Study, found: Sequence[tuple[Contrast, Gap]], failures: bool = False) -> str:
    """The cells that lost, with the most frequent failure of form of each where that is asked for."""
    if len(found) > MOST_NAMES:
        return f"{len(found)} comparisons"
    said = []
    for contrast, gap in found:
        label = f"{contrast.group} in {contrast.second if gap.total > 0 else contrast.first}"
        kinds = [split_shown(study, shown) for shown in study.shown if shown.label == label]
        worst = max(FAILED, key=lambda kind: kinds[0].get(kind, 0)) if kinds else ""
        share = f" ({percent(kinds[0][worst], 0)} % {worst})" if failures and kinds else ""
        said.append(f"{escape(label)}{share}")
    return listed(said)
