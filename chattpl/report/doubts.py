"""What a finding may hang on, in short: the grading rule and the wording of the instruction."""

from collections.abc import Collection, Iterator, Sequence

from chattpl.report.contrasts import rules_of
from chattpl.report.families import FAMILIES, Contrast
from chattpl.report.findings import Findings
from chattpl.report.sentences import FORM, SIGN, SIGNIFICANCE, disagreement, listed, missed
from chattpl.report.spread import Spread
from chattpl.report.text import escape, percent
from chattpl.results import DEFAULT_RULE

MOST_NAMES = 6  # that a sentence lists; of more it says how many they are


def of_grading(contrasts: Sequence[Contrast]) -> Iterator[str]:
    """In how many comparisons the sign changes with the grading rule, and in how many only what is significant."""
    if len(rules_of(contrasts)) == 1:
        return
    tests = {contrast.test: contrast for contrast in contrasts}.values()
    hang: dict[str, list[Contrast]] = {}
    for each in tests:
        hang.setdefault(disagreement(each), []).append(each)
    question, changes = "**Does that depend on how answers are graded?**", "changes with the grading rule"
    signs, sizes, forms = (hang.get(kind, []) for kind in (SIGN, SIGNIFICANCE, FORM))
    if not (signs or sizes or forms):
        verdicts = "the one verdict" if len(tests) == 1 else f"the {len(tests)} verdicts"
        yield f"{question} No: every grading rule agrees with {verdicts}, or cannot tell."
        return
    if signs:
        answer = "Yes" if len(signs) == len(tests) else "In part"
        said = f"{answer}: which side is higher {changes} in {_among(signs, tests)}{_those(signs)}."
    else:
        said = "Not which side is higher, among rules that recognise the answers of both sides."
    if sizes:
        said += f" Only whether the difference is significant {changes} in {_among(sizes, tests)}{_those(sizes)}."
    if forms:
        said += f" {_unread(forms, tests)}"
    yield f"{question} {said}"


def _among(some: Collection[Contrast], of: Collection[Contrast]) -> str:
    if len(of) == 1:
        return "the one comparison"
    return f"{len(some)} of {len(of)} comparisons" if len(some) < len(of) else f"all {len(of)} comparisons"


def _those(contrasts: Sequence[Contrast]) -> str:
    """Their names, where they are few."""
    if len(contrasts) > MOST_NAMES:
        return ""
    return f": {listed([escape(FAMILIES[each.family].named.format(**vars(each))) for each in contrasts])}"


def _unread(forms: Sequence[Contrast], among: Collection[Contrast]) -> str:
    """Where a rule dissents only because it does not read what one side writes."""
    rules = [escape(rule) for rule in rules_of(forms) if any(missed(each, rule) for each in forms)]
    return (
        f"In {_among(forms, among)} the verdict changes only under {listed(rules)}, which"
        f" {'recognises' if len(rules) == 1 else 'recognise'} hardly any right answer of one side, because that side"
        " writes its answers in another form."
    )


def of_wording(findings: Findings) -> Iterator[str]:
    """How far a model's accuracy goes over wordings in one format; or that the study cannot tell."""
    question, cannot = "**Does it depend on the wording of the instruction?**", "This study cannot tell"
    wordings = {cell.wording for arm in findings.arms for cell in arm.cells.values()}
    if len(wordings) == 1:
        [name] = wordings
        yield f"{question} {cannot}: all cells were asked in one{f' ({escape(name)})' if name else ''}."
    elif not findings.rewordings:
        yield f"{question} {cannot}: no model was asked in several in one format, the same questions each time."
    else:
        yield f"{question} {_over_wordings(findings.rewordings)}"


def _over_wordings(rewordings: Sequence[Spread]) -> str:
    ranges = [each.by_rule[DEFAULT_RULE] for each in rewordings]
    differ = [each for each in ranges if each.spread[1] > 0]
    answer = "Yes" if len(differ) == len(ranges) else "In part" if differ else "Not that this study could show"
    most = max(range(len(ranges)), key=lambda place: ranges[place].spread[0])
    worst, best, found = rewordings[most].worst, rewordings[most].best, ranges[most]
    return (
        f"{answer}: in one format, a model's best and worst wording are {between([each.spread[0] for each in ranges])}"
        f" points apart, significantly in {len(differ)} of {len(ranges)} cases (by 95 % intervals that allow for which"
        f" are best and worst); most for {escape(rewordings[most].model)}: {percent(found.lowest[0])} in"
        f" {escape(worst)}; {percent(found.highest[0])} in {escape(best)}."
    )


def between(values: Sequence[float]) -> str:
    """Fractions of one in percent, from the lowest to the highest."""
    low, high = percent(min(values)), percent(max(values))
    return low if low == high else f"{low} to {high}"
