"""What the working of a reply comes to, where nothing is stated as the answer."""

import re
from collections.abc import Sequence
from fractions import Fraction

from chattpl.tasks.statements import Statement

_CONCLUSION = re.compile(
    r"[\s>*#-]*+(?:[0-9]{1,3}[.)]\s*+)?(?:so|therefore|thus|hence|consequently|in conclusion)\b", re.IGNORECASE
)
_CHECK = re.compile(r"\b(?:verif|confirm|check|ensure)", re.IGNORECASE)
_EXPLANATION = re.compile(r"[\s>*#-]*+(?:this|explanation|note|check|verification)\b", re.IGNORECASE)
_TAKEN_BACK = re.compile(
    r"\A\W*(?:(?:no|oh|but),? )?wait\b|\bI made an? (?:mistake|error)"
    r"|\b(?:that|this|it)(?:'s| is| was) (?:wrong|incorrect|not (?:right|correct))",
    re.IGNORECASE,
)
_OPEN_BOX = re.compile(r"\\(?:boxed|fbox)\s*+\{")
_NEAR = 3  # pieces


def is_conclusion(one: Statement) -> bool:
    """Whether the sentence says that it concludes: "Therefore, ..."."""
    return bool(_CONCLUSION.match(one.piece.text))


def takes_back(one: Statement) -> bool:
    """Whether the sentence takes back what was said before it: "Wait, that is wrong."."""
    text = one.piece.text
    return bool(_TAKEN_BACK.search(text)) and not _CHECK.search(text)


def opens_box(text: str) -> bool:
    """Whether a box is opened in a text that has no closed one."""
    return bool(_OPEN_BOX.search(text))


def last_sentence(statements: Sequence[Statement]) -> Fraction | None:
    """The number that the last sentence with a number comes to; what explains the answer is passed over."""
    told = (one.value for one in reversed(statements) if not _EXPLANATION.match(one.piece.text))
    return next((value for value in told if value is not None), None)


def before_closing(statements: Sequence[Statement], last: Statement | None) -> Fraction | None:
    """What the working comes to that ends before a sign of its end: an empty `####`, a check, an output of code.

    Args:
        statements: those of a reply that is not complete.
        last: the piece that it breaks off in; it may be the beginning of a conclusion.
    """
    if last is not None and _begins_conclusion(last):
        return last_sentence(statements)
    for place in reversed(range(len(statements))):
        if _closes(statements, place):
            before = statements[: place + (statements[place].kind == "output")]
            return last_sentence([one for one in before if not one.piece.text.startswith("####")])
    return None


def _begins_conclusion(last: Statement) -> bool:
    return (last.piece.opens_line and is_conclusion(last)) or opens_box(last.piece.text)


def _closes(statements: Sequence[Statement], place: int) -> bool:
    """Whether the working ends before this place; code ends it if it checks, or if a conclusion stands before it."""
    one = statements[place]
    if one.kind != "code":
        return one.kind == "mark" or (one.kind == "output" and one.number is not None)
    near = [other for other in reversed(statements[max(0, place - _NEAR) : place]) if other.kind == "sentence"]
    if near and _CHECK.search(near[0].piece.text):
        return True
    valued = [other for other in near if other.value is not None]
    return bool(valued) and is_conclusion(valued[0])
